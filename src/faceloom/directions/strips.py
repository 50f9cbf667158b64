"""Sheets of what directions do to random faces, to be looked at and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from faceloom.directions.direction import Direction
from faceloom.directions.drawing import synthesize_along
from faceloom.generators.protocol import Generator
from faceloom.imaging.convert import to_pixels
from faceloom.imaging.sheets import grid
from faceloom.types import Pixels

SHARES = (-1.0, -0.5, 0.0, 0.5, 1.0)


@torch.no_grad()
def direction_sheet(
    generator: Generator,
    directions: Iterable[Direction],
    codes: Tensor,
    *,
    cell: int = 96,
    progress: Callable[[int], None] | None = None,
) -> Pixels:
    """One row for each direction, numbered from 0: every face over the range.

    Args:
        generator: that the directions are of.
        directions: in W+ or S.
        codes: (N, w_dim), a few faces.
        cell: side of each picture in pixels.
        progress: called with the number of rows done.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows, labels = [], []
    ws = codes.unsqueeze(1).expand(-1, generator.num_ws, -1)
    for number, direction in enumerate(directions):
        columns = []
        for share in SHARES:
            amount = abs(share) * direction.range[int(share > 0)]
            columns.append(to_pixels(synthesize_along(generator, ws, direction, amount)))
        rows.append([column[face] for face in range(len(codes)) for column in columns])
        labels.append(f"{number} {direction.name}")
        if progress is not None:
            progress(number + 1)
    heads = [f"{share:+.0%}" if share else "0" for share in SHARES] * len(codes)
    return grid(rows, labels, heads, cell=cell)
