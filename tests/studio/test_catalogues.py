"""The words of the page: every language has all of them, and every one that is used exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "studio" / "src"
CATALOGUES = {path.stem: json.loads(path.read_text("utf-8")) for path in (SOURCE / "i18n").glob("*.json")}
HOLES = re.compile(r"\{(\w+)\}")
# Of names that come from the server, and of keys that are put together.
OPEN = ("direction.", "end.", "group.", "preset.", "twin.", "sample.", "error.", "said.")


def code() -> str:
    return "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*") if path.suffix in (".svelte", ".ts"))


def test_there_are_three_languages() -> None:
    assert {"en", "de", "es"} <= set(CATALOGUES)


@pytest.mark.parametrize("language", sorted(CATALOGUES))
def test_keys_match_the_english_catalogue_in_order(language: str) -> None:
    assert list(CATALOGUES[language]) == list(CATALOGUES["en"])


@pytest.mark.parametrize("language", sorted(CATALOGUES))
def test_texts_are_there_and_have_the_same_holes(language: str) -> None:
    for key, text in CATALOGUES[language].items():
        assert text.strip() == text != "", key
        assert set(HOLES.findall(text)) == set(HOLES.findall(CATALOGUES["en"][key])), key


@pytest.mark.parametrize("language", sorted(set(CATALOGUES) - {"en"}))
def test_texts_are_translated(language: str) -> None:
    same = [key for key, text in CATALOGUES[language].items() if text == CATALOGUES["en"][key] and len(text) > 12]
    assert same == []


def test_every_key_that_the_code_names_exists() -> None:
    named = set(re.findall(r"""\bt\(\s*["']([a-z0-9.-]+)["']""", code()))
    assert len(named) > 80
    assert named - set(CATALOGUES["en"]) == set()


def test_every_key_is_used() -> None:
    text = code()
    composed = re.findall(r"""\bt\(`([a-z0-9.]*)\$\{""", text) + [
        f"{key}." for key in re.findall(r'counted\("([\w.]+)"', text)
    ]
    unused = [
        key
        for key in CATALOGUES["en"]
        if f'"{key}"' not in text and f"'{key}'" not in text and not key.startswith((*OPEN, *composed))
    ]
    assert unused == []
