"""The one orchestrator: open a photo once, render recipes from it many times."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from faceloom.errors import UsageError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.faces.mask import face_mask
from faceloom.faces.paste import paste
from faceloom.faces.transfer import apply_change, measure_change
from faceloom.imaging.convert import to_images, to_pixels
from faceloom.imaging.photos import open_photo
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.protocol import Inverter, Step
from faceloom.model import DEFAULT, Model, load_model
from faceloom.recipe import Recipe
from faceloom.types import Crop, Face, Latent, Mask, Photo, Pixels, Render

InverterName = Literal["encoder", "hybrid"]
CROP_SIZE = 256


@dataclass(frozen=True, eq=False)
class OpenFace:
    """A face of an open photo.

    Attributes:
        crop: the aligned face, 256 px or the generator's resolution, whichever is larger.
        latent: its style code.
        before: (S, S, 3) uint8 RGB, what the generator draws from that code.
        mask: (M, M) in crop space, where an edit may show: head and hair.
        motion: (M, M) in crop space, where it may move things: the face.
    """

    crop: Crop
    latent: Latent
    before: Pixels
    mask: Mask
    motion: Mask


class Editor:
    """A photo whose faces have been inverted, ready to be rendered with any recipe.

    >>> editor = Editor.open("portrait.jpg")                                          # doctest: +SKIP
    >>> render = editor.render(Recipe().with_edit("age", 2.0))                        # doctest: +SKIP

    Attributes:
        photo: the photo as it was opened.
        faces: the faces that are edited, in the order they were chosen.
        model: what they were inverted with.
    """

    def __init__(self, photo: Photo, faces: tuple[OpenFace, ...], model: Model) -> None:
        self.photo, self.faces, self.model = photo, faces, model

    @classmethod
    def open(
        cls,
        photo: Photo | str | os.PathLike[str],
        *,
        model: Model | str = DEFAULT,
        face: int | Literal["all"] | None = None,
        inverter: Inverter | InverterName = "hybrid",
        progress: Callable[[Step], None] | None = None,
    ) -> Editor:
        """Find, align and invert the faces of a photo.

        Args:
            photo: a photo, or the path of one.
            model: a model, its id, or its folder.
            face: which face, from 1, largest first; None for the largest, "all" for every one.
            inverter: how to find the style code; "encoder" is fastest, "hybrid" more alike.
            progress: called after every step of the inversion.

        Raises:
            PhotoError: if the photo cannot be read.
            FaceError: if there is no such face in it.
            UsageError, CheckpointError: if the model cannot be loaded.
        """
        if not isinstance(photo, Photo):
            photo = open_photo(photo)
        found = detect(photo)
        chosen = found if face == "all" and found else (choose(found, None if face == "all" else face, photo),)
        if isinstance(model, str):
            model = load_model(model)
        if isinstance(inverter, str):
            inverter = make_inverter(inverter, model)
        return cls(photo, _invert(photo, chosen, model, inverter, progress), model)

    def scaled(self, side: int) -> Editor:
        """The same open faces in a copy of the photo whose longer side is at most `side` pixels: for quick previews.

        Nothing is inverted anew; the copy renders any recipe as this one does, smaller.

        Raises:
            UsageError: if `side` is not positive.
        """
        if side < 1:
            raise UsageError(f"a preview has at least one pixel, not {side}")
        width, height = self.photo.size
        share = side / max(width, height)
        if share >= 1.0:
            return self
        size = (max(1, round(width * share)), max(1, round(height * share)))
        pixels = np.asarray(Image.fromarray(self.photo.pixels).resize(size, Image.Resampling.BOX))
        scale = np.array([size[0] / width, size[1] / height])
        faces = tuple(replace(one, crop=_moved(one.crop, scale)) for one in self.faces)
        return Editor(Photo(pixels, self.photo.icc_profile, self.photo.name), faces, self.model)

    def codes(self, recipe: Recipe) -> Tensor:
        """The edited style codes of the faces, (N, num_ws, w_dim).

        Raises:
            UsageError: if the recipe is for another model, or has an edit that the model does not know.
        """
        if recipe.model != self.model.id:
            raise UsageError(
                f"the recipe is for the model {recipe.model!r}, and the photo was opened with "
                f"{self.model.id!r}; open it with the recipe's model"
            )
        codes = torch.stack([face.latent.codes for face in self.faces])
        return self.model.directions.move(codes, recipe.edits)

    def render(self, recipe: Recipe) -> Render:
        """Draw the photo as the recipe wants it.

        A recipe without edits gives the photo back bit for bit when `recipe.paste` is "transfer".

        Raises:
            UsageError: as `codes`.
        """
        after = draw(self.model, self.codes(recipe))
        photo, whole = self.photo, np.zeros(self.photo.pixels.shape[:2], dtype=np.float32)
        for face, edited in zip(self.faces, after, strict=True):
            if recipe.paste == "transfer":
                change = measure_change(face.before, edited, face.motion)
                photo, mask = apply_change(photo, face.crop, change, face.mask)
            else:
                photo, mask = paste(photo, face.crop, edited, mask=face.mask, match_colour=True)
            whole = np.maximum(whole, mask)
        return Render(photo, tuple(face.before for face in self.faces), tuple(after), whole)


def make_inverter(name: InverterName, model: Model, *, steps: int | None = None) -> Inverter:
    """The inversion method of this name for this model; `steps` of "hybrid" where not its default.

    Raises:
        UsageError: if there is no such method.
    """
    if name == "encoder":
        return EncoderInverter(model.encoder)
    if name == "hybrid":
        options = {} if steps is None else {"steps": steps}
        return HybridInverter(model.generator, model.encoder, model.spread, **options)
    raise UsageError(f'there is no inversion method {name!r}; choose "encoder" or "hybrid"')


@torch.no_grad()
def draw(model: Model, codes: Tensor) -> list[Pixels]:
    """What the model's generator draws from codes (N, num_ws, w_dim): N pictures (S, S, 3) uint8 RGB."""
    return list(to_pixels(model.generator.synthesize(codes)))


def _moved(crop: Crop, scale: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Crop:
    """The crop of a photo whose axes were scaled by `scale` (2,)."""
    face = crop.face
    left, top, right, bottom = np.array(face.box) * np.tile(scale, 2)
    moved = Face((float(left), float(top), float(right), float(bottom)), face.landmarks * scale, face.score)
    return Crop(crop.pixels, crop.quad * scale, moved)


def _invert(
    photo: Photo, faces: tuple[Face, ...], model: Model, inverter: Inverter, progress: Callable[[Step], None] | None
) -> tuple[OpenFace, ...]:
    size = max(CROP_SIZE, model.generator.resolution)
    crops = [align(photo, face, size) for face in faces]
    codes = inverter.invert(to_images(np.stack([crop.pixels for crop in crops])), progress).detach()
    opened = []
    for crop, code, before in zip(crops, codes, draw(model, codes), strict=True):
        latent = Latent(code, "w+", model.generator.fingerprint)
        opened.append(OpenFace(crop, latent, before, face_mask(crop, "head"), face_mask(crop, "face")))
    return tuple(opened)
