"""Pictures of what edits do to one person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceloom.editor import Editor, OpenFace
from faceloom.faces.warp import region_of, roi_to_crop
from faceloom.imaging.sheets import grid
from faceloom.recipe import Recipe
from faceloom.types import Photo, Pixels

SHARES = (-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)
CELL = 256


def face_picture(photo: Photo, face: OpenFace, size: int = CELL) -> Pixels:
    """The aligned face as it is in `photo` now, (size, size, 3)."""
    roi = region_of(face.crop, photo.size)
    values = roi_to_crop(photo.pixels[roi].astype(np.float32), face.crop, roi, size)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def effect_sheet(
    editor: Editor, recipe: Recipe, *, cell: int = CELL, progress: Callable[[int, int], None] | None = None
) -> Pixels:
    """One row for each edit of the recipe (all directions where it has none), over its range.

    The other edits of the recipe are held. The first column is the photo as it was, the last one the recipe itself, and
    those between are shares of either half of the range, so that 0 is no edit along this direction.

    Args:
        editor: the open photo; its first face is shown.
        recipe: what to show.
        cell: side of each picture in pixels.
        progress: called with the number of rows done, and of all.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    directions = [editor.model.directions[edit.direction] for edit in recipe.edits] or list(editor.model.directions)
    face, rows, labels = editor.faces[0], [], []
    before = face_picture(editor.photo, face, cell)
    whole = face_picture(editor.render(recipe).photo, face, cell)
    for direction in directions:
        row = [before]
        for share in SHARES:
            amount = share * direction.range[1] if share > 0 else -share * direction.range[0]
            render = editor.render(recipe.with_edit(direction.name, amount))
            row.append(face_picture(render.photo, face, cell))
        rows.append([*row, whole])
        if progress is not None:
            progress(len(rows), len(directions))
        labels.append(f"{direction.low} – {direction.name} – {direction.high}")
    steps = [f"{share:+.0%}" if share else "0" for share in SHARES]
    return grid(rows, labels, ["photo", *steps, "recipe"], cell=cell)
