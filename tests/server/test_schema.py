from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from faceloom.recipe import VERSION, Recipe
from faceloom.server.schema import schema
from faceloom.server.schemas import LIVE_SCHEMAS, RecipeBody

COMMITTED = Path(__file__).resolve().parents[2] / "studio" / "openapi.json"


def test_every_route_says_what_it_takes_and_gives() -> None:
    document = json.loads(schema())
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["description"]
        assert {"403", "404", "413", "422"} <= set(operation["responses"])
    for model in LIVE_SCHEMAS:
        assert model.__name__ in document["components"]["schemas"]


def test_the_page_is_built_from_this_schema() -> None:
    if not COMMITTED.is_file():
        pytest.skip("the front end's source is not here")
    text = COMMITTED.read_text(encoding="utf-8")
    assert text == schema() + "\n", "run: python -m faceloom.server.schema > studio/openapi.json"


def test_a_recipe_is_the_same_here_and_in_the_core() -> None:
    body = RecipeBody()
    assert set(RecipeBody.model_fields) == {"version", *(field.name for field in dataclasses.fields(Recipe))}
    assert json.loads(body.model_dump_json()) == json.loads(Recipe().to_json())
    assert body.version == VERSION
