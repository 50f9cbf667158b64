"""The avatar file: one inverted face that opens anywhere where its generator is.

An avatar is a zip of three files: `avatar.json` (what belongs to what, and where the face was in its photo),
`latent.safetensors` (the style code, and what a low-rank pivotal tuning added to the generator's weights, in 16 bits)
and `face.png` (the aligned face). The photo itself is not in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import faceloom
from faceloom.editor import Editor, OpenFace, draw
from faceloom.errors import CheckpointError, UsageError
from faceloom.faces.mask import edit_masks
from faceloom.files import replacing
from faceloom.inversion.tuning import Tuning
from faceloom.model import Model
from faceloom.types import Crop, Face, Latent, Photo, Pixels, Points

SUFFIX = ".avatar"
VERSION = 2
"""2 since tunings have a response; older ones are read."""
_DESCRIPTION, _LATENT, _FACE = "avatar.json", "latent.safetensors", "face.png"
_MAX_BYTES = {_DESCRIPTION: 1 << 20, _LATENT: 1 << 26, _FACE: 1 << 26}
_MAX_SIDE = 4096
_CODES, _TUNING = "codes", "tuning."

# What reading a damaged description, latent or picture may raise.
_DAMAGE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    OverflowError,
    OSError,
    SyntaxError,
    RecursionError,
    SafetensorError,
    Image.DecompressionBombError,
)


_COMPRESSED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, eq=False)
class Avatar:
    """One inverted face.

    Attributes:
        latent: its style code and the generator that it belongs to.
        pixels: (S, S, 3) uint8 RGB, the aligned face.
        landmarks: (68, 2) in the pixels of the aligned face.
        model: id of the model that it was inverted with.
        tuning: what was added to the generator's weights for this face; None for nothing.
        photo_name: of the photo it was cut from, for people.
        photo_sha256: of that photo's upright RGB pixels; see `photo_hash`.
        quad: (4, 2) corners of the face in that photo: upper left, lower left, lower right, upper right.
        others: other faces of that photo that are near, as in `Crop`.
        icc_profile: the colour profile of `pixels`; None where there is none.
        made: when and by which version.
    """

    latent: Latent
    pixels: Pixels
    landmarks: Points
    model: str
    tuning: Tuning | None
    photo_name: str
    photo_sha256: str
    quad: Points
    made: str
    others: tuple[tuple[float, float, float], ...] = ()
    icc_profile: bytes | None = None

    @classmethod
    def of(cls, editor: Editor, face: int = 1) -> Avatar:
        """The avatar of a face of an open photo, counted from 1.

        Raises:
            UsageError: if there is no such face.
        """
        if not 1 <= face <= len(editor.faces):
            raise UsageError(f"there is no open face {face}; {len(editor.faces)} are open")
        one = editor.faces[face - 1]
        return cls(
            latent=one.latent,
            pixels=one.crop.pixels,
            landmarks=one.crop.alone().face.landmarks,
            model=editor.model.id,
            tuning=one.tuning,
            photo_name=Path(editor.photo.name).name,
            photo_sha256=photo_hash(editor.photo),
            quad=one.crop.quad,
            made=f"{datetime.now(UTC).isoformat(timespec='seconds')}, Faceloom {faceloom.__version__}",
            others=one.crop.others,
            icc_profile=editor.photo.icc_profile,
        )

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all; raises UsageError if that is not possible."""
        tensors = {_CODES: self.latent.codes.detach().float().contiguous()}
        if self.tuning is not None:
            tensors |= {_TUNING + name: one.contiguous() for name, one in self.tuning.stored().items()}
        description = {
            "version": VERSION,
            "generator": self.latent.fingerprint,
            "space": self.latent.space,
            "model": self.model,
            "landmarks": self.landmarks.round(2).tolist(),
            "photo": {"name": self.photo_name, "sha256": self.photo_sha256, "quad": self.quad.round(3).tolist()},
            "others": [[round(number, 4) for number in other] for other in self.others],
            "made": self.made,
        }
        picture = io.BytesIO()
        Image.fromarray(self.pixels).save(picture, "PNG", icc_profile=self.icc_profile)
        with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_DESCRIPTION, json.dumps(description, indent=1))
            archive.writestr(_LATENT, save_tensors(tensors))
            archive.writestr(_FACE, picture.getvalue())

    @classmethod
    def load(cls, path: Path) -> Avatar:
        """Read an avatar; nothing in it can run.

        Raises:
            CheckpointError: if the file is no avatar, is damaged, or is of a later version.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {name: _read(archive, name) for name in _MAX_BYTES}
        except FileNotFoundError as error:
            raise CheckpointError(f"there is no file {str(path)!r}") from error
        except (OSError, KeyError, ValueError, NotImplementedError, RuntimeError, *_COMPRESSED) as error:
            raise CheckpointError(
                f"{str(path)!r} is no avatar, or damaged ({error}); `faceloom invert PHOTO -o me{SUFFIX}` makes one"
            ) from error
        try:
            data = json.loads(parts[_DESCRIPTION])
            if int(data["version"]) > VERSION:
                raise CheckpointError(f"{str(path)!r} was written by a later Faceloom; upgrade to open it")
            return _avatar(data, load_tensors(parts[_LATENT]), *_picture(parts[_FACE]))
        except _DAMAGE as error:
            raise CheckpointError(f"{str(path)!r} does not hold what an avatar should: {error}") from error

    def open(self, model: Model, photo: Photo | None = None) -> Editor:
        """Ready to be rendered, as if its photo had just been inverted.

        Args:
            model: the one that it was made with.
            photo: the photo that it was cut from, to edit the face in there; only the aligned face where None.

        Raises:
            UsageError: if the model or the photo is another one.
        """
        fingerprint = model.generator.fingerprint
        if fingerprint != self.latent.fingerprint:
            raise UsageError(
                f"this avatar was made with the generator {self.latent.fingerprint} (model {self.model!r}), and "
                f"{model.id!r} is {fingerprint}; open it with the model it was made with"
            )
        face_of_it = Face((0.0, 0.0, 1.0, 1.0), self.landmarks, 0.0)
        crop = Crop(self.pixels, _square(self.pixels), face_of_it, self.others).alone()
        if photo is None:
            photo = Photo(self.pixels, self.icc_profile, self.photo_name)
        elif photo_hash(photo) != self.photo_sha256:
            raise UsageError(f"this avatar was not cut from {photo.name}; give {self.photo_name!r} as it was")
        else:
            crop = crop.placed(self.quad)
        (before,) = draw(model, self.latent.codes[None], None, [self.tuning])
        face = OpenFace(crop, self.latent, before, *edit_masks(crop), self.tuning)
        return Editor(photo, (face,), model)


def photo_hash(photo: Photo) -> str:
    """SHA-256 of a photo's size and upright RGB pixels, in hexadecimal.

    It is the same for the same picture in any format without loss.
    """
    digest = hashlib.sha256(f"{photo.size}".encode())
    digest.update(np.ascontiguousarray(photo.pixels).data)
    return digest.hexdigest()


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    limit = _MAX_BYTES[name]
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    return data


def _square(pixels: Pixels) -> Points:
    side = float(pixels.shape[0])
    return np.array([[0.0, 0.0], [0.0, side], [side, side], [side, 0.0]])


def _picture(data: bytes) -> tuple[Pixels, bytes | None]:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        if picture.size[0] != picture.size[1] or picture.size[0] > _MAX_SIDE:
            raise ValueError(f"the face is {picture.size}, not a square of at most {_MAX_SIDE} px")
        return np.asarray(picture.convert("RGB")), picture.info.get("icc_profile")


def _avatar(
    data: dict[str, Any], tensors: dict[str, torch.Tensor], pixels: Pixels, icc_profile: bytes | None
) -> Avatar:
    codes = tensors[_CODES].float()
    fingerprint, space = str(data["generator"]), data["space"]
    landmarks, quad = np.array(data["landmarks"], np.float64), np.array(data["photo"]["quad"], np.float64)
    others = np.array(data.get("others", []), np.float64).reshape(-1, 3)  # not in older files
    if space not in ("w", "w+") or codes.ndim != 2 or not bool(torch.isfinite(codes).all()):
        raise ValueError("its style code is damaged")
    if landmarks.shape != (68, 2) or quad.shape != (4, 2) or not np.isfinite([*landmarks, *quad]).all():
        raise ValueError("its landmarks are damaged")
    if not np.isfinite(others).all():
        raise ValueError("the places of other faces are damaged")
    if abs(np.linalg.det(np.stack([quad[3] - quad[0], quad[1] - quad[0]]))) < 1.0:
        raise ValueError("its place in the photo is damaged")
    if not all(bool(torch.isfinite(one).all()) for one in tensors.values()):
        raise ValueError("its tuning is damaged")
    changes = {name.removeprefix(_TUNING): one for name, one in tensors.items() if name.startswith(_TUNING)}
    return Avatar(
        latent=Latent(codes, space, fingerprint),
        pixels=pixels,
        landmarks=landmarks,
        model=str(data["model"]),
        tuning=Tuning.restored(changes, fingerprint) if changes else None,
        photo_name=str(data["photo"]["name"]),
        photo_sha256=str(data["photo"]["sha256"]),
        quad=quad,
        made=str(data["made"]),
        others=tuple((x, y, size) for x, y, size in others.tolist()),
        icc_profile=icc_profile,
    )
