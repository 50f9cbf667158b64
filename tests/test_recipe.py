from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceloom.errors import UsageError
from faceloom.recipe import Edit, Recipe

edits = st.builds(Edit, st.text(min_size=1, max_size=8), st.floats(-20, 20, allow_nan=False))
recipes = st.builds(
    Recipe, st.lists(edits, max_size=4).map(tuple), st.sampled_from(["transfer", "replace"]), st.text(max_size=8)
)


@given(recipes)
def test_json_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_with_edit_replaces_the_edit_of_that_name() -> None:
    recipe = Recipe().with_edit("age", 1.0).with_edit("smile", 2.0).with_edit("age", -1.0)
    assert recipe.edits == (Edit("smile", 2.0), Edit("age", -1.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not JSON"),
        ("[]", "a recipe is a JSON object"),
        ('{"version": 99}', "version 1"),
        ('{"edit": []}', "no entry 'edit'"),
        ('{"edits": {}}', "are a list"),
        ('{"edits": [{"direction": "age"}]}', "an edit is"),
        ('{"edits": [{"direction": "age", "amount": "1"}]}', "is a number"),
        ('{"edits": [{"direction": "age", "amount": true}]}', "is a number"),
        ('{"edits": [{"direction": "age", "amount": NaN}]}', "must be between"),
        ('{"edits": [{"direction": "age", "amount": 1e9}]}', "must be between"),
        ('{"paste": "glue"}', "paste is one of"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_malformed_recipes_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe.from_json(text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the recipe"):
        Recipe.read(tmp_path / "none.json")


def test_a_number_without_end_is_refused() -> None:
    endless = "1" + "0" * 400
    for text in (f'{{"degree": {endless}}}', f'{{"edits": [{{"direction": "age", "amount": {endless}}}]}}'):
        with pytest.raises(UsageError, match="too large"):
            Recipe.from_json(text)


def test_amounts_of_one_direction_have_one_bound() -> None:
    assert Recipe((Edit("age", 15.0), Edit("age", -4.0))).amounts() == {"age": 11.0}
    with pytest.raises(UsageError, match="add up to 40"):
        Recipe((Edit("age", 20.0), Edit("age", 20.0)))


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(Recipe((Edit("age", 1.0),)).to_json(), encoding="utf-8-sig")
    assert Recipe.read(path).edits == (Edit("age", 1.0),)
