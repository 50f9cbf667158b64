"""Frames of a face on its way: along a direction, or to another person.

Frames show the person's own pixels, moved and recoloured by what the generator's picture does (see `faces.transfer`),
so they are as sharp as the aligned face.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from faceloom.editor import Editor, draw
from faceloom.errors import UsageError
from faceloom.faces.transfer import apply_change, measure_change
from faceloom.imaging.photos import in_srgb
from faceloom.recipe import Recipe
from faceloom.types import Photo, Pixels


def edit_frames(
    editor: Editor, recipe: Recipe, direction: str, span: tuple[float, float] | None = None, *, count: int = 75
) -> Iterator[Pixels]:
    """A loop along one direction, beginning and ending at what `recipe` has of it.

    Args:
        editor: the open photo or avatar.
        recipe: all other edits, which are held.
        direction: its name.
        span: lowest and highest amount; the direction's range where None.
        count: number of frames.

    Yields:
        The photo in sRGB, (H, W, 3) uint8.

    Raises:
        UsageError: if there is no such direction, or no frame is asked for.
    """
    _check_count(count)
    low, high = span or editor.model.directions[direction].range
    start = next((edit.amount for edit in recipe.edits if edit.direction == direction), 0.0)
    for index in range(count):
        turn = math.sin(2.0 * math.pi * index / count)
        amount = start + turn * ((high - start) if turn > 0 else (start - low))
        yield in_srgb(editor.render(recipe.with_edit(direction, amount)).photo).pixels


def morph_frames(first: Editor, second: Editor, recipe: Recipe, *, count: int = 75) -> Iterator[Pixels]:
    """One avatar becomes another.

    Codes go along the straight line between the two. Each frame is both faces, moved to where the generator has the
    features on the way, and faded into each other: a classical morph whose correspondences the generator finds.

    Args:
        first: an open avatar, shown at the start.
        second: one of the same generator, shown at the end.
        recipe: edits on both.
        count: number of frames, both ends included.

    Yields:
        (S, S, 3) uint8, in sRGB.

    Raises:
        UsageError: if the generators differ, or the frames are fewer than 2.
    """
    _check_count(count, least=2)
    model = first.model
    if model.generator.fingerprint != second.model.generator.fingerprint:
        raise UsageError("a morph needs two avatars of one generator; invert both with the same model")
    ends = [first, second]
    recipes = [replace(recipe, model=editor.model.id) for editor in ends]  # one generator may lie in two places
    codes = [editor.codes(own)[0] for editor, own in zip(ends, recipes, strict=True)]
    tunings = [editor.faces[0].tuning for editor in ends]
    starts = [draw(model, code[None], None, [tuning])[0] for code, tuning in zip(codes, tunings, strict=True)]
    photos = [in_srgb(editor.render(own).photo) for editor, own in zip(ends, recipes, strict=True)]
    for index in range(count):
        share = index / (count - 1)
        share = share * share * (3.0 - 2.0 * share)
        between = torch.lerp(codes[0], codes[1], share)
        frames = [
            _moved(editor, photo, start, draw(model, between[None], None, [tuning])[0])
            for editor, photo, start, tuning in zip(ends, photos, starts, tunings, strict=True)
        ]
        mixed = frames[0].astype(np.float32) * (1.0 - share) + frames[1].astype(np.float32) * share
        yield np.rint(mixed).astype(np.uint8)


def _moved(editor: Editor, photo: Photo, start: Pixels, now: Pixels) -> Pixels:
    face = editor.faces[0]
    change = measure_change(start, now, face.motion, people=False)  # the person of the crop is not in this photo
    return apply_change(photo, face.crop, change, face.mask)[0].pixels


def _check_count(count: int, least: int = 1) -> None:
    if count < least:
        raise UsageError(f"an animation has at least {least} frame(s), not {count}")
