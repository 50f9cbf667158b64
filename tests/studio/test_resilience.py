"""What the page does when the server goes away and comes back, and when it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, expect

WORDS: dict[str, str] = json.loads(
    (Path(__file__).parents[2] / "studio" / "src" / "i18n" / "en.json").read_text("utf-8")
)
PATIENCE = 180_000


def test_server_killed_and_restarted(
    open_page: Any, start_studio: Any, free_port: Callable[[], int], tmp_path: Path, chromium: object
) -> None:
    port = free_port()
    server = start_studio(tmp_path, port)
    page: Page = open_page(f"http://127.0.0.1:{port}", may_lose=True)
    page.locator(".sample").first.click()
    smile = page.get_by_role("slider", name=WORDS["direction.smile"], exact=True)
    expect(page.get_by_role("button", name=WORDS["save"], exact=True)).to_be_enabled(timeout=PATIENCE)
    smile.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    path = f"http://127.0.0.1:{port}/api/projects/{page.url.rsplit('/', 1)[1]}"

    def wait_until_kept(amount: float) -> None:
        """A step is kept once the slider has rested, so only the server can tell that it is."""
        end = time.monotonic() + PATIENCE / 1000
        while True:
            answer = page.request.get(path)
            edits = answer.json()["steps"][-1]["recipe"]["edits"] if answer.ok else []
            if edits and edits[0]["amount"] == amount:
                return
            assert time.monotonic() < end, edits
            page.wait_for_timeout(50)

    wait_until_kept(0.5)
    expect(page.get_by_text(WORDS["saved"])).to_be_attached(timeout=PATIENCE)

    server.kill()
    server.wait()
    expect(page.get_by_text(WORDS["lost.title"])).to_be_visible(timeout=PATIENCE)
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)  # a step each
    expect(smile).to_have_value("1", timeout=PATIENCE)
    expect(page.get_by_text(WORDS["saving"])).to_be_attached(timeout=PATIENCE)

    start_studio(tmp_path, port)
    expect(page.get_by_text(WORDS["lost.title"])).to_be_hidden(timeout=PATIENCE)
    wait_until_kept(1.0)
    expect(page.get_by_text(WORDS["saved"])).to_be_attached(timeout=PATIENCE)
    expect(smile).to_have_value("1")
    project = page.request.get(path).json()
    amounts = [edit["amount"] for step in project["steps"] for edit in step["recipe"]["edits"]]
    assert amounts == sorted(set(amounts)), "nothing twice, and in order"
    assert {0.5, 0.8, 1.0} <= set(amounts), "the step made before the end, and those made while the server was away"
    page.wait_for_function(
        "width => { const it = document.querySelector('.sheet canvas'); return !it.hidden && it.width === width }",
        arg=project["width"],
        timeout=PATIENCE,
    )


def test_a_refusal_is_said_and_can_be_dismissed(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url, may_lose=True)

    def refuse(route: Route) -> None:
        route.fulfill(status=429, json={"error": "some_code", "message": "Too much at once; try again in a minute."})

    page.route("**/api/photos?sample=*", refuse)
    page.locator(".sample").first.click()
    expect(page.get_by_role("alert").filter(has_text="Too much at once")).to_be_visible(timeout=PATIENCE)
    page.unroute("**/api/photos?sample=*")


def test_steps_that_the_server_refuses_are_kept_until_it_takes_them(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url, may_lose=True)
    page.locator(".sample").first.click()
    smile = page.get_by_role("slider", name=WORDS["direction.smile"], exact=True)
    expect(page.get_by_role("button", name=WORDS["save"], exact=True)).to_be_enabled(timeout=PATIENCE)
    asked: list[str] = []

    def full(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=507, json={"error": "disk_full", "message": "no space"})

    page.route("**/api/projects/*/steps", full)
    smile.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(500)
    again = page.get_by_role("button", name=WORDS["unsaved"])
    expect(again).to_be_visible(timeout=PATIENCE)
    assert len(asked) == 1, "what comes after a step waits for it"
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # looks again what the server has
    page.wait_for_timeout(500)
    expect(smile).to_have_value("0.3")
    again.click()
    expect(again).to_be_visible(timeout=PATIENCE)
    page.unroute("**/api/projects/*/steps")
    again.click()
    expect(page.get_by_text(WORDS["saved"])).to_be_attached(timeout=PATIENCE)
    project = page.request.get(f"{studio_url}/api/projects/{page.url.rsplit('/', 1)[1]}").json()
    assert [edit["amount"] for step in project["steps"] for edit in step["recipe"]["edits"]] == [0.1, 0.2, 0.3]
    expect(smile).to_have_value("0.3")


def test_without_a_model_it_says_why_and_tries_again(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url, may_lose=True)

    def refuse(route: Route) -> None:
        route.fulfill(status=422, json={"error": "some_code", "message": "There is no model 'defualt'."})

    page.route("**/api/status", refuse)
    page.reload()
    expect(page.get_by_role("alert").filter(has_text="'defualt'")).to_be_visible(timeout=PATIENCE)
    page.unroute("**/api/status")
    page.get_by_role("button", name=WORDS["again"], exact=True).click()
    expect(page.get_by_role("button", name=WORDS["start.choose"])).to_be_visible(timeout=PATIENCE)


def test_a_project_that_is_gone_leads_to_the_start(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(f"{studio_url}/#/project/0123456789abcdef", may_lose=True)
    expect(page.get_by_text(WORDS["project.gone"])).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("button", name=WORDS["start.choose"])).to_be_visible()
