"""Whether everyone can use the page: axe's rules, no sideways scrolling, no motion where none is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

STUDIO = Path(__file__).parents[2] / "studio"
AXE = STUDIO / "node_modules" / "axe-core" / "axe.min.js"
WORDS: dict[str, str] = json.loads((STUDIO / "src" / "i18n" / "en.json").read_text("utf-8"))
PATIENCE = 180_000


def check(page: Page, where: str) -> None:
    """Fails where axe finds a violation, or the page is wider than its window."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed; run npm ci --prefix studio")
    page.wait_for_timeout(300)
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    told = [
        f"{it['id']}: {it['help']}: {[node['html'][:160] for node in it['nodes'][:3]]}" for it in found["violations"]
    ]
    assert not told, "\n".join([where, *told])
    assert len(found["passes"]) > 10, "axe looked at something"
    wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{where} scrolls sideways by {wide} px"


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark"), (2560, "light")])
def test_axe_finds_nothing(open_page: Any, studio_url: str, width: int, scheme: str) -> None:
    page: Page = open_page(studio_url, width=width, scheme=scheme)
    page.locator(".sample").first.wait_for()
    check(page, "start")
    page.locator(".sample").first.click()
    page.get_by_role("button", name=WORDS["cancel"], exact=True).wait_for()
    check(page, "opening")
    expect(page.get_by_role("button", name=WORDS["save"], exact=True)).to_be_enabled(timeout=PATIENCE)
    check(page, "before any edit")
    age = page.get_by_role("slider", name=WORDS["direction.age"], exact=True)
    age.focus()
    page.keyboard.press("End")
    page.locator(".sheet canvas").wait_for(state="visible", timeout=PATIENCE)
    page.keyboard.press("s")
    check(page, "split")
    page.keyboard.press("h")
    check(page, "history")
    page.keyboard.press("?")
    check(page, "shortcuts")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    page.get_by_text(WORDS["provenance.says"]).click()
    check(page, "save")
    page.get_by_role("button", name=WORDS["provenance.leave"]).click()
    check(page, "save: leave out?")
    page.get_by_role("button", name=WORDS["provenance.sure"]).click()
    check(page, "save: left out")


def test_nothing_moves_where_motion_is_unwanted(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url)
    page.emulate_media(reduced_motion="reduce")
    page.locator(".sample").first.wait_for()
    longest = page.evaluate(
        """() => Math.max(...[...document.querySelectorAll('*')].map(it => {
            const style = getComputedStyle(it);
            return Math.max(parseFloat(style.transitionDuration), parseFloat(style.animationDuration));
        }))"""
    )
    assert longest < 0.001


def test_the_theme_and_the_language_can_be_chosen(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url, scheme="light")
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name=WORDS["preferences"]).click()
    page.get_by_label(WORDS["theme"], exact=True).select_option("dark")
    assert page.evaluate(ground) != light
    page.get_by_label(WORDS["language"], exact=True).select_option("es")
    expect(page.get_by_role("heading", level=1)).to_have_text("Cambia una cara en una foto")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "es")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
