"""Detail transfer: the generator supplies the change, the photo supplies the pixels.

A small generator redraws a face without its pores, glasses and hairs. But it knows how the face *changes* when edited.
So the difference between its picture before and its picture after is split into a motion (a dense flow) and what motion
does not explain (a colour residual), and both are applied to the photo's own pixels at the photo's own resolution:

    edited(p) = photo(p + m(p) flow(p)) + m(p) g(p) residual(p)

with a soft mask m that keeps the photo bit-identical where it is 0. If the generator's picture before were the photo
itself, the edited photo would be its picture after, but for tints of darks and greys (see `calm_tints`). g is at most
1: where the photo is darker than the generator's picture before, the residual shrinks in proportion, as light does in
the shade between two strands of hair, or on the frame of glasses that were not drawn. In the same way less of a colour
is taken away where the photo has less of it: white teeth stay white where a mouth was drawn softly.

Where a person can be seen in photo and pictures, the residual is sorted into what is the person's and what is not, and
the background keeps its colours: see `faceloom.faces.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from faceloom.errors import UsageError
from faceloom.faces.layers import Layers, Seen, sort_change
from faceloom.faces.mask import mask_to_photo
from faceloom.faces.person import matte, person_before, person_in, see_people
from faceloom.faces.warp import CropSampler, Kernel, Roi, in_bands, region_of, to_side
from faceloom.types import Crop, Mask, Photo, Pixels

Float = NDArray[np.float32]

WORKING_SIZE = 128
"""The flow is estimated at this size at most: finer motion is noise."""
MAX_FLOW = 0.05
"""No point moves further than this share of the crop's side; what would is left to the residual."""
_LEVELS = 3
_ROUNDS = 6
_WINDOW = 0.03  # wider ones see the jaw move less than it does, and leave a pale line along it
_STIFFNESS = 3e-3
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_COLOUR = np.eye(3, dtype=np.float32) - _LUMA[:, None]  # takes luma out of a colour (a row)
_DUAL = _COLOUR @ (np.eye(3, dtype=np.float32) - _LUMA)  # the same, and products with it leave luma out of the other
_DARK = 24.0  # levels: below, pictures are too dark to be compared
_PALE = 2.0  # levels: below, the hue of a colour is noise
_COLOURED = 60.0  # levels of luma from which a generator's new colours are believed in full
_OTHER = 90.0  # levels of luma from which what was there before is another thing than the dark that is there now
_BLACK = 8.0  # levels: the ratio of two darker tones is noise
_GREY, _HUED = 0.1, 0.2  # strength of a colour over luma: it says nothing; all of it is believed
_BESIDE = 0.02  # sides of the crop around a person that move along with them
_INSIDE = 0.06  # sides of the crop inside the border of what may move, where it is the face whatever else is seen
_PEOPLE_SIZE, _QUICK_PEOPLE_SIZE = 128, 96  # px at which people are looked for in the generator's soft pictures


@dataclass(frozen=True, eq=False)
class Change:
    """What an edit does to an aligned face, at the generator's resolution.

    Attributes:
        flow: (S, S, 2) float32: the pixel at p comes from p + flow(p); (x, y), in crop pixels.
        residual: (S, S, 3) float32: the colour to add after moving, in levels of 0 to 255.
        drawn: (S, S, 3) float32: the picture before, moved by `flow`, same levels; None to add the residual to whatever
            the photo shows.
        seen: where the person is in the two pictures; None where all that changes is meant to, whatever it belongs to.
    """

    flow: Float
    residual: Float
    drawn: Float | None = None
    seen: Seen | None = None


def measure_change(
    before: Pixels, after: Pixels, motion: Mask | None = None, *, quick: bool = False, people: bool = True
) -> Change:
    """Split the difference of two pictures of one face into motion and colour.

    Args:
        before: (S, S, 3) uint8 RGB, the generator's picture of the face as it is.
        after: (S, S, 3) uint8 RGB, the same face edited.
        motion: (M, M) in [0, 1]: where things can move; everywhere if None. Features of a face move, and its outline.
            Hair that grows or goes does not come from elsewhere: there, a flow would only smear.
        quick: estimate the motion at half the size with half the rounds, for previews: about a sixth of the time.
        people: look for the person in both: around `motion`, nothing moves where there is nobody. Otherwise the change
            is the whole picture's, and `seen` is None.

    Returns:
        The change; `residual` is exact: adding it to `before`, moved by `flow`, gives `calm_tints` of that and `after`.

    Raises:
        UsageError: if the pictures differ in size, or are not square.
    """
    if before.shape != after.shape or before.ndim != 3 or before.shape[0] != before.shape[1]:
        raise UsageError(f"the pictures before and after must be squares of one size: {before.shape}, {after.shape}")
    size = before.shape[0]
    first, last = before.astype(np.float32), after.astype(np.float32)
    working = min(size, WORKING_SIZE // 2 if quick else WORKING_SIZE)
    rounds = _ROUNDS // 2 if quick else _ROUNDS
    flow = _dense_flow(_structure(to_side(first, working)), _structure(to_side(last, working)), rounds)
    flow = to_side(flow, size) * (size / working)
    movable = np.ones((size, size), np.float32) if motion is None else to_side(motion[..., None], size)[..., 0]
    persons: tuple[Mask, Mask] | None = None
    if people:
        # Many edits start from one picture.
        most = _QUICK_PEOPLE_SIZE if quick else _PEOPLE_SIZE
        persons = person_before(before, most), see_people(after[None], most=most)[0]
        movable = movable * _around(np.maximum(*persons), movable)
    flow = flow * movable[..., None]
    moved = warp(first, flow)
    last = calm_tints(moved, last)
    seen = None if persons is None else Seen(last, *persons)
    return Change(flow, last - moved, moved, seen)


def calm_tints(before: Float, after: Float) -> Float:
    """An edited picture without the tints that a small generator gives to darks and to greys.

    Its dark hair comes out teal here and violet there, its teeth blue; in a photo, that stands out. What was nearly
    without colour, and still is, keeps the colour of the picture before. What only gets darker keeps the ratios of its
    colours, so that much is taken over from the picture before, where that was dark, too. Of what else the edit does to
    a colour, a share is left that falls from all, where luma is 60 or more, to nothing in black.

    Args:
        before: (S, S, 3) float32, levels of 0 to 255; moved to where things are in the picture after.
        after: the same, edited.

    Returns:
        The picture after, (S, S, 3) float32, of the same luma.
    """
    light, new_light = ((one @ _LUMA)[..., None] for one in (before, after))
    old, new = before @ _COLOUR, after @ _COLOUR
    strength = np.maximum(_strength(old) / (light + _BLACK), _strength(new) / (new_light + _BLACK))
    kept = old * np.clip((new_light + _BLACK) / (light + _BLACK), 0.0, 1.0)
    wanted = kept + np.clip((strength - _GREY) / (_HUED - _GREY), 0.0, 1.0) * (new - kept)
    # What was bright before is no hair that got darker, but what the hair covers.
    same = np.clip((_OTHER - light) / (_OTHER - _COLOURED), 0.0, 1.0)
    expected = same * kept
    believed = np.clip(new_light / _COLOURED, 0.0, 1.0)
    colour = expected + believed * (wanted - expected)
    most, found = _strength(wanted), _strength(colour)
    bound = np.where(believed < 1.0, np.minimum(1.0, most / np.maximum(found, 1e-6)), 1.0)
    calmed: Float = (new_light + bound * colour).astype(np.float32)
    return calmed


def _strength(colour: Float) -> Float:
    """How strong colours (h, w, 3), less luma, are: (h, w, 1), in levels."""
    strength: Float = np.sqrt(_product(colour, colour))
    return strength


def _around(person: Mask, movable: Mask) -> Mask:
    """Where a person is, (S, S), with what is next to their outline, softly; and the middle of what may move."""
    reach, inside = (2 * round(one * len(person)) + 1 for one in (_BESIDE, _INSIDE))
    grown = ndimage.maximum_filter(person, reach)
    # A drawing or a statue need not be seen as a person.
    face = ndimage.minimum_filter((movable > 0.5).astype(np.float32), inside)
    around: Float = ndimage.gaussian_filter(np.maximum(grown, face), reach / 4, mode="nearest")
    return around


def apply_change(photo: Photo, crop: Crop, change: Change, mask: Mask, *, quick: bool = False) -> tuple[Photo, Mask]:
    """Move and recolour the photo's own pixels.

    Args:
        photo: the photo that `crop` was cut from.
        crop: the aligned face.
        change: what `measure_change` found for that face.
        mask: (M, M) in [0, 1], in crop space: how much of the change to apply.
        quick: carry the change to the photo with the plainer interpolation, for previews.

    Returns:
        The edited photo, and the mask in photo space, (H, W): pixels are bit-identical where it is 0.
    """
    size = change.flow.shape[0]
    soft = to_side(mask[..., None], size)
    silhouette = None if change.seen is None else person_in(crop)
    added, layers, outline = change.residual, None, None
    if change.seen is not None and silhouette is not None:
        person = silhouette.at(size)
        layers = sort_change(person.colours, person.mask, change.seen, change.residual, soft[..., 0])
        fine = person if quick and size < len(silhouette.mask) else silhouette
        added, outline = layers.person, _slid(fine.coefficients, change.flow * soft)
    change_at = CropSampler(np.dstack([change.flow, added]) * soft, crop, "bilinear" if quick else "bicubic")
    colour = _Colouring(crop, soft, change.drawn if layers is None else layers.drawn, layers, outline)
    # A flow in crop pixels becomes a flow in photo pixels by the linear part of the crop's transform.
    turn = crop.to_photo(size)[:2, :2].T.astype(np.float32)
    whole = mask_to_photo(mask, crop, photo.size)
    pixels = photo.pixels.copy()

    def recolour(band: Roi) -> None:
        values = change_at(band)
        moved = _sample(photo.pixels, band, values[..., :2] @ turn)
        edited = np.clip(np.rint(colour(moved, values[..., 2:], band)), 0, 255).astype(np.uint8)
        np.copyto(pixels[band], edited, where=whole[band][..., None] > 0.0)

    in_bands(recolour, region_of(crop, photo.size))
    return Photo(pixels, photo.icc_profile, photo.name), whole


def _suited(residual: Float, moved: Float, drawn: Float | None) -> Float:
    """A residual (h, w, 3) as it suits pixels of the photo that have moved, where the generator drew others."""
    if drawn is None:
        return residual
    # Where the photo is darker than what was drawn, all shrinks in proportion; where it has less of the colour that was
    # drawn, taking that colour away shrinks as much, if that is more.
    colour, dual = drawn @ _COLOUR, drawn @ _DUAL
    strength = np.maximum(_strength(colour), 1e-3)
    taken = np.clip(_product(residual, dual) / strength**2, -1.0, 0.0)
    left = np.clip((_product(moved, dual) / strength + _PALE) / (strength + _PALE), 0.0, 1.0)
    light, drawn_light = ((one @ _LUMA)[..., None] for one in (moved, drawn))
    share = np.clip((light + _DARK) / (np.maximum(drawn_light, 0.0) + _DARK), 0.0, 1.0)
    suited: Float = share * residual - np.maximum(share - left, 0.0) * taken * colour
    return suited


def _product(first: Float, second: Float) -> Float:
    """Scalar products of colours (h, w, 3): (h, w, 1)."""
    products: Float = (first * second) @ np.ones((3, 1), np.float32)  # five times as fast as einsum
    return products


class _Colouring:
    """Gives pixels of a photo that have moved their colours, band by band."""

    def __init__(
        self, crop: Crop, soft: Float, drawn: Float | None, layers: Layers | None, outline: Float | None
    ) -> None:
        """Prepare what is the same for all bands.

        Args:
            crop: where the change is.
            soft: (S, S, 1) in [0, 1]: how much of it to apply.
            drawn: (S, S, 3) what the generator drew before, where the residual is added; None to add it as it is.
            layers: the change, sorted; None where nobody was seen.
            outline: (K, K, 4) coefficients of the silhouette, beside `layers`.
        """
        planes = {} if drawn is None else {"drawn": drawn}
        if layers is not None:
            if layers.behind is not None and layers.drawn_behind is not None:
                planes |= {"behind": layers.behind * soft, "drawn_behind": layers.drawn_behind}
            for name, colours, share in (
                ("ground", layers.ground, layers.bared),
                ("cover", layers.cover, layers.covered),
            ):
                if colours is not None and share is not None:
                    kept = share[..., None] * soft
                    planes |= {name: colours * kept, f"{name}_share": kept}
        self._names, self._ends = list(planes), np.cumsum([plane.shape[2] for plane in planes.values()])[:-1].tolist()
        self._planes = CropSampler(np.dstack(list(planes.values())), crop, "bilinear") if planes else None
        self._outline = None if outline is None else CropSampler(outline, crop, "bilinear")

    def __call__(self, moved: Float, added: Float, band: Roi) -> Float:
        """The colours (h, w, 3) of a band, to whose pixels as they have moved a residual (h, w, 3) is added."""
        values: dict[str, Float] = {}
        if self._planes is not None:
            values = dict(zip(self._names, np.split(self._planes(band), self._ends, axis=2), strict=True))
        inner = moved + _suited(added, moved, values.get("drawn"))
        if self._outline is None:
            return inner
        person = matte(self._outline(band), moved)[..., None]
        outer = moved
        if "behind" in values:
            outer = moved + _suited(values["behind"], moved, values["drawn_behind"])
        if "ground" in values:
            inner = inner * (1.0 - values["ground_share"]) + values["ground"]
        if "cover" in values:
            outer = outer * (1.0 - values["cover_share"]) + values["cover"]
        coloured: Float = outer + person * (inner - outer)
        return coloured


def warp(picture: Float, flow: Float) -> Float:
    """Picture (H, W, C) sampled at p + flow(p), in its pixels; bilinear, edges repeated."""
    height, width = picture.shape[:2]
    return _taken(picture, _places(slice(0, height), slice(0, width)) + flow, "bilinear")


def _slid(coefficients: Float, flow: Float) -> Float:
    """A silhouette's coefficients moved along with the pixels, by a flow in pixels of its own size (S, S, 2)."""
    side = len(coefficients)
    return warp(coefficients, to_side(flow, side) * np.float32(side / len(flow)))


def _places(rows: slice, columns: slice) -> Float:
    """Where the pixels of a region are: (h, w, 2), (x, y)."""
    y, x = np.mgrid[rows, columns].astype(np.float32)
    return np.stack([x, y], axis=2)


def _taken(picture: Float | Pixels, places: Float, kernel: Kernel) -> Float:
    """A picture's values (h, w, C) at places (h, w, 2) in its pixels, edges repeated."""
    height, width = picture.shape[:2]
    grid = (places + np.float32(0.5)) * np.array([2.0 / width, 2.0 / height], np.float32) - np.float32(1.0)
    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None]
    taken = functional.grid_sample(
        planes, torch.from_numpy(grid)[None], mode=kernel, padding_mode="border", align_corners=False
    )
    return taken[0].permute(1, 2, 0).numpy()


def _dense_flow(before: Float, after: Float, rounds: int) -> Float:
    """Iterative Lucas-Kanade at every pixel, coarse to fine, on structure planes (H, W, C).

    Source: Lucas and Kanade 1981; Le Besnerais and Champagnat 2005, "Dense optical flow by iterative local window
    registration". The stiffness added to the structure tensor lets places without texture stay where they are.
    """
    size = before.shape[0]
    flow = np.zeros((max(8, size >> (_LEVELS - 1)),) * 2 + (2,), np.float32)
    for level in reversed(range(_LEVELS)):
        side = max(8, size >> level)
        flow = to_side(flow, side) * (side / flow.shape[0])
        first, last = to_side(before, side), to_side(after, side)
        sigma = max(1.0, _WINDOW * side)
        for _ in range(rounds):
            flow = _refine(first, last, flow, sigma)
            flow = ndimage.gaussian_filter(flow, (sigma * 0.7, sigma * 0.7, 0), mode="nearest")
            length = np.linalg.norm(flow, axis=2, keepdims=True)
            flow = flow * np.minimum(1.0, MAX_FLOW * side / np.maximum(length, 1e-6))
    return flow.astype(np.float32)


def _refine(first: Float, last: Float, flow: Float, sigma: float) -> Float:
    """One step of Lucas-Kanade: the flow that best explains what moving `first` by `flow` leaves of `last`."""
    moved = warp(first, flow)
    gy, gx = np.gradient(moved, axis=(0, 1))
    # Linear in the whole flow, not in its increment, so that stiffness pulls the flow itself towards 0.
    error = last - moved + gx * flow[..., :1] + gy * flow[..., 1:]
    products = np.stack(
        [(gx * gx).sum(2), (gx * gy).sum(2), (gy * gy).sum(2), (gx * error).sum(2), (gy * error).sum(2)]
    )
    xx, xy, yy, xe, ye = ndimage.gaussian_filter(products, (0.0, sigma, sigma), mode="nearest")
    xx, yy = xx + _STIFFNESS, yy + _STIFFNESS
    determinant = xx * yy - xy * xy
    return np.stack([(yy * xe - xy * ye) / determinant, (xx * ye - xy * xe) / determinant], axis=2).astype(np.float32)


def _structure(picture: Float) -> Float:
    """(H, W, 1): luma with its local mean taken out and its contrast evened, so that light changes are not motion."""
    luma = (picture @ _LUMA) / 255.0
    sigma = 0.08 * luma.shape[0]
    flat = luma - ndimage.gaussian_filter(luma, sigma, mode="nearest")
    contrast = np.sqrt(ndimage.gaussian_filter(flat * flat, sigma, mode="nearest"))
    structure: Float = (flat / (contrast + 0.03))[..., None].astype(np.float32)
    return structure


def _sample(pixels: Pixels, roi: tuple[slice, slice], flow: Float) -> Float:
    """Pixels of the region, each taken from p + flow(p) of the whole photo, bicubic."""
    rows, columns = roi
    reach = int(np.ceil(np.abs(flow).max(initial=0.0))) + 3
    top, left = max(0, rows.start - reach), max(0, columns.start - reach)
    source = pixels[top : rows.stop + reach, left : columns.stop + reach]
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return _taken(source, _places(*inside) + flow, "bicubic")
