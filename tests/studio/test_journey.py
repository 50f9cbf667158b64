"""The whole way through the studio's page: open, edit, compare, undo, save; by mouse and by keyboard."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

SOURCE = Path(__file__).parents[2] / "studio" / "src" / "i18n"
PATIENCE = 180_000
SAMPLE = "portrait"


def words_of(locale: str) -> dict[str, str]:
    catalogue: dict[str, str] = json.loads((SOURCE / f"{locale[:2]}.json").read_text("utf-8"))
    return catalogue


def ask(page: Page, path: str) -> Any:
    """What the server answers to the page's own cookie."""
    answer = page.request.get(f"{page.url.split('/#')[0].rstrip('/')}{path}")
    assert answer.ok, answer.text()
    return answer.json()


def project_of(page: Page) -> Any:
    return ask(page, f"/api/projects/{page.url.rsplit('/', 1)[1]}")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def slider(page: Page, words: dict[str, str], direction: str) -> Locator:
    return page.get_by_role("slider", name=words[f"direction.{direction}"], exact=True)


def wait_until_ready(page: Page, words: dict[str, str]) -> None:
    expect(button(page, words["save"])).to_be_enabled(timeout=PATIENCE)


def wait_until_saved(page: Page, steps: int) -> Any:
    """The project, once the server has so many steps of it besides the original."""
    for _ in range(600):
        project = project_of(page)
        if len(project["steps"]) == steps + 1:
            return project
        page.wait_for_timeout(100)
    raise AssertionError(f"the server has {len(project_of(page)['steps'])} steps, not {steps + 1}")


def wait_for_full_picture(page: Page) -> None:
    """Until the edited photo is drawn at its own size."""
    width = project_of(page)["width"]
    page.wait_for_function(
        "width => { const it = document.querySelector('.sheet canvas'); return !it.hidden && it.width === width }",
        arg=width,
        timeout=PATIENCE,
    )


def drag(page: Page, element: Locator, by: float) -> None:
    """Drag a slider's thumb from its neutral place by a share of its width."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    assert box is not None
    low, high = float(element.get_attribute("min") or 0), float(element.get_attribute("max") or 1)
    x = box["x"] + 9 + (box["width"] - 18) * (-low) / (high - low)
    y = box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for part in range(1, 9):
        page.mouse.move(x + by * box["width"] * part / 8, y)
    page.mouse.up()


def press(page: Page, key: str, times: int) -> bool:
    """Press a key some times; whether it was done so quickly that no slider came to rest in between."""
    began = time.monotonic()
    for _ in range(times):
        page.keyboard.press(key)
    return time.monotonic() - began < 0.3


def wait_for_amount(page: Page, amount: float) -> int:
    """Until the server has the one edit at this amount; how many steps it came in."""
    for _ in range(600):
        _, *steps = project_of(page)["steps"]
        if steps and [edit["amount"] for edit in steps[-1]["recipe"]["edits"]] == [amount]:
            return len(steps)
        page.wait_for_timeout(100)
    raise AssertionError(f"the server has {project_of(page)['steps'][-1]}")


def tab_to(page: Page, element: Locator, presses: int = 120) -> None:
    """Walk with the Tab key until the element has the focus."""
    for _ in range(presses):
        if element.evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("the Tab key does not get there")


def save_jpeg(page: Page, words: dict[str, str], by_keyboard: bool) -> Image.Image:
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("radio", name=words["export.jpeg"])).to_be_checked()
    save = dialog.get_by_role("button", name=words["export.save"], exact=True)
    with page.expect_download(timeout=PATIENCE) as download:
        if by_keyboard:
            tab_to(page, save, 30)
            page.keyboard.press("Enter")
        else:
            save.click()
    assert download.value.suggested_filename.endswith(".jpg")
    expect(dialog).to_be_hidden()
    return Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))


@pytest.mark.parametrize(("locale", "width"), [("en-GB", 1280), ("de-DE", 2560)])
def test_by_mouse(open_page: Any, studio_url: str, locale: str, width: int) -> None:
    words = words_of(locale)
    page: Page = open_page(studio_url, locale=locale, width=width, scheme="dark" if width > 2000 else "light")
    page.locator(".sample").filter(has_text=re.compile(words.get("sample.portrait", SAMPLE), re.I)).click()
    wait_until_ready(page, words)

    drag(page, slider(page, words, "age"), 0.2)
    project = wait_until_saved(page, 1)
    (edit,) = project["steps"][-1]["recipe"]["edits"]
    assert edit["direction"] == "age"
    assert edit["amount"] > 0.3
    wait_for_full_picture(page)

    button(page, words["compare.split"]).click()
    handle = page.get_by_role("slider", name=words["compare.split.handle"])
    box = handle.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 100, box["y"] + 40, steps=4)
    page.mouse.up()
    assert int(handle.get_attribute("aria-valuenow") or 0) > 55
    button(page, words["compare.difference"]).click()
    expect(page.locator(".sheet.difference")).to_be_visible()
    button(page, words["compare.off"]).click()

    hold = page.get_by_role("button", name=words["compare.hold"])
    hold.hover()
    page.mouse.down()
    expect(page.locator(".sheet canvas")).to_be_hidden()
    page.mouse.up()
    expect(page.locator(".sheet canvas")).to_be_visible()

    button(page, words["undo"]).click()
    expect(page.locator(".sheet canvas")).to_be_hidden()
    button(page, words["redo"]).click()
    expect(page.locator(".sheet canvas")).to_be_visible()

    cell = page.get_by_role("region", name=words["strip"]).get_by_role("button").last
    slider(page, words, "smile").scroll_into_view_if_needed()
    slider(page, words, "smile").hover()
    expect(cell).to_have_attribute("aria-label", re.compile(words["direction.smile"]), timeout=PATIENCE)
    cell.click()
    edits = {edit["direction"]: edit["amount"] for edit in wait_until_saved(page, 2)["steps"][-1]["recipe"]["edits"]}
    assert set(edits) == {"age", "smile"}
    assert edits["smile"] == float(slider(page, words, "smile").get_attribute("max") or 0)

    button(page, words["save"]).click()
    with save_jpeg(page, words, by_keyboard=False) as picture:
        assert picture.size == (project["width"], project["height"])


@pytest.mark.parametrize(("locale", "width"), [("en-GB", 1280), ("es-ES", 390), ("de-DE", 2560)])
def test_by_keyboard_alone(open_page: Any, studio_url: str, locale: str, width: int) -> None:
    words = words_of(locale)
    page: Page = open_page(studio_url, locale=locale, width=width)
    sample = page.locator(".sample").first
    sample.wait_for()
    tab_to(page, sample)
    page.keyboard.press("Enter")
    wait_until_ready(page, words)

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name=words["shortcuts"])).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()

    age = slider(page, words, "age")
    tab_to(page, age)
    quickly = press(page, "ArrowRight", 8)
    steps = wait_for_amount(page, 0.8)
    assert steps == 1 or not quickly, "eight presses are one step of the history"
    wait_for_full_picture(page)

    canvas = page.locator(".sheet canvas")
    page.keyboard.down("b")
    expect(canvas).to_be_hidden()
    page.keyboard.up("b")
    expect(canvas).to_be_visible()
    page.keyboard.press("s")
    handle = page.get_by_role("slider", name=words["compare.split.handle"])
    tab_to(page, handle)
    page.keyboard.press("End")
    expect(handle).to_have_attribute("aria-valuenow", "100")
    page.keyboard.press("s")
    page.keyboard.press("+")
    page.keyboard.press("0")

    press(page, "Control+z", steps)
    expect(canvas).to_be_hidden()
    press(page, "Control+Shift+Z", steps)
    expect(canvas).to_be_visible()

    press(page, "Control+z", steps)
    expect(canvas).to_be_hidden()
    tab_to(page, age)
    page.keyboard.press("ArrowLeft")
    assert wait_until_saved(page, steps + 1)["steps"][-1]["parent"] == project_of(page)["steps"][0]["id"], "a branch"
    current = page.get_by_role("treeitem", selected=True)
    if width < 1560:  # on wider windows the history is there from the beginning
        page.keyboard.press("h")
    tab_to(page, current)
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("0")

    page.keyboard.press("Control+s")
    with save_jpeg(page, words, by_keyboard=True) as picture:
        assert picture.format == "JPEG"


def test_reload_and_second_tab(open_page: Any, open_quickly: Any) -> None:
    words = words_of("en")
    page: Page = open_quickly()
    drag(page, slider(page, words, "smile"), 0.2)
    amount = wait_until_saved(page, 1)["steps"][-1]["recipe"]["edits"][0]["amount"]

    page.reload()
    wait_until_ready(page, words)
    expect(slider(page, words, "smile")).to_have_value(str(amount))
    wait_for_full_picture(page)

    other: Page = open_page(page.url, context=page.context)
    wait_until_ready(other, words)
    drag(other, slider(other, words, "age"), 0.2)
    wait_until_saved(other, 2)
    page.bring_to_front()
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(slider(page, words, "age")).not_to_have_value("0", timeout=PATIENCE)
    button(page, words["undo"]).click()
    expect(slider(page, words, "age")).to_have_value("0")
    expect(slider(page, words, "smile")).to_have_value(str(amount))


def test_cancel_and_again(open_page: Any, studio_url: str) -> None:
    words = words_of("en")
    page: Page = open_page(studio_url)
    page.locator(".sample").first.click()
    page.wait_for_url("**/#/project/*", timeout=PATIENCE)
    button(page, words["cancel"]).click()
    again = button(page, words["invert.again"])
    ready = button(page, words["save"])
    expect(again.or_(ready).and_(page.locator(":enabled"))).to_be_visible(timeout=PATIENCE)
    if again.is_visible():
        again.click()
    wait_until_ready(page, words)


def test_projects_can_be_renamed_and_deleted(open_quickly: Any) -> None:
    words = words_of("en")
    page: Page = open_quickly()
    long = "A very long name of a photo that somebody once called so, and never again thought of " * 2
    page.get_by_label(words["project.name"]).fill(long)
    page.keyboard.press("Enter")
    page.get_by_role("link", name=words["brand.back"]).click()
    card = page.locator("article").filter(has_text=long[:60])
    expect(card).to_be_visible()
    # Its picture is asked for by now; of a project without one, as it is deleted, the browser would complain.
    expect(card.locator("img")).to_have_js_property("complete", True, timeout=PATIENCE)
    card.get_by_title(words["delete"]).click()
    page.get_by_role("dialog").get_by_role("button", name=words["delete"], exact=True).click()
    expect(card).to_be_hidden()


def test_a_photo_is_uploaded_from_disk(open_page: Any, studio_url: str, tmp_path: Path) -> None:
    words = words_of("en")
    page: Page = open_page(studio_url)
    name = "Ünïcode & 100% long name.png"
    source = Path(__file__).parents[2] / "examples" / "beard.jpg"
    with Image.open(source) as picture:
        picture.save(tmp_path / name)
    page.locator(".well input[type=file]").set_input_files(tmp_path / name)
    wait_until_ready(page, words)
    assert project_of(page)["name"].startswith("Ünïcode & 100%")


def test_a_photo_without_a_face_says_so(open_page: Any, studio_url: str, tmp_path: Path) -> None:
    words = words_of("en")
    page: Page = open_page(studio_url, may_lose=True)
    Image.new("RGB", (300, 300), (90, 120, 90)).save(tmp_path / "meadow.png")
    page.locator(".well input[type=file]").set_input_files(tmp_path / "meadow.png")
    expect(page.locator("main [role=alert]")).to_contain_text("face", ignore_case=True, timeout=PATIENCE)
    expect(button(page, words["start.choose"])).to_be_enabled()


def test_one_of_several_faces_is_chosen_on_the_photo(open_page: Any, studio_url: str, tmp_path: Path) -> None:
    words = words_of("en")
    page: Page = open_page(studio_url)
    both = Image.new("RGB", (500, 250))
    for place, name in enumerate(("portrait", "beard")):
        with Image.open(Path(__file__).parents[2] / "examples" / f"{name}.jpg") as picture:
            both.paste(picture, (250 * place, 0))
    both.save(tmp_path / "both.png")
    page.locator(".well input[type=file]").set_input_files(tmp_path / "both.png")
    faces = page.locator(".face")
    expect(faces).to_have_count(2, timeout=PATIENCE)
    faces.nth(1).click()
    wait_until_ready(page, words)
    assert project_of(page)["faces"] == [2]
