"""Recipes between the page and the core."""

from __future__ import annotations

from faceloom.recipe import Recipe
from faceloom.server.schemas import RecipeBody


def to_recipe(body: RecipeBody) -> Recipe:
    """What the core understands; raises UsageError."""
    return Recipe.from_json(body.model_dump_json())
