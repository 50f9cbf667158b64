from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceloom.animation import edit_frames, morph_frames
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.recipe import Recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def ends() -> tuple[Editor, Editor]:
    first, second = (
        Editor.open(EXAMPLES / name, inverter="encoder").face_alone() for name in ("portrait.jpg", "beard.jpg")
    )
    return first, second


def test_a_loop_starts_as_the_recipe_has_it_and_reaches_both_ends(ends: tuple[Editor, Editor]) -> None:
    editor, name = ends[0], next(iter(ends[0].model.directions)).name
    frames = list(edit_frames(editor, Recipe(), name, (-1.0, 2.0), count=4))
    assert np.array_equal(frames[0], editor.photo.pixels)
    assert np.array_equal(frames[1], editor.render(Recipe().with_edit(name, 2.0)).photo.pixels)
    assert np.array_equal(frames[3], editor.render(Recipe().with_edit(name, -1.0)).photo.pixels)


def test_a_morph_begins_with_one_face_and_ends_with_the_other(ends: tuple[Editor, Editor]) -> None:
    frames = list(morph_frames(*ends, Recipe(), count=3))
    assert np.abs(frames[0].astype(int) - ends[0].photo.pixels).max() <= 1
    assert np.abs(frames[2].astype(int) - ends[1].photo.pixels).max() <= 1
    apart = [np.abs(frames[1].astype(float) - end.photo.pixels).mean() for end in ends]
    whole = np.abs(ends[0].photo.pixels.astype(float) - ends[1].photo.pixels).mean()
    assert max(apart) < whole


def test_faces_of_two_generators_do_not_morph(ends: tuple[Editor, Editor]) -> None:
    class Other:
        fingerprint = "0" * 16

    model = replace(ends[1].model, generator=Other())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one generator"):
        next(morph_frames(ends[0], Editor(ends[1].photo, ends[1].faces, model), Recipe()))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_frames_are_refused(ends: tuple[Editor, Editor], count: int) -> None:
    with pytest.raises(UsageError, match="at least"):
        next(morph_frames(*ends, Recipe(), count=count))
    if count == 0:
        with pytest.raises(UsageError, match="at least"):
            next(edit_frames(ends[0], Recipe(), "age", count=count))


def test_a_model_may_lie_in_two_places(ends: tuple[Editor, Editor]) -> None:
    elsewhere = Editor(ends[1].photo, ends[1].faces, replace(ends[1].model, id="copy/of/it"))
    recipe = Recipe().with_edit("age", 1.0)
    for one, other in zip(
        morph_frames(ends[0], elsewhere, recipe, count=2), morph_frames(*ends, recipe, count=2), strict=True
    ):
        assert np.array_equal(one, other)
