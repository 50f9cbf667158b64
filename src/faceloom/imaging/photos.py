"""Open photos as people see them, and save them as they were encoded, without what tells where they were taken.

A photo file is untrusted: its format is recognised from its content, only common formats are tried, its size is bounded
before anything is decoded, and every failure is one PhotoError.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin, UnidentifiedImageError

from faceloom.errors import FaceloomError, MissingExtraError, PhotoError, PhotoSizeError, UsageError
from faceloom.files import check_place, replacing
from faceloom.types import Photo

MAX_BYTES: Final = 200_000_000
"""Largest photo file that is read, unless the caller says otherwise."""
MAX_PIXELS: Final = 80_000_000
"""Largest photo that is decoded, unless the caller says otherwise: 240 MB of pixels."""
MIN_SIDE: Final = 32
"""Smallest width and height of a photo, in pixels: no detector finds a face in less."""
AI_NOTE: Final = "Edited with AI by Faceloom"
"""The note that saved photos carry in their EXIF description."""

_READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
WRITABLE = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Formats that a photo can be saved in, by suffix."""
READABLE = frozenset({*WRITABLE, ".heic", ".heif", ".avif", ".gif", ".bmp", ".jp2"})
"""Suffixes that photos usually have. What a file is, its content says."""
_MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, for each value of the EXIF rotation tag."""

# Pillow's limit on size and Python's list of warning filters belong to the whole process: one photo at a time sets and
# restores them.
_DECODING = threading.Lock()


def open_photo(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Photo:
    """Open a photo upright and in 8-bit RGB, whatever its rotation tag and colour mode; the first frame if it moves.

    Transparent parts become white. CMYK, grey and Lab pictures are converted to sRGB; an RGB colour profile is kept.

    Args:
        path: a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or (with the extra `heic`) HEIC file.
        max_bytes: larger files are refused unread.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        The photo, named after the file.

    Raises:
        PhotoError: the file is missing, empty, not a picture, damaged, or too large or small.
        MissingExtraError: it is a HEIC photo and pillow-heif is not installed.
    """
    path = Path(path)
    _check_file(path, max_bytes)
    with _DECODING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a decoder's doubts about a tag are nothing that a person can act on
        try:
            with path.open("rb") as file, _identify(file, path) as image:
                _check_size(image.size, path, max_pixels)
                image.load()
                upright, kept = upright_rgb(image)
                pixels = np.array(upright)
        except FaceloomError:
            raise
        except UnidentifiedImageError as error:
            raise PhotoError(
                f"{_quote(path)} is not a picture, or a damaged one; give a JPEG, PNG, WebP, TIFF or HEIC file"
            ) from error
        except PermissionError as error:
            raise PhotoError(f"{_quote(path)} may not be read; change its permissions, or copy it") from error
        except Exception as error:  # on damaged files the decoders raise nearly every type there is
            raise PhotoError(
                f"{_quote(path)} is damaged and cannot be decoded; open it in a photo program and export it anew"
            ) from error
    return Photo(pixels, kept, path.name)


def upright_rgb(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """A decoded picture as 8-bit RGB over white, turned as its rotation tag says, and the profile that describes it."""
    profile = image.info.get("icc_profile")
    rgb, kept = _to_rgb(image, profile if isinstance(profile, bytes) else None)
    return _upright(image, rgb), kept


def in_srgb(photo: Photo) -> Photo:
    """The same photo in sRGB and without a profile, for formats that hold none; as it is where it has none."""
    if photo.icc_profile is None:
        return photo
    return Photo(np.asarray(_to_srgb(Image.fromarray(photo.pixels), photo.icc_profile)), None, photo.name)


def save_photo(photo: Photo, path: str | os.PathLike[str], *, quality: int = 95, note: str | None = AI_NOTE) -> None:
    """Save a photo, with its colour profile and none of the original's other metadata.

    The file appears complete or not at all: a failure leaves what was there before.

    Args:
        photo: what to save.
        path: its suffix chooses the format: .jpg, .jpeg, .png, .webp, .tif or .tiff.
        quality: of JPEG and WebP, from 1 to 100.
        note: goes into the EXIF description; None for a picture that no model has touched.

    Raises:
        UsageError: the folder is missing, the suffix is unknown, the quality is out of range, the picture is too large
            for the format, or the disk refuses.
    """
    path = Path(path)
    form = check_output(path)
    check_quality(quality)
    image = Image.fromarray(photo.pixels)
    with replacing(path) as file:
        write_image(image, file, form, icc_profile=photo.icc_profile, quality=quality, note=note)


def check_quality(quality: int) -> None:
    """Raise UsageError if `quality` is not one of JPEG's and WebP's."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is out of range; choose 1 to 100")


def write_image(
    image: Image.Image,
    file: IO[bytes],
    form: str,
    *,
    icc_profile: bytes | None = None,
    quality: int = 95,
    note: str | None = None,
    xmp: bytes | None = None,
) -> None:
    """Encode a picture, with this metadata and no other.

    Args:
        image: RGB, or RGBA for PNG and WebP.
        file: open for writing.
        form: Pillow's name of the format, as `check_output` gives it.
        icc_profile: the colour profile.
        quality: of JPEG and WebP, from 1 to 100.
        note: goes into the EXIF description.
        xmp: an XMP packet.

    Raises:
        UsageError: the picture is too large for the format.
    """
    if max(image.size) > _MAX_SIDE.get(form, max(image.size)):
        raise UsageError(f"a {form} file is at most {_MAX_SIDE[form]} pixels wide and high; save as .png instead")
    options: dict[str, Any] = {"icc_profile": icc_profile}
    if note is not None:
        options["exif"] = exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = note
        exif[ExifTags.Base.Software] = "Faceloom"
    if xmp is not None:
        if form in ("JPEG", "WEBP"):
            options["xmp"] = xmp
        elif form == "PNG":
            options["pnginfo"] = texts = PngImagePlugin.PngInfo()
            texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
        else:
            options["tiffinfo"] = {ExifTags.Base.XMLPacket: xmp}
    if form in ("JPEG", "WEBP"):
        options["quality"] = quality
    if form == "JPEG" and quality >= 90:
        options["subsampling"] = "4:4:4"
    if form == "PNG":
        options["compress_level"] = 3  # level 6 takes three times as long to save a tenth
    if form == "TIFF":
        options["compression"] = "tiff_lzw"
    image.save(file, form, **options)


def photos_in(folder: Path) -> list[Path]:
    """The photos of a folder by their names, sorted; neither hidden files nor what is in folders inside it.

    Raises:
        UsageError: if there is no such folder, or it cannot be read, or no photo is in it.
    """
    try:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {str(folder)!r}; name one with photos")
        every = sorted(path for path in folder.iterdir() if path.suffix.lower() in READABLE and path.is_file())
    except OSError as error:
        raise UsageError(f"cannot read {str(folder)!r} ({error.strerror or error})") from error
    found = [path for path in every if not path.name.startswith(".")]
    if not found:
        raise UsageError(f"there are no photos in {str(folder)!r}; name a folder with some")
    return found


def check_output(path: str | os.PathLike[str]) -> str:
    """Check, before long work, that a photo can be saved at `path`.

    Returns:
        Pillow's name of the format.

    Raises:
        UsageError: the suffix is unknown, or the folder is missing or not writable.
    """
    path = Path(path)
    form = WRITABLE.get(path.suffix.lower())
    if form is None and path.is_dir():
        raise UsageError(
            f"{_quote(path)} is a folder; give the name of a file in it, such as {_quote(path / 'me.jpg')}"
        )
    if form is None:
        raise UsageError(f"cannot tell a picture format from {_quote(path)}; end its name in {', '.join(WRITABLE)}")
    check_place(path)
    return form


def _quote(path: Path) -> str:
    # repr keeps the message on one line, whatever the name holds.
    return repr(str(path))


def _check_file(path: Path, max_bytes: int) -> None:
    try:
        if path.is_dir():
            raise PhotoError(f"{_quote(path)} is a folder; name a photo in it")
        if not path.exists():
            raise PhotoError(f"there is no file {_quote(path)}; check its name and folder")
        if not path.is_file():
            raise PhotoError(f"{_quote(path)} is not an ordinary file; copy the photo into one")
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # a name too long, a null byte, a folder that may not be entered
        raise PhotoError(f"{_quote(path)} cannot be reached; check its name and permissions") from error
    if size == 0:
        raise PhotoError(f"{_quote(path)} is empty; get the photo again from where it came")
    if size > max_bytes:
        raise PhotoError(
            f"{_quote(path)} holds {size / 1e6:,.0f} MB, more than the limit of {max_bytes / 1e6:,.0f} MB; "
            "save it smaller, or raise the limit"
        )


def _identify(file: IO[bytes], path: Path) -> ImageFile.ImageFile:
    """Read the header alone."""
    head = file.read(64)
    file.seek(0)
    formats: tuple[str, ...] = _READABLE
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head:
        _register_heic(path)
        formats = ("HEIF",)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # _check_size has a limit of its own
    try:
        return Image.open(file, formats=formats)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _register_heic(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtraError(
            f"{_quote(path)} is a HEIC photo; run: pip install 'faceloom[heic]', or export it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()


def _check_size(size: tuple[int, int], path: Path, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise PhotoSizeError(
            f"{_quote(path)} is {width}×{height} pixels, more than the limit of {max_pixels / 1e6:,.0f} megapixels; "
            "scale it down, or raise the limit"
        )
    if min(size) < MIN_SIDE:
        raise PhotoSizeError(
            f"{_quote(path)} is {width}×{height} pixels, too small to hold a face; "
            f"give a photo of at least {MIN_SIDE}×{MIN_SIDE}"
        )


def _to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The picture as 8-bit RGB over white, and the colour profile that still describes it."""
    if image.mode.startswith(("I", "F")):
        clear = image.info.get("transparency")  # one level, of 16-bit PNGs
        levels = np.asarray(image)
        image = _to_grey(image)
        if isinstance(clear, int):
            image.paste(255, mask=Image.fromarray(levels == clear))
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        backdrop = Image.new("RGBA", layer.size, "white")
        opaque = Image.alpha_composite(backdrop, layer)
        image = opaque.convert("L" if image.mode in ("L", "LA", "La") else "RGB")
    is_rgb = profile is not None and profile[16:20] == b"RGB "
    if image.mode in ("CMYK", "L", "LAB") and not is_rgb:
        return _to_srgb(image, profile), None
    return image.convert("RGB"), profile if is_rgb else None


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert CMYK, grey, Lab or RGB through its profile, or as Pillow does where that is missing or unusable."""
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif profile is not None:
            source = ImageCms.getOpenProfile(io.BytesIO(profile)).profile
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        converted = None
    return image.convert("RGB") if converted is None else converted


def _to_grey(image: Image.Image) -> Image.Image:
    """8-bit grey from 16-bit integers, or from floats in [0, 1]."""
    values: NDArray[np.float64] = np.asarray(image).astype(np.float64)
    scale = 255.0 if image.mode == "F" else 255.0 / 65535.0
    levels: NDArray[np.uint8] = np.clip(np.rint(np.nan_to_num(values) * scale), 0, 255).astype(np.uint8)
    return Image.fromarray(levels)


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    """Turn `rgb` as the rotation tag of `image` says, or leave it where the tag cannot be read."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in decoding; but the pixels are good, so a damaged tag is no reason to refuse them
        turn = None
    return rgb if turn is None else rgb.transpose(turn)
