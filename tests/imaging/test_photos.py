from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image, ImageCms

from faceloom.errors import FaceloomError, MissingExtraError, PhotoError, UsageError
from faceloom.imaging.photos import AI_NOTE, MIN_SIDE, check_output, in_srgb, open_photo, photos_in, save_photo
from faceloom.types import Photo, Pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SUFFIXES = [".jpg", ".jpeg", ".png", ".webp", ".tif", ".TIFF"]

sides = st.integers(MIN_SIDE, MIN_SIDE + 9)
pictures = st.tuples(sides, sides, st.just(3)).flatmap(lambda shape: arrays.arrays(np.uint8, shape))


def smooth(width: int = 48, height: int = 40) -> Pixels:
    """A picture with no symmetry that lossy formats keep well."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([40 + x * 4, 60 + y * 3, 200 - x * 2 - y], axis=2).astype(np.uint8)


def difference(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(np.int16) - other).mean())


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size, without pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (body, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def refusal(path: Path, **limits: int) -> str:
    """The message with which a file is refused; any warning on the way is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PhotoError) as caught:
            open_photo(path, **limits)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    assert caught.value.exit_code == 2
    return message


@given(pixels=pictures)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_png_round_trip(pixels: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    save_photo(Photo(pixels), path)
    photo = open_photo(path)
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.icc_profile is None
    assert photo.name == "photo.png"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("profile", [SRGB, None])
def test_every_format_keeps_pixels_and_profile(suffix: str, profile: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    save_photo(Photo(smooth(), profile), path)
    photo = open_photo(path)
    assert photo.icc_profile == profile
    assert difference(photo.pixels, smooth()) < 2
    assert photo.size == (48, 40)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saved_photos_say_that_ai_edited_them(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    save_photo(Photo(smooth()), path)
    with Image.open(path) as image:
        exif = image.getexif()
    assert exif[ExifTags.Base.ImageDescription] == AI_NOTE
    assert exif[ExifTags.Base.Software] == "Faceloom"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_note_where_none_is_wanted(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    save_photo(Photo(smooth()), path, note=None)
    assert b"Faceloom" not in path.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_place_and_camera_are_not_passed_on(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera-4711"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = "WGS-SECRET"
    original = tmp_path / "original.jpg"
    Image.fromarray(smooth()).save(original, exif=exif, comment=b"Comment-4712")
    for secret in (b"Camera-4711", b"WGS-SECRET", b"Comment-4712"):
        assert secret in original.read_bytes()

    path = tmp_path / f"saved{suffix}"
    save_photo(open_photo(original), path)
    for secret in (b"Camera-4711", b"WGS-SECRET", b"Comment-4712"):
        assert secret not in path.read_bytes()
    with Image.open(path) as image:
        assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_rotation_tag_is_applied(suffix: str, orientation: int, tmp_path: Path) -> None:
    # Where the tag says that the stored top row and left column are seen (EXIF 2.3, 4.6.4 A), as array operations that
    # turn the upright picture into the stored one.
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: p.swapaxes(0, 1)[::-1],
        7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
        8: lambda p: p.swapaxes(0, 1)[:, ::-1],
    }[orientation](smooth())
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, quality=95)

    photo = open_photo(path)
    assert difference(photo.pixels, smooth()) < 2
    save_photo(photo, path)
    assert difference(open_photo(path).pixels, smooth()) < 2


def test_damaged_rotation_tag_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth()).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", quality=95)
    assert difference(open_photo(path).pixels, smooth()) < 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "CMYK", "LAB", "I;16", "I;16B", "F"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (40, 1))
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        image = Image.frombytes(mode, (48, 40), (grey.astype(np.uint16) * 257).astype(order).tobytes())
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == "LAB":
        image = Image.merge("LAB", [Image.fromarray(grey), *[Image.new("L", (48, 40), 128)] * 2])
    else:
        image = Image.fromarray(grey).convert("RGB" if mode in ("P", "YCbCr", "CMYK") else "L").convert(mode)
    path = tmp_path / "photo.tif"
    image.save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode

    pixels = open_photo(path).pixels
    assert pixels.shape == (40, 48, 3)
    assert pixels.dtype == np.uint8
    tolerance = {"1": 90, "P": 30, "LAB": 14}.get(mode, 2)
    assert difference(pixels, np.repeat(grey[:, :, None], 3, axis=2)) < tolerance


def test_sixteen_bit_grey_png(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 48 * 40).astype(np.uint16).reshape(40, 48)
    Image.fromarray(values).save(tmp_path / "photo.png")
    pixels = open_photo(tmp_path / "photo.png").pixels
    np.testing.assert_array_equal(pixels[..., 1], np.rint(values / 257))


def test_a_transparent_level_of_sixteen_bits_becomes_white(tmp_path: Path) -> None:
    values = np.full((40, 48), 60 * 257, np.uint16)
    values[:, 24:] = 7 * 257
    Image.fromarray(values).save(tmp_path / "photo.png", transparency=7 * 257)
    pixels = open_photo(tmp_path / "photo.png").pixels
    assert (pixels[:, :24] == 60).all()
    assert (pixels[:, 24:] == 255).all()


def test_colours_go_to_srgb_by_the_profile() -> None:
    plain = Photo(smooth(), name="plain")
    assert in_srgb(plain) is plain
    same = in_srgb(Photo(smooth(), SRGB))
    assert same.icc_profile is None
    assert difference(same.pixels, smooth()) < 1
    # A profile whose red and blue are exchanged.
    swapped = bytearray(SRGB)
    red, blue = (swapped.index(tag) for tag in (b"rXYZ", b"bXYZ"))
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    assert difference(in_srgb(Photo(smooth(), bytes(swapped))).pixels, smooth()[..., ::-1]) < 2
    assert difference(in_srgb(Photo(smooth(), b"no profile")).pixels, smooth()) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "L", "RGB"])
def test_transparent_parts_become_white(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    colour, alpha = np.full((40, 48), 60, np.uint8), np.zeros((40, 48), np.uint8)
    alpha[:, :24] = 255
    colour[:, 24:] = 7
    layer = Image.merge("LA", [Image.fromarray(colour), Image.fromarray(alpha)])
    if mode == "P":
        image = Image.fromarray(colour).convert("P")
        image.save(path, transparency=7)
    elif mode in ("L", "RGB"):
        Image.fromarray(colour).convert(mode).save(path, transparency=7 if mode == "L" else (7, 7, 7))
    elif mode == "PA":
        path = tmp_path / "photo.gif"
        layer.convert("RGBA").save(path)
    else:
        layer.convert(mode).save(path)
    with Image.open(path) as stored:
        assert stored.has_transparency_data

    pixels = open_photo(path).pixels
    assert (pixels[:, :24] == 60).all()
    assert (pixels[:, 24:] == 255).all()


def test_partial_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 100, 255, 128)).save(tmp_path / "photo.png")
    assert np.abs(open_photo(tmp_path / "photo.png").pixels[0, 0].astype(int) - (127, 177, 255)).max() <= 1


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_first_frame_of_a_moving_picture(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / f"moving{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as stored:
        assert getattr(stored, "n_frames", 1) == 3
    assert difference(open_photo(path).pixels, np.full((40, 40, 3), (255, 0, 0), np.uint8)) < 4


def test_profile_of_another_colour_space_is_not_kept(tmp_path: Path) -> None:
    # The header of a profile for grey or CMYK pictures; our pixels are RGB, so such a profile would be a lie.
    for space, mode in ((b"GRAY", "L"), (b"CMYK", "CMYK"), (b"GRAY", "RGB")):
        path = tmp_path / "photo.tif"
        image = Image.new(mode, (40, 40))
        image.save(path, icc_profile=SRGB[:16] + space + SRGB[20:])
        photo = open_photo(path)
        assert photo.icc_profile is None
        assert photo.pixels.shape == (40, 40, 3)


def test_profile_survives_a_palette(tmp_path: Path) -> None:
    Image.fromarray(smooth()).quantize().save(tmp_path / "photo.png", icc_profile=SRGB)
    assert open_photo(tmp_path / "photo.png").icc_profile == SRGB


def test_missing_empty_folder_text_and_other_files(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path / "missing.jpg")
    (tmp_path / "empty.jpg").touch()
    assert "is empty" in refusal(tmp_path / "empty.jpg")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "text.jpg").write_text("I am no picture.\n" * 100)
    assert "not a picture" in refusal(tmp_path / "text.jpg")
    (tmp_path / "page.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n")
    assert "not a picture" in refusal(tmp_path / "page.jpg")
    assert "cannot be reached" in refusal(tmp_path / ("x" * 300 + ".jpg"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "ordinary file" in refusal(tmp_path / "pipe.jpg")


def test_name_with_a_line_break_makes_one_line(tmp_path: Path) -> None:
    with pytest.raises(PhotoError) as caught:
        open_photo(tmp_path / "two\nlines.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 500), (500, 1)])
def test_tiny_photo_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "tiny.png")
    assert "too small" in refusal(tmp_path / "tiny.png")


def test_huge_photo_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(20_000, 20_000))
    assert "20000×20000 pixels, more than the limit of 80 megapixels" in refusal(path)
    # The header alone decides: where the limit allows it, the same file is found to be cut off.
    path.write_bytes(png_header(64, 64))
    assert "damaged" in refusal(path)


def test_limits_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    save_photo(Photo(smooth()), path)
    assert open_photo(path, max_pixels=48 * 40).size == (48, 40)
    assert "more than the limit" in refusal(path, max_pixels=48 * 40 - 1)
    size = path.stat().st_size
    assert open_photo(path, max_bytes=size).size == (48, 40)
    assert "more than the limit" in refusal(path, max_bytes=size - 1)


def test_limit_above_pillows_own_leaves_it_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    save_photo(Photo(smooth()), tmp_path / "photo.png")
    assert open_photo(tmp_path / "photo.png").size == (48, 40)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp", ".avif", ".jp2"])
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_damage_is_refused_or_survived_without_warnings(suffix: str, data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / f"whole{suffix}"
    if not path.exists():
        Image.fromarray(smooth()).save(path)
    content = bytearray(path.read_bytes())
    cut = data.draw(st.integers(1, len(content)))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, cut - 1), st.integers(0, 255)), max_size=8)):
        content[position] = value
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(content[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            photo = open_photo(damaged, max_pixels=1_000_000)
        except PhotoError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert photo.pixels.ndim == 3


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_truncated_photo_is_damaged(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    save_photo(Photo(smooth(400, 300)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refusal(path)


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    heif.from_pillow(Image.fromarray(smooth(64, 48))).save(path, quality=95)
    photo = open_photo(path)
    assert photo.size == (64, 48)
    assert difference(photo.pixels, smooth(64, 48)) < 4


def test_heic_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    with pytest.raises(MissingExtraError, match=r"faceloom\[heic\]"):
        open_photo(path)


@pytest.mark.parametrize("name", ["photo.gif", "photo", "photo.jpg.exe", ".jpg"])
def test_unknown_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="end its name in"):
        save_photo(Photo(smooth()), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        check_output(tmp_path / "missing" / "photo.jpg")
    assert not (tmp_path / "missing").exists()


def test_folder_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path / "photo.jpg")


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range_is_refused(quality: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 100"):
        save_photo(Photo(smooth()), tmp_path / "photo.jpg", quality=quality)


def test_lower_quality_is_smaller(tmp_path: Path) -> None:
    for suffix in (".jpg", ".webp"):
        sizes = []
        for quality in (20, 100):
            save_photo(Photo(smooth(200, 200)), tmp_path / f"photo{suffix}", quality=quality)
            sizes.append((tmp_path / f"photo{suffix}").stat().st_size)
        assert sizes[0] < sizes[1]


def test_picture_too_large_for_its_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 16383"):
        save_photo(Photo(np.zeros((1, 16_384, 3), np.uint8)), tmp_path / "photo.webp")
    assert not list(tmp_path.iterdir())


def test_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    save_photo(Photo(smooth()), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UsageError, match="No space left on device"):
        save_photo(Photo(smooth()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_saved_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_photo(Photo(smooth()), tmp_path / "photo.png")
    assert (tmp_path / "photo.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_errors_are_one_family() -> None:
    assert issubclass(PhotoError, FaceloomError)
    assert issubclass(MissingExtraError, FaceloomError)


def test_huge_photo_prints_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(20_000, 20_000))
    program = (
        "import sys\nfrom faceloom.errors import PhotoError\nfrom faceloom.imaging.photos import open_photo\n"
        "try: open_photo(sys.argv[1])\nexcept PhotoError: pass\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    assert outcome.stdout == outcome.stderr == b""


def test_the_photos_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.heic", ".hidden.png", "notes.txt", "c.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in photos_in(tmp_path)] == ["a.heic", "b.JPG", "c.tiff"]
    with pytest.raises(UsageError, match="there are no photos in"):
        photos_in(tmp_path / "folder.png")
    with pytest.raises(UsageError, match="there is no folder"):
        photos_in(tmp_path / "none")
    with pytest.raises(UsageError, match="cannot read"):
        photos_in(tmp_path / ("long" * 100))
