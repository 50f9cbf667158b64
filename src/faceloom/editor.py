"""The one orchestrator: open a photo once, render recipes from it many times."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from faceloom.directions.drawing import moved_styles, synthesize_moved
from faceloom.domains.cutout import head_cutout
from faceloom.domains.drawing import DrawnFace, draw_photo
from faceloom.domains.sticker import SIDE as STICKER_SIDE
from faceloom.domains.sticker import cut_sticker, with_room
from faceloom.domains.twin import blended
from faceloom.errors import UsageError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.faces.mask import edit_masks
from faceloom.faces.paste import paste
from faceloom.faces.transfer import apply_change, measure_change
from faceloom.faces.warp import region_of
from faceloom.generators.cache import Cancelled, PrefixCaches
from faceloom.generators.protocol import Generator
from faceloom.generators.stylegan2 import StyleGAN2, is_small
from faceloom.imaging.convert import to_images, to_pixels
from faceloom.imaging.photos import open_photo
from faceloom.inversion.abreast import invert_abreast
from faceloom.inversion.dial import default_fidelity
from faceloom.inversion.likeness import Likeness, assess
from faceloom.inversion.methods import MethodName, make_method
from faceloom.inversion.protocol import Inversion, Inverter, ProgressReport, Step
from faceloom.inversion.tuning import Tuning, lent, recalled
from faceloom.model import DEFAULT, Model, load_model
from faceloom.recipe import Edit, Recipe
from faceloom.types import Crop, Face, Latent, Mask, Photo, Pixels, Render

InverterName = MethodName
CROP_SIZE = 256
_PIXELS_AT_ONCE = 4 * 1024**2
"""Of the pictures that are drawn as one batch: about two gigabytes of feature maps."""
_LEAST_PREVIEW = 128  # px: what is smaller is drawn in no time anyway


@dataclass(frozen=True, eq=False)
class OpenFace:
    """A face of an open photo.

    Attributes:
        crop: the aligned face, 256 px or the generator's resolution, whichever is larger.
        latent: its style code.
        before: (S, S, 3) uint8 RGB, what the generator draws from that code.
        mask: (M, M) in crop space, where an edit may show: head and hair.
        motion: (M, M) in crop space, where it may move things: the face and its outline.
        tuning: what the inversion added to the generator's weights for this face; None for nothing.
        likeness: how well it reconstructs beside ordinary faces; None where the model does not say what is ordinary.
    """

    crop: Crop
    latent: Latent
    before: Pixels = field(repr=False)
    mask: Mask = field(repr=False)
    motion: Mask = field(repr=False)
    tuning: Tuning | None = None
    likeness: Likeness | None = None


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
        # A tuned face has a generator of its own; feature maps of small ones are small.
        self._caches = PrefixCaches(most=max(3, len(faces) + 1) if is_small(model.generator) else 3)
        self._quick = False  # a preview's motion may be coarse
        self._resolution: int | None = None  # where a preview's generator may stop
        self._small: tuple[Pixels, ...] = ()  # what it draws unedited at that size

    @classmethod
    def open(
        cls,
        photo: Photo | str | os.PathLike[str],
        *,
        model: Model | str = DEFAULT,
        face: int | Sequence[int] | Literal["all"] | None = None,
        inverter: Inverter | InverterName | None = None,
        fidelity: float | None = None,
        progress: Callable[[Step], None] | None = None,
        found: tuple[Face, ...] | None = None,
    ) -> Editor:
        """Find, align and invert the faces of a photo.

        Args:
            photo: a photo, or the path of one.
            model: a model, its id, or its folder.
            face: which face, or faces, from 1, largest first; None for the largest, "all" for every one.
            inverter: how to find the style code; the dial's method at `fidelity` where None.
            fidelity: from 0, most editable, to 1, most alike; the dial's default where None. Not beside `inverter`.
            progress: called after every step of the inversion.
            found: the faces that `detect` has found in this photo before; looked for where None.

        Raises:
            PhotoError: if the photo cannot be read.
            FaceError: if there is no such face in it.
            UsageError, CheckpointError: if the model cannot be loaded.
            UsageError: if `inverter` and `fidelity` are both given, or either makes no sense.
        """
        if inverter is not None and fidelity is not None:
            raise UsageError("give either a fidelity or an inversion method")
        if not isinstance(photo, Photo):
            photo = open_photo(photo)
        found = detect(photo) if found is None else found
        chosen = _chosen(found, face, photo)
        if isinstance(model, str):
            model = load_model(model)
        # An inverter that is given may know the answer for all faces together.
        made_here = inverter is None or isinstance(inverter, str)
        abreast = made_here and is_small(model.generator) and model.device.type == "cpu"
        if inverter is None:
            place = default_fidelity(model.generator) if fidelity is None else fidelity
            inverter = model.inverter_at(place)
        if isinstance(inverter, str):
            inverter = make_inverter(inverter, model)
        invert = partial(invert_abreast, inverter) if abreast else inverter.invert
        return cls(photo, _invert(photo, chosen, found, model, invert, progress), model)

    @property
    def inversion(self) -> Inversion:
        """The codes of the faces and what belongs to them, as the inversion method found them."""
        tunings = tuple(face.tuning for face in self.faces if face.tuning is not None)
        return Inversion(torch.stack([face.latent.codes for face in self.faces]), tunings)

    @property
    def cached_bytes(self) -> int:
        """Bytes of feature maps kept for the next picture, on the model's device; `scaled` copies share them."""
        return self._caches.nbytes

    def clear_cache(self) -> None:
        """Give up what `cached_bytes` counts: the next picture is drawn from the beginning."""
        self._caches.clear()

    def scaled(self, side: int) -> Editor:
        """The same open faces in a copy of the photo whose longer side is at most `side` pixels: for quick previews.

        Nothing is inverted anew; the copy renders any recipe as this one does, smaller, its motion more coarsely found.
        A large generator stops early, at no less than half the size that the face has in the copy; twins are whole.

        Raises:
            UsageError: if `side` is not positive.
        """
        if side < 1:
            raise UsageError(f"a preview has at least one pixel, not {side}")
        width, height = self.photo.size
        share = min(1.0, side / max(width, height))
        size = (max(1, round(width * share)), max(1, round(height * share)))
        pixels = self.photo.pixels
        if share < 1.0:
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        scale = np.array([size[0] / width, size[1] / height])
        faces = tuple(replace(one, crop=one.crop.placed(one.crop.quad * scale)) for one in self.faces)
        editor = Editor(Photo(pixels, self.photo.icc_profile, self.photo.name), faces, self.model)
        editor._caches = self._caches  # it draws the same codes
        editor._quick = True
        editor._resolution = _preview_resolution(self.model.generator, faces)
        return editor

    def _before(self, resolution: int | None) -> tuple[Pixels, ...]:
        """What the generator draws of each face unedited, at this size."""
        if resolution is None:
            return tuple(face.before for face in self.faces)
        if not self._small:
            codes, tunings = self.inversion.codes, [face.tuning for face in self.faces]
            self._small = tuple(draw(self.model, codes, None, tunings, resolution=resolution))
        return self._small

    def face_alone(self, face: int = 1) -> Editor:
        """One open face, counted from 1, in a photo that is its aligned face and nothing else.

        Raises:
            UsageError: if there is no such face.
        """
        if not 1 <= face <= len(self.faces):
            raise UsageError(f"there is no open face {face}; {len(self.faces)} are open")
        one = self.faces[face - 1]
        crop = one.crop.alone()
        photo = Photo(crop.pixels, self.photo.icc_profile, self.photo.name)
        return Editor(photo, (replace(one, crop=crop),), self.model)

    def codes(self, recipe: Recipe) -> Tensor:
        """The edited style codes of the faces, (N, num_ws, w_dim); a tuned face's edits are as long as it needs.

        Raises:
            UsageError: if the recipe is for another model, or has an edit that the model does not know.
        """
        self._check_model(recipe)
        return self._moved(recipe, [face.tuning for face in self.faces])

    def _check_model(self, recipe: Recipe) -> None:
        if recipe.model != self.model.id:
            raise UsageError(
                f"the recipe is for the model {recipe.model!r}, and the photo was opened with "
                f"{self.model.id!r}; open it with the recipe's model"
            )

    def _moved(self, recipe: Recipe, tunings: Sequence[Tuning | None]) -> Tensor:
        codes = torch.stack([face.latent.codes for face in self.faces])
        moved = self.model.directions.move(codes, self._edits(recipe))
        pairs = zip(tunings, codes, moved, strict=True)
        return torch.stack([after if one is None else one.stretched(w, after) for one, w, after in pairs])

    def _edits(self, recipe: Recipe) -> tuple[Edit, ...]:
        return self.model.directions.balanced(recipe.edits) if recipe.balance else recipe.edits

    def preview(
        self, recipe: Recipe, *, resolution: int | None = None, cancelled: Callable[[], bool] | None = None
    ) -> list[Pixels]:
        """What the generator draws of each face, without the photo around it: (S, S, 3) uint8 RGB each.

        Args:
            recipe: what to do.
            resolution: stop at this size S, for a quick look; the generator's own where None. Only StyleGAN2 can stop.
            cancelled: asked before every layer, or recorded block; where it says True, drawing stops.

        Raises:
            Cancelled: if `cancelled` said so.
            UsageError: as `codes`, or if the generator cannot stop at this size.
        """
        codes, tunings = self.codes(recipe), [face.tuning for face in self.faces]
        offset = self.model.directions.style_offset(self._edits(recipe))
        return draw(self.model, codes, offset, tunings, caches=self._caches, resolution=resolution, cancelled=cancelled)

    def render(self, recipe: Recipe, *, cancelled: Callable[[], bool] | None = None) -> Render:
        """Draw the photo as the recipe wants it.

        A recipe without edits and twin gives the photo back bit for bit when `recipe.paste` is "transfer". With a twin,
        "transfer" draws the whole photo at its own resolution, and "replace" puts the twin's picture into the photo;
        `after` holds the twin's pictures. `cancelled` is asked before every layer; where it says True, drawing stops.

        Raises:
            Cancelled: if `cancelled` said so.
            UsageError: as `codes`, or if the model has no such twin.
        """
        if recipe.twin:
            return self._render_twin(recipe, cancelled)
        before = self._before(self._resolution)
        photo, whole = self.photo, np.zeros(self.photo.pixels.shape[:2], dtype=np.float32)
        if recipe.paste == "transfer" and self._stays(recipe):
            return Render(photo, before, before, whole)
        after = self.preview(recipe, resolution=self._resolution, cancelled=cancelled)
        for face, plain, edited in zip(self.faces, before, after, strict=True):
            if recipe.paste == "transfer":
                change = measure_change(plain, edited, face.motion, quick=self._quick)
                photo, mask = apply_change(photo, face.crop, change, face.mask, quick=self._quick)
            else:
                photo, mask = paste(photo, face.crop, edited, mask=face.mask, match_colour=True)
            _join(whole, mask, face.crop)
        return Render(photo, before, tuple(after), whole)

    def _stays(self, recipe: Recipe) -> bool:
        """Whether a recipe without a twin moves no face."""
        still = torch.equal(self.codes(recipe), torch.stack([face.latent.codes for face in self.faces]))
        return still and self.model.directions.style_offset(self._edits(recipe)) is None

    def sticker(self, recipe: Recipe, face: int = 1, *, side: int = STICKER_SIDE) -> NDArray[np.uint8]:
        """One head as the recipe wants it, cut out of its background with a white rim.

        Args:
            recipe: what to do to it; a twin suits stickers, but none is needed.
            face: which open face, from 1.
            side: of the sticker in pixels.

        Returns:
            (side, side, 4) uint8 RGBA, transparent around the head.

        Raises:
            UsageError: as `render`, or if there is no such open face.
        """
        if not 1 <= face <= len(self.faces):
            raise UsageError(f"there is no open face {face}; {len(self.faces)} are open")
        crop = with_room(self.photo, self.faces[face - 1].crop)
        return cut_sticker(self.render(recipe).photo, crop, head_cutout(crop), side)

    def _render_twin(self, recipe: Recipe, cancelled: Callable[[], bool] | None) -> Render:
        """`render` with a twin."""
        self._check_model(recipe)
        twin, transferred = self.model.twins[recipe.twin], recipe.paste == "transfer"
        drawer = blended(twin, self.model.generator, round(float(recipe.degree), 3))
        # All of a tuning would draw a photo again; none of it, somebody else.
        strength = 1.0 - 0.5 * round(float(recipe.degree), 3)
        tunings = [face.tuning and lent(face.tuning, drawer.fingerprint, strength) for face in self.faces]
        codes = self._moved(recipe, tunings)
        offset = self.model.directions.style_offset(self._edits(recipe))
        drawn = draw(
            replace(self.model, generator=drawer), codes, offset, tunings, caches=self._caches, cancelled=cancelled
        )
        plain = self.preview(recipe, cancelled=cancelled) if transferred else drawn
        photo, whole = self.photo, np.zeros(self.photo.pixels.shape[:2], dtype=np.float32)
        faces = []
        for face, edited, picture in zip(self.faces, plain, drawn, strict=True):
            if transferred:
                change = measure_change(face.before, edited, face.motion, quick=self._quick)
                photo, mask = apply_change(photo, face.crop, change, face.mask, quick=self._quick)
                faces.append(DrawnFace(face.crop, edited, picture, face.mask, face.motion, change))
            else:
                photo, mask = paste(photo, face.crop, picture, mask=face.mask, match_colour=False)
            _join(whole, mask, face.crop)
        if faces and recipe.degree > 0.0:
            photo, whole = draw_photo(photo, faces, twin.illustrator, recipe.degree)
        return Render(photo, tuple(face.before for face in self.faces), tuple(drawn), whole)


def make_inverter(name: InverterName, model: Model, *, steps: int | None = None) -> Inverter:
    """The inversion method of this name for this model; `steps` where not its own number.

    Raises:
        UsageError: if there is no such method, or it needs an encoder and the model has none.
    """
    return make_method(name, model.generator, model.encoder, model.spread, steps=steps)


def _chosen(
    found: tuple[Face, ...], face: int | Sequence[int] | Literal["all"] | None, photo: Photo
) -> tuple[Face, ...]:
    """The faces of a photo that `Editor.open` was asked for, each once."""
    if face is None or not found:
        return (choose(found, None, photo),)
    if isinstance(face, str):
        if face == "all":
            return found
        raise UsageError(f"faces are numbers from 1, or 'all', not {face!r}")
    try:
        numbers = [operator.index(one) for one in (face if isinstance(face, Iterable) else [face])]
    except TypeError as error:
        raise UsageError(f"faces are whole numbers from 1, not {face!r}") from error
    if not numbers:
        raise UsageError("choose one face at least")
    return tuple(choose(found, one, photo) for one in dict.fromkeys(numbers))


def _join(whole: Mask, mask: Mask, crop: Crop) -> None:
    """Put a face's mask over a photo (H, W) into that of all faces; only where the crop is: photos are large."""
    roi = region_of(crop, (whole.shape[1], whole.shape[0]))
    np.maximum(whole[roi], mask[roi], out=whole[roi])


def _preview_resolution(generator: Generator, faces: Sequence[OpenFace]) -> int | None:
    """Where to stop drawing for previews of these faces; None for the generator's own size."""
    if not isinstance(generator, StyleGAN2) or generator.config.architecture != "skip":
        return None
    largest = max((face.crop.side for face in faces), default=0.0)
    resolution = _LEAST_PREVIEW
    while resolution < largest / 2:
        resolution *= 2
    return resolution if resolution < generator.resolution else None


@torch.no_grad()
def draw(
    model: Model,
    codes: Tensor,
    offset: Tensor | None = None,
    tunings: Sequence[Tuning | None] = (),
    *,
    caches: PrefixCaches | None = None,
    resolution: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Pixels]:
    """What the model's generator draws from codes (N, num_ws, w_dim): N pictures (S, S, 3) uint8 RGB.

    Args:
        model: whose generator draws.
        codes: (N, num_ws, w_dim).
        offset: (channels,), added to the style vectors, and stretched for tuned faces; see `DirectionSet.style_offset`.
        tunings: where there are any, one for each code, None for the generator as it is.
        caches: of the feature maps of the last time, to draw only what changed since; none where None.
        resolution: as `PrefixCache.synthesize_styles`.
        cancelled: as there.
    """
    caches = PrefixCaches(max_bytes=0) if caches is None else caches
    codes = codes.to(model.device)

    def one(drawer: Generator, some: Tensor, offset: Tensor | None) -> Tensor:
        if not isinstance(drawer, StyleGAN2):
            if cancelled is not None and cancelled():  # it draws all of its layers at once
                raise Cancelled("the picture is no longer wanted")
            if resolution not in (None, drawer.resolution):
                raise UsageError(f"this generator cannot stop at {resolution} px")
            return synthesize_moved(drawer, some, offset)
        styles = moved_styles(drawer, some, offset)
        return caches.of(drawer).synthesize_styles(styles, resolution=resolution, cancelled=cancelled)

    if not any(tunings):
        parts = torch.split(codes, max(1, _PIXELS_AT_ONCE // model.generator.resolution**2))
        return [picture for part in parts for picture in to_pixels(one(model.generator, part, offset))]
    drawn = []
    for code, tuning in zip(codes, tunings, strict=True):
        if tuning is None:
            drawn.append(one(model.generator, code[None], offset))
        else:
            drawn.append(one(recalled(model.generator, tuning), code[None], tuning.stretched_offset(offset)))
    return [to_pixels(image)[0] for image in drawn]


def _invert(
    photo: Photo,
    faces: tuple[Face, ...],
    found: tuple[Face, ...],
    model: Model,
    invert: Callable[[Tensor, ProgressReport | None], Inversion],
    progress: ProgressReport | None,
) -> tuple[OpenFace, ...]:
    size = max(CROP_SIZE, model.generator.resolution)
    crops = [align(photo, face, size, found) for face in faces]
    images = to_images(np.stack([crop.pixels for crop in crops]), model.device)
    inversion = invert(images, progress).on(torch.device("cpu"))
    tunings = inversion.tunings or (None,) * len(crops)
    drawn = draw(model, inversion.codes, None, tunings)
    likenesses = assess(model.id, model.generator, model.encoder, images)
    opened = []
    for crop, code, before, tuning, likeness in zip(crops, inversion.codes, drawn, tunings, likenesses, strict=True):
        latent = Latent(code, "w" if torch.equal(code, code[:1].expand_as(code)) else "w+", model.generator.fingerprint)
        opened.append(OpenFace(crop, latent, before, *edit_masks(crop), tuning, likeness))
    return tuple(opened)
