from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from faceloom.errors import PhotoError, UsageError
from faceloom.imaging.photos import open_photo
from faceloom.provenance import reading, saving
from faceloom.provenance.claims import COMPOSITE, GENERATED, Claim
from faceloom.provenance.reading import read_statement
from faceloom.provenance.saving import save_film, save_picture
from faceloom.recipe import Edit, Recipe
from faceloom.types import Photo, Pixels

RECIPE = Recipe((Edit("age", 1.5), Edit("grey-hair", -0.25)), twin="toon", degree=0.5, balance=True)
FORMS = [".jpg", ".jpeg", ".png", ".webp", ".tif"]


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


@pytest.fixture
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `provenance` is not installed."""
    for module in (saving, reading):
        monkeypatch.setattr(module, "can_sign", lambda: False)


def frames() -> Iterator[Pixels]:
    for value in range(4):
        yield np.full((32, 48, 3), 60 * value, dtype=np.uint8)


@pytest.mark.parametrize("suffix", FORMS)
def test_a_picture_is_signed_and_its_recipe_comes_back(pixels: Pixels, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("c2pa")
    path = tmp_path / f"me{suffix}"
    assert save_picture(Photo(pixels), path, Claim(RECIPE)) == "credentials"
    found = read_statement(path)
    assert (found.mark, found.intact, found.source_type) == ("credentials", True, COMPOSITE)
    assert found.actions == ("c2pa.opened", "c2pa.edited")
    assert found.recipe == RECIPE
    assert found.generator.startswith("Faceloom 0")
    assert "no trust list" in found.issuer
    with Image.open(path) as image:
        assert image.size == (80, 64)
        if suffix in (".png", ".tif"):
            assert np.array_equal(np.asarray(image), pixels)
    assert [one.name for one in tmp_path.iterdir() if one.name != "own-data"] == [path.name]


@pytest.mark.parametrize("suffix", FORMS)
def test_without_the_library_the_metadata_say_it(pixels: Pixels, tmp_path: Path, suffix: str, unsigned: None) -> None:
    path = tmp_path / f"me{suffix}"
    assert save_picture(Photo(pixels), path, Claim(RECIPE)) == "metadata"
    found = read_statement(path)
    assert (found.mark, found.intact, found.source_type, found.recipe) == ("metadata", False, COMPOSITE, RECIPE)
    assert found.generator.startswith("Faceloom 0")


@pytest.mark.parametrize("suffix", FORMS)
def test_turned_off_a_file_says_nothing(pixels: Pixels, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"me{suffix}"
    assert save_picture(Photo(pixels), path, None) == "none"
    assert read_statement(path).mark == "none"
    for word in (b"Faceloom", b"c2pa", b"xmpmeta"):
        assert word not in path.read_bytes()


@pytest.mark.parametrize(
    ("suffix", "share"), [(".jpg", 0.9), (".jpeg", 0.95), (".png", 0.9), (".webp", 0.2), (".tif", 0.3)]
)
def test_tampering_with_the_picture_is_detected(pixels: Pixels, tmp_path: Path, suffix: str, share: float) -> None:
    pytest.importorskip("c2pa")
    path = tmp_path / f"me{suffix}"
    save_picture(Photo(pixels), path, Claim(RECIPE))
    content = bytearray(path.read_bytes())
    content[round(share * len(content))] ^= 1
    path.write_bytes(content)
    assert not read_statement(path).intact


def test_another_recipe_cannot_be_slipped_in(pixels: Pixels, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    path = tmp_path / "me.png"
    save_picture(Photo(pixels), path, Claim(RECIPE))
    content = path.read_bytes()
    assert b"grey-hair" in content
    path.write_bytes(content.replace(b"grey-hair", b"glad-hair"))
    assert not read_statement(path).intact


def test_places_and_the_rest_of_the_original_stay_behind(pixels: Pixels, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Erika Mustermann"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">exif:GPSLatitude 52,31.2N</x:xmpmeta>'
    original = tmp_path / "holiday.jpg"
    Image.fromarray(pixels).save(original, exif=exif, xmp=xmp)
    with Image.open(original) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.GPSInfo), "the original has a place"
    for claim in (Claim(RECIPE), Claim(Recipe()), None):
        for suffix in FORMS:
            path = tmp_path / f"saved{suffix}"
            save_picture(open_photo(original), path, claim)
            with Image.open(path) as saved:
                assert not saved.getexif().get_ifd(ExifTags.IFD.GPSInfo)
            for word in (b"GPS", b"Mustermann", b"holiday", b"52,31"):
                assert word not in path.read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_a_sticker_stays_transparent(tmp_path: Path, suffix: str) -> None:
    sticker: NDArray[np.uint8] = np.zeros((40, 40, 4), dtype=np.uint8)
    sticker[10:30, 10:30] = 255
    path = tmp_path / f"me{suffix}"
    save_picture(sticker, path, Claim(RECIPE))
    assert read_statement(path).recipe == RECIPE
    with Image.open(path) as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert (alpha[0, 0], alpha[20, 20]) == (0, 255)
    with pytest.raises(UsageError, match=r"\.png"):
        save_picture(sticker, tmp_path / "me.jpg", Claim(RECIPE))


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_film_is_signed(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("c2pa")
    if suffix == ".mp4":
        pytest.importorskip("av")
    path = tmp_path / f"me{suffix}"
    assert save_film(frames(), path, Claim(RECIPE)) == "credentials"
    found = read_statement(path)
    assert (found.intact, found.recipe) == (True, RECIPE)
    assert save_film(frames(), path, None) == "none"
    assert read_statement(path).mark == "none"
    assert b"Faceloom" not in path.read_bytes()
    assert not list(tmp_path.glob(".faceloom-*"))


def test_a_signed_film_still_plays(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "me.mp4"
    save_film(frames(), path, Claim(RECIPE))
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 4


def test_a_film_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "me.gif"
    path.write_bytes(b"before")
    with pytest.raises(UsageError, match="at least one frame"):
        save_film(iter(()), path, Claim(RECIPE))
    assert path.read_bytes() == b"before"
    assert not list(tmp_path.glob(".faceloom-*"))


def test_a_generated_face_says_so(pixels: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "nobody.jpg"
    save_picture(Photo(pixels), path, Claim(generated=True))
    found = read_statement(path)
    assert (found.source_type, found.recipe) == (GENERATED, None)


def test_other_peoples_files_are_read_with_care(pixels: Pixels, tmp_path: Path) -> None:
    plain = tmp_path / "plain.jpg"
    Image.fromarray(pixels).save(plain)
    assert read_statement(plain).mark == "none"
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    assert read_statement(broken).mark == "none"
    bomb = b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (97 + n, b"&%c;" % (96 + n) * 10) for n in range(1, 12)
    )
    Image.fromarray(pixels).save(plain, xmp=bomb + b"]><x>&l;</x>")
    assert read_statement(plain).mark == "none"
    with pytest.raises(PhotoError, match="cannot tell"):
        read_statement(tmp_path / "notes.txt")
    with pytest.raises(PhotoError, match="cannot read"):
        read_statement(tmp_path / "missing.jpg")


def test_the_eye_sees_no_json_in_the_description(pixels: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "me.jpg"
    save_picture(Photo(pixels), path, Claim(RECIPE))
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.getexif()[ExifTags.Base.ImageDescription] == "Edited with AI by Faceloom"


def test_the_verb_tells_it(pixels: Pixels, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from faceloom.cli.provenance import provenance

    path, recipe = tmp_path / "me.jpg", tmp_path / "again.json"
    save_picture(Photo(pixels), path, Claim(RECIPE))
    told = CliRunner().invoke(provenance, [str(path), "--save-recipe", str(recipe)])
    assert told.exit_code == 0, told.output
    assert "age +1.5, grey-hair -0.25, drawn by toon to 50%" in told.output
    assert Recipe.read(recipe) == RECIPE
    found = json.loads(CliRunner().invoke(provenance, [str(path), "--json"]).output)
    assert found["source_type"] == COMPOSITE
    assert Recipe.from_json(json.dumps(found["recipe"])) == RECIPE
    save_picture(Photo(pixels), path, None)
    assert "nothing" in CliRunner().invoke(provenance, [str(path)]).output


@pytest.mark.parametrize(
    "packet", [b"<?xml version='1.0' encoding='shift_jis'?><a/>", b"<?xml version='1.0' encoding='foo'?><a/>", b"<"]
)
def test_metadata_in_no_encoding_say_nothing(pixels: Pixels, tmp_path: Path, packet: bytes) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.jpg", xmp=packet)
    assert read_statement(tmp_path / "x.jpg").mark == "none"


@pytest.mark.filterwarnings("ignore:Metadata Warning")
@pytest.mark.parametrize(("kind", "value"), [(3, (300, 400)), (11, (0.5,)), (4, (3_000_000_000,))])
def test_numbers_in_the_place_of_metadata_say_nothing(
    pixels: Pixels, tmp_path: Path, kind: int, value: tuple[float, ...]
) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[700] = kind
    tags[700] = value
    Image.fromarray(pixels).save(tmp_path / "x.tif", tiffinfo=tags)
    assert read_statement(tmp_path / "x.tif").mark == "none"
