"""A matrix of numbers as a picture: red above 0, blue below, each cell with its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from faceloom.types import Pixels

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (95, 99, 104)
_RED, _BLUE = np.array([214.0, 69.0, 65.0]), np.array([66.0, 114.0, 196.0])
_CELL, _TEXT = (46, 26), 13


def matrix_picture(
    values: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], title: str, full: float = 1.0
) -> Pixels:
    """Draw a matrix.

    Args:
        values: (R, C); NaN cells are left empty.
        rows: R labels, to the left.
        columns: C labels, above, written upwards.
        title: a line above.
        full: the magnitude of the deepest colour.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if there is another number of labels.
    """
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"{values.shape} values need as many labels, not {(len(rows), len(columns))}")
    font = ImageFont.load_default(_TEXT)
    left = 16 + max((int(font.getlength(row)) for row in rows), default=0)
    top = 52 + max((int(font.getlength(column)) for column in columns), default=0)
    width = max(left + len(columns) * _CELL[0] + 16, 32 + int(font.getlength(title)))
    sheet = Image.new("RGB", (width, top + len(rows) * _CELL[1] + 16), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((16, 22), title, _INK, font, "lm")
    for x, column in enumerate(columns):
        _upright(sheet, column, (left + x * _CELL[0] + _CELL[0] // 2, top - 6), font)
    for y, row in enumerate(rows):
        draw.text((left - 8, top + (y + 0.5) * _CELL[1]), row, _INK, font, "rm")
        for x, value in enumerate(values[y].tolist()):
            if np.isfinite(value):
                place = (left + x * _CELL[0], top + y * _CELL[1])
                draw.rectangle((*place, place[0] + _CELL[0] - 2, place[1] + _CELL[1] - 2), _colour(value / full))
                middle = (place[0] + _CELL[0] / 2 - 1, place[1] + _CELL[1] / 2 - 1)
                draw.text(middle, f"{value:+.1f}" if abs(value) >= 0.05 else "0", _INK, font, "mm")
    return np.array(sheet)


def _colour(share: float) -> tuple[int, int, int]:
    deep = _RED if share > 0 else _BLUE
    red, green, blue = (255.0 + min(1.0, abs(share)) ** 0.7 * (deep - 255.0)).round().astype(int).tolist()
    return red, green, blue


def _upright(
    sheet: Image.Image, words: str, foot: tuple[int, int], font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> None:
    length = int(font.getlength(words)) + 4
    label = Image.new("RGB", (length, _TEXT + 6), _PAPER)
    ImageDraw.Draw(label).text((2, (_TEXT + 6) / 2), words, _FAINT, font, "lm")
    turned = label.rotate(90, expand=True)
    sheet.paste(turned, (foot[0] - turned.width // 2, foot[1] - turned.height))
