"""Contact sheets: pictures side by side, with words, to be looked at."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceloom.types import Pixels

_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_FAINT = (95, 99, 104)
_ELLIPSIS = "…"
_SIGNS = str.maketrans({"−": "-", "–": "-", "—": "-", "×": "x", "→": "->", "±": "+/-", "“": '"', "”": '"', "’": "'"})


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels, all in proportion to the side of a cell so that words stay legible when a sheet is scaled."""

    cell: int

    @property
    def gap(self) -> int:
        return max(4, self.cell // 32)

    @property
    def margin(self) -> int:
        return 2 * self.gap

    @property
    def text(self) -> int:
        return max(12, self.cell // 15)

    @property
    def line(self) -> int:
        return round(self.text * 1.7)


def strip(pictures: Sequence[Pixels], captions: Sequence[str], title: str | None = None, *, cell: int = 256) -> Pixels:
    """Put pictures in a row, each above its caption.

    Args:
        pictures: at least one, (H, W, 3) uint8 RGB of any size; each is scaled to fit its cell.
        captions: one for each picture, cut short where it is wider than the cell; may be empty.
        title: a line above all of them.
        cell: width and height that every picture is given, in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: no pictures, or another number of captions.
    """
    return grid([pictures], None, captions, title, cell=cell, captions_below=True)


def before_after(before: Pixels, after: Pixels, title: str | None = None, *, cell: int = 512) -> Pixels:
    """Put two pictures side by side as "Before" and "After"; see `strip`."""
    return strip([before, after], ["Before", "After"], title, cell=cell)


def grid(
    rows: Sequence[Sequence[Pixels]],
    row_labels: Sequence[str] | None,
    column_labels: Sequence[str] | None,
    title: str | None = None,
    *,
    cell: int = 192,
    captions_below: bool = False,
) -> Pixels:
    """Put pictures in a table.

    Args:
        rows: (H, W, 3) uint8 RGB pictures of any size, at least one; a row may be shorter than the others.
        row_labels: one for each row, to its left; None for none.
        column_labels: one for each column, above it (or below, with `captions_below`); None for none.
        title: a line above the table.
        cell: width and height that every picture is given, in pixels.
        captions_below: write the column labels under the last row.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: nothing to show, or another number of labels.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0 or cell < 1:
        raise ValueError("a sheet needs at least one picture, and cells of at least one pixel")
    if row_labels is not None and len(row_labels) != len(rows):
        raise ValueError(f"{len(rows)} rows need as many labels, not {len(row_labels)}")
    if column_labels is not None and len(column_labels) != columns:
        raise ValueError(f"{columns} columns need as many labels, not {len(column_labels)}")

    layout = _Layout(cell)
    head = 0 if title is None else round(1.7 * layout.line)
    above = layout.line if column_labels is not None and not captions_below else 0
    below = layout.line if column_labels is not None and captions_below else 0
    label_width = _label_width(row_labels or (), layout)
    pitch = cell + layout.gap
    left, top = layout.margin + label_width, layout.margin + head + above
    width = left + columns * pitch - layout.gap + layout.margin
    height = top + len(rows) * pitch - layout.gap + below + layout.margin

    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if title is not None:
        _write(
            draw,
            (layout.margin, layout.margin + 0.6 * layout.line),
            title,
            width - 2 * layout.margin,
            round(layout.text * 1.4),
            _INK,
            "lm",
        )
    for x, label in enumerate(column_labels or ()):
        middle = top - layout.line / 2 if above else top + len(rows) * pitch - layout.gap + layout.line / 2
        _write(draw, (left + x * pitch + cell / 2, middle), label, cell, layout.text, _FAINT, "mm")
    for y, label in enumerate(row_labels or ()):
        position = (left - 2 * layout.gap, top + y * pitch + cell / 2)
        _write(draw, position, label, label_width - 2 * layout.gap, layout.text, _FAINT, "rm")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            _paste(sheet, picture, left + x * pitch, top + y * pitch, cell)
    return np.array(sheet)


def _paste(sheet: Image.Image, picture: Pixels, left: int, top: int, cell: int) -> None:
    """Scale a picture to fit the cell, in the middle of it."""
    height, width = picture.shape[:2]
    scale = cell / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    sheet.paste(scaled, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))


def _label_width(labels: Sequence[str], layout: _Layout) -> int:
    """Room for the widest row label, up to a cell and a half."""
    widest = max((_font(layout.text).getlength(_spell(label)) for label in labels), default=0.0)
    return min(round(widest) + 2 * layout.gap, layout.cell * 3 // 2) if widest else 0


def _write(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    words: str,
    room: float,
    size: int,
    ink: tuple[int, int, int],
    anchor: str,
) -> None:
    """Write one line at `position`, cut short where it is wider than `room`."""
    font = _font(size)
    words = _spell(words)
    if font.getlength(words) > room:
        while words and font.getlength(words + _ELLIPSIS) > room:
            words = words[:-1]
        words = words.rstrip() + _ELLIPSIS
    draw.text(position, words, ink, font, anchor)


def _spell(words: str) -> str:
    """One line in the letters that the font has: accents are dropped, signs written out, the rest becomes "?"."""
    plain = unicodedata.normalize("NFKD", words.translate(_SIGNS))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(letters.encode("ascii", "replace").decode().split())


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):  # Pillow was built without FreeType
        raise RuntimeError("Pillow cannot draw text here; install a Pillow with FreeType")
    return font
