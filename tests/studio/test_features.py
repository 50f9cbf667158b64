"""Each thing that the page offers beside the journey: looks, likeness, ways in, zoom, exports, and the workshop."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from faceloom.avatar import Avatar
from faceloom.model import load_model
from faceloom.provenance.reading import Statement, read_statement
from faceloom.recipe import Recipe

ROOT = Path(__file__).parents[2]
PATIENCE = 180_000
ADULT = {"direction": "age", "amount": 1.5}


def words_of(locale: str) -> dict[str, str]:
    catalogue: dict[str, str] = json.loads((ROOT / "studio" / "src" / "i18n" / f"{locale[:2]}.json").read_text("utf-8"))
    return catalogue


WORDS = words_of("en")


def base_of(page: Page) -> str:
    return page.url.split("/#")[0].rstrip("/")


def project_of(page: Page) -> Any:
    answer = page.request.get(f"{base_of(page)}/api/projects/{page.url.rsplit('/', 1)[1]}")
    assert answer.ok, answer.text()
    return answer.json()


def until(page: Page, look: Callable[[], Any]) -> Any:
    """What `look` finds, once it finds something."""
    for _ in range(PATIENCE // 100):
        if found := look():
            return found
        page.wait_for_timeout(100)
    raise AssertionError("it did not happen in time")


def button(page: Page | Locator, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def wait_until_ready(page: Page, words: dict[str, str] = WORDS) -> None:
    expect(button(page, words["save"])).to_be_enabled(timeout=PATIENCE)


def test_a_look_has_a_strength(open_quickly: Any) -> None:
    words = words_of("de")
    page: Page = open_quickly(locale="de-DE")
    offered = {one["name"]: one for one in page.request.get(f"{base_of(page)}/api/status").json()["presets"]}
    preset = offered["grandparent"]
    chip = button(page, words["preset.grandparent"])
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")

    def amounts() -> dict[str, float]:
        steps = project_of(page)["steps"]
        return {edit["direction"]: edit["amount"] for edit in steps[-1]["recipe"]["edits"]} if len(steps) > 1 else {}

    first = until(page, amounts)
    assert set(first) == {edit["direction"] for edit in preset["edits"]}
    strength = page.get_by_role("slider", name=words["presets.strength"].format(name=words["preset.grandparent"]))
    expect(strength).to_have_value(str(preset["strength"]).removesuffix(".0"))
    strength.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    weaker = until(page, lambda: found if (found := amounts()) != first else None)
    assert all(abs(weaker[name]) < abs(first[name]) for name in first)
    button(page, words["twin.comic"]).click()
    until(page, lambda: project_of(page)["steps"][-1]["recipe"]["twin"] == "comic")
    strength.focus()
    page.keyboard.press("ArrowLeft")
    until(page, lambda: amounts() != weaker)
    assert project_of(page)["steps"][-1]["recipe"]["twin"] == "comic", "what was chosen after the look stays"
    chip.click()
    until(page, lambda: len(project_of(page)["steps"]) == 6 and not amounts())
    assert project_of(page)["steps"][-1]["recipe"]["twin"] == "comic"
    page.keyboard.press("h")
    expect(page.get_by_role("treeitem").nth(1)).to_contain_text(words["preset.grandparent"])


def test_the_likeness_dial_learns_the_face_again_and_keeps_the_edits(open_quickly: Any) -> None:
    page: Page = open_quickly((ADULT,))
    dial = page.get_by_role("slider", name=WORDS["likeness.dial"])
    dial.focus()
    page.keyboard.press("ArrowRight")
    expect(button(page, WORDS["cancel"])).to_be_visible(timeout=PATIENCE)
    wait_until_ready(page)
    project = until(page, lambda: found if (found := project_of(page))["state"] == "ready" else None)
    assert project["fidelity"] == pytest.approx(0.1)
    assert project["steps"][-1]["recipe"]["edits"] == [ADULT]
    expect(page.get_by_role("slider", name=WORDS["direction.age"], exact=True)).to_have_value("1.5")
    page.wait_for_function("() => { const it = document.querySelector('.sheet canvas'); return it && !it.hidden }")


_CARRY = """([name, text]) => {
    const bytes = Uint8Array.from(atob(text), it => it.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type: 'image/jpeg' }));
    return carried;
}"""


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_is_dropped_and_pasted(open_page: Any, studio_url: str, way: str) -> None:
    page: Page = open_page(studio_url, locale="es-ES")
    words = words_of("es")
    page.locator(".sample").first.wait_for()
    text = base64.b64encode((ROOT / "examples" / "beard.jpg").read_bytes()).decode()
    # What is copied from a picture, rather than from a file, comes under this name.
    carried = page.evaluate_handle(_CARRY, ["drop & otro.jpg" if way == "drop" else "image.jpg", text])
    if way == "drop":
        page.dispatch_event("main", "dragenter", {"dataTransfer": carried})
        expect(page.get_by_text(words["start.dropnow"])).to_be_visible()
        page.dispatch_event("main", "drop", {"dataTransfer": carried})
        expect(page.get_by_text(words["start.dropnow"])).to_be_hidden()
    else:
        send = "it => dispatchEvent(new ClipboardEvent('paste', { clipboardData: it, bubbles: true }))"
        page.evaluate(send, carried)
    expect(button(page, words["cancel"])).to_be_visible(timeout=PATIENCE)
    page.wait_for_url("**/#/project/*", timeout=PATIENCE)
    name = project_of(page)["name"]
    assert name == ("drop & otro" if way == "drop" else words["start.pasted"])


def test_a_photo_is_taken_with_the_camera(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url)
    button(page, WORDS["start.camera"]).click()
    take = page.get_by_role("dialog").get_by_role("button", name=WORDS["camera.take"])
    expect(take).to_be_enabled(timeout=PATIENCE)
    take.click()
    page.wait_for_url("**/#/project/*", timeout=PATIENCE)
    project = project_of(page)
    assert (project["name"], project["width"] / project["height"]) == (WORDS["start.snapshot"], pytest.approx(4 / 3))


def test_two_fingers_zoom_and_one_moves(open_quickly: Any) -> None:
    page: Page = open_quickly(width=390)
    box = page.locator(".viewport").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": left, "y": top, "id": number} for number, (left, top) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def zoom() -> tuple[float, float]:
        found = page.locator(".sheet").evaluate(
            "it => { const m = new DOMMatrix(getComputedStyle(it).transform); return [m.a, m.e] }"
        )
        return found[0], found[1]

    assert zoom()[0] == 1
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for spread in (30, 45, 60):
        fingers("touchMove", (x - spread, y), (x + spread, y))
    fingers("touchEnd")
    scale, before = zoom()
    assert scale == pytest.approx(3.0, rel=0.1)
    assert page.evaluate("() => visualViewport.scale") == 1, "the photo is zoomed, not the page"
    fingers("touchStart", (x, y))
    fingers("touchMove", (x + 25, y))
    fingers("touchMove", (x + 50, y))
    fingers("touchEnd")
    assert zoom()[1] > before + 20
    page.get_by_role("button", name=WORDS["zoom.fit"]).click()
    assert zoom()[0] == 1


def _save(page: Page, form: str, folder: Path) -> tuple[Path, str]:
    """Save in the dialog that is open; the file, and the name that was proposed for it."""
    dialog = page.get_by_role("dialog")
    dialog.locator(f"input[type=radio][value={form}]").check()
    with page.expect_download(timeout=PATIENCE) as download:
        button(dialog, WORDS["export.save"]).click()
    name = download.value.suggested_filename
    download.value.save_as(folder / name)
    expect(dialog).to_be_hidden()
    return folder / name, name


def _said_edited(path: Path) -> Statement:
    said = read_statement(path)
    assert (said.mark, said.intact) == ("credentials", True)
    assert said.source_type.endswith("compositeWithTrainedAlgorithmicMedia")
    assert said.recipe is not None
    assert [edit.direction for edit in said.recipe.edits] == ["age"]
    return said


def test_everything_that_can_be_saved(open_quickly: Any, tmp_path: Path) -> None:
    pytest.importorskip("av")
    page: Page = open_quickly((ADULT,))
    endings = {
        "png": ".png",
        "webp": ".webp",
        "pair": "-before-after.jpg",
        "sticker": "-sticker.png",
        "mp4": ".mp4",
        "avatar": ".avatar",
        "recipe": "-recipe.json",
    }
    saved = {}
    for form, ending in endings.items():
        page.keyboard.press("Control+s")
        saved[form], name = _save(page, form, tmp_path)
        assert name == f"Portrait-faceloom{ending}"
    for form in ("png", "webp", "pair", "sticker", "mp4"):
        _said_edited(saved[form])
    with Image.open(saved["pair"]) as pair, Image.open(saved["png"]) as alone:
        assert pair.width > 2 * alone.width
    with Image.open(saved["sticker"]) as sticker:
        assert np.asarray(sticker.getchannel("A"))[0].max() == 0
    assert Recipe.read(saved["recipe"]).edits[0].amount == 1.5
    assert Avatar.load(saved["avatar"]).open(load_model("default")).faces


def test_that_it_was_edited_is_left_out_only_after_a_second_word(open_quickly: Any, tmp_path: Path) -> None:
    page: Page = open_quickly((ADULT,))
    page.keyboard.press("Control+s")
    said = page.get_by_role("region", name=WORDS["provenance.title"])
    said.get_by_text(WORDS["provenance.says"]).click()
    expect(said).to_contain_text(WORDS["provenance.kind.edited"])
    expect(said).to_contain_text("Age +1.5")
    button(said, WORDS["provenance.leave"]).click()
    expect(said.get_by_role("status")).to_have_text(WORDS["provenance.off"])
    button(said, WORDS["provenance.keep"]).click()
    path, _ = _save(page, "jpeg", tmp_path)
    _said_edited(path)

    page.keyboard.press("Control+s")
    button(said, WORDS["provenance.leave"]).click()
    button(said, WORDS["provenance.sure"]).click()
    expect(said).to_contain_text(WORDS["provenance.title.off"])
    path, _ = _save(page, "jpeg", tmp_path)
    assert read_statement(path).mark == "none"

    page.keyboard.press("Control+s")
    expect(said.get_by_role("status")).to_have_text(WORDS["provenance.on"])  # it was left out of one file only
    button(said, WORDS["provenance.leave"]).click()
    button(said, WORDS["provenance.sure"]).click()
    button(said, WORDS["provenance.back"]).click()
    path, _ = _save(page, "jpeg", tmp_path)
    _said_edited(path)


def test_a_dialog_that_is_opened_at_once_again_stays(open_quickly: Any, studio_url: str) -> None:
    page: Page = open_quickly()
    page.goto(f"{studio_url}/#/")
    trash = page.get_by_role("button", name=WORDS["project.delete"].format(name="Portrait")).first
    trash.click()
    # Before the browser tells that the first one was closed.
    trash.evaluate(
        """async (trash, cancel) => {
            [...document.querySelectorAll("dialog button")].find(it => it.textContent === cancel).click();
            for (let turn = 0; turn < 20; turn++) await null;
            if (document.querySelector("dialog")) throw Error("it is still there");
            trash.click();
        }""",
        WORDS["cancel"],
    )
    page.wait_for_timeout(300)
    expect(page.get_by_role("dialog", name=WORDS["project.delete.title"])).to_be_visible(timeout=1000)


def test_directions_are_found_and_named_in_the_page(open_quickly: Any, studio_url: str) -> None:
    page: Page = open_quickly()
    page.goto(f"{studio_url}/#/")
    button(page, WORDS["discover.begin"]).click()
    field = page.get_by_label(WORDS["discover.name"].format(number=2))
    field.wait_for(timeout=PATIENCE)
    picture = page.get_by_alt_text(WORDS["discover.picture"].format(number=2))
    picture.scroll_into_view_if_needed()
    until(page, lambda: picture.evaluate("it => it.complete && it.naturalWidth === 7 * it.naturalHeight"))
    field.fill("Bright Öyes")
    page.keyboard.press("Enter")
    expect(page.get_by_text(WORDS["discover.kept"].format(name="Bright Öyes"))).to_be_visible(timeout=PATIENCE)
    try:
        page.go_back()
        wait_until_ready(page)
        new = page.get_by_role("slider", name="Bright oyes", exact=True)
        new.focus()
        page.keyboard.press("End")
        step = until(page, lambda: found[-1] if len(found := project_of(page)["steps"]) == 2 else None)
        assert [edit["direction"] for edit in step["recipe"]["edits"]] == ["bright-oyes"]
    finally:
        page.goto(f"{studio_url}/#/")
        page.request.delete(f"{studio_url}/api/directions/bright-oyes")


def test_a_style_is_learnt_in_the_page(open_quickly: Any, studio_url: str) -> None:
    page: Page = open_quickly()
    page.goto(f"{studio_url}/#/")

    def shorten(route: Route) -> None:
        """Fewer steps than are good, so that the test need not wait for minutes."""
        assert "steps" not in route.request.url
        route.continue_(url=f"{route.request.url}?steps=2")

    page.route("**/api/styles", shorten)
    chooser = page.locator(f"input[type=file][aria-label='{WORDS['style.choose']}']")
    content = (ROOT / "examples" / "beard.jpg").read_bytes()
    chooser.set_input_files({"name": "Old Master.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect(page.get_by_role("progressbar", name=WORDS["style.running"])).to_be_visible(timeout=PATIENCE)
    page.go_back()  # it goes on meanwhile
    wait_until_ready(page)
    expect(page.get_by_text(WORDS["style.learnt"].format(name="Old Master"))).to_be_visible(timeout=PATIENCE)
    twin = page.get_by_role("region", name=WORDS["twins"]).get_by_role("button", name="Old Master")
    twin.click()
    until(page, lambda: project_of(page)["steps"][-1]["recipe"]["twin"] == "old-master")
    expect(twin).to_have_attribute("aria-pressed", "true")


def test_a_style_that_is_not_wanted_any_more_is_not_learnt(open_quickly: Any, studio_url: str) -> None:
    page: Page = open_quickly()
    page.goto(f"{studio_url}/#/")
    chooser = page.locator(f"input[type=file][aria-label='{WORDS['style.choose']}']")
    content = (ROOT / "examples" / "beard.jpg").read_bytes()
    chooser.set_input_files({"name": "Unwanted.jpg", "mimeType": "image/jpeg", "buffer": content})
    expect(page.get_by_role("progressbar", name=WORDS["style.running"])).to_be_visible(timeout=PATIENCE)
    button(page, WORDS["cancel"]).click()
    expect(button(page, WORDS["style.choose"])).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("progressbar", name=WORDS["style.running"])).to_have_count(0)
    expect(page.get_by_role("alert").filter(has_text=re.compile(r"\S"))).to_have_count(0)
    status = page.request.get(f"{studio_url}/api/status").json()
    assert "unwanted" not in json.dumps(status)


def test_a_picture_without_a_face_teaches_no_style(open_page: Any, studio_url: str) -> None:
    page: Page = open_page(studio_url)
    meadow = io.BytesIO()
    Image.new("RGB", (256, 256), (90, 120, 90)).save(meadow, "PNG")
    chooser = page.locator(f"input[type=file][aria-label='{WORDS['style.choose']}']")
    chooser.set_input_files({"name": "meadow.png", "mimeType": "image/png", "buffer": meadow.getvalue()})
    notice = page.get_by_role("alert").filter(has_text=re.compile("face", re.I))
    expect(notice.first).to_be_visible(timeout=PATIENCE)
    expect(button(page, WORDS["style.choose"])).to_be_visible()


def test_the_default_models_words_are_in_every_language() -> None:
    model = load_model("default")
    wanted = {f"direction.{one.name}" for one in model.directions}
    wanted |= {f"end.{end.replace(' ', '-')}" for one in model.directions for end in (one.low, one.high)}
    wanted |= {f"twin.{name}" for name in model.twins}
    from faceloom.presets import load_presets

    wanted |= {f"preset.{one.name}" for one in load_presets(model)}
    for language in ("en", "de", "es"):
        assert wanted - set(words_of(language)) == set(), language


def test_what_the_server_says_is_known_to_the_page() -> None:
    from faceloom.server import opening, store

    said = {text for key, text in WORDS.items() if key.startswith("said.")}
    assert {opening.OTHER_MODEL, opening.DAMAGED, store.INTERRUPTED, "Faceloom's own small model"} == said
