from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faceloom
from faceloom.provenance.claims import COMPOSITE, GENERATED, RECIPE_LABEL, Claim
from faceloom.recipe import Edit, Recipe

OLDER = Recipe((Edit("age", 1.5), Edit("smile", 0.0)))


def actions(claim: Claim) -> list[dict[str, object]]:
    (listed,) = [one["data"] for one in claim.manifest()["assertions"] if one["label"] == "c2pa.actions.v2"]
    found: list[dict[str, object]] = listed["actions"]
    return found


def test_an_edited_photo_was_opened_and_edited_with_ai() -> None:
    claim = Claim(OLDER)
    opened, edited = actions(claim)
    assert opened["action"] == "c2pa.opened"
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"] == claim.source_type == COMPOSITE
    assert edited["description"] == claim.words == "age +1.5"
    assert claim.manifest()["claim_generator_info"] == [{"name": "Faceloom", "version": faceloom.__version__}]
    assert claim.note == "Edited with AI by Faceloom"


def test_a_generated_face_was_created_from_nothing() -> None:
    claim = Claim(generated=True)
    (created,) = actions(claim)
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", GENERATED)
    assert claim.manifest()["ingredients"] == []


@pytest.mark.parametrize("recipe", [Recipe(), Recipe((Edit("age", 0.0),))])
def test_a_photo_that_no_model_has_touched_does_not_say_so(recipe: Recipe) -> None:
    claim = Claim(recipe)
    assert [one["action"] for one in actions(claim)] == ["c2pa.opened", "c2pa.transcoded"]
    assert claim.source_type == ""
    assert b"DigitalSourceType=" not in claim.xmp()
    assert "AI" not in claim.note


@pytest.mark.parametrize("recipe", [Recipe(twin="toon"), Recipe(paste="replace")])
def test_a_twin_and_a_replaced_face_count_as_edits(recipe: Recipe) -> None:
    assert Claim(recipe).source_type == COMPOSITE


def test_the_photo_that_was_opened_stays_unnamed() -> None:
    (parent,) = Claim(OLDER).manifest()["ingredients"]
    assert parent == {"title": "Photo", "relationship": "parentOf", "label": "photo"}


@given(st.text(max_size=40), st.floats(-20, 20))
def test_any_recipe_survives_the_manifest_and_the_metadata_are_xml(name: str, amount: float) -> None:
    from xml.etree import ElementTree

    recipe = Recipe((Edit(name, amount),), twin=name)
    claim = Claim(recipe)
    (kept,) = [one["data"] for one in claim.manifest()["assertions"] if one["label"] == RECIPE_LABEL]
    assert Recipe.from_json(json.dumps(kept)) == recipe
    root = ElementTree.fromstring(claim.xmp())
    text = root.findtext(".//{http://ns.faceloom.org/recipe/1.0/}recipe")
    assert text is not None
    assert Recipe.from_json(text) == recipe


def test_the_path_of_a_model_stays_unnamed() -> None:
    claim = Claim(Recipe((Edit("age", 1.0),), model="/home/alice/divorce/mine"))
    for said in (json.dumps(claim.manifest()), claim.xmp().decode()):
        assert "alice" not in said
        assert "divorce" not in said
        assert "mine" in said


def test_metadata_fit_a_jpeg_whatever_was_done() -> None:
    claim = Claim(Recipe(tuple(Edit(f"direction-{number}", 0.5) for number in range(2000))))
    assert len(claim.xmp()) < 65_502
    assert b"DigitalSourceType" in claim.xmp()
