"""Does a direction belong to this generator? Compare it with directions that are known to.

W has no axes that two trainings share. Directions of one attribute that were found independently in the same
generator agree (age, smile, gender and pose of four projects for the FFHQ StyleGAN2: |cosine| 0.39 to 0.76), while
one that was found in another generator is no better than chance (InterFaceGAN's for StyleGAN1: at most 0.09; two
random vectors of 512 numbers have a standard deviation of 0.044). The sign is the finder's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

from faceloom.directions.direction import Direction, DirectionSet
from faceloom.errors import DirectionError, FaceloomWarning

AGREEMENT = 0.1
"""The |cosine| below which a direction does not look like one of this generator."""


class DirectionWarning(FaceloomWarning):
    """A direction that can be used, but may not do what its name says."""


@dataclass(frozen=True)
class Attribute:
    """What directions are known to change.

    Attributes:
        name: one word.
        aliases: words in the names of files that mean it.
        low, high: what a face becomes along a direction that is signed as its name says.
        reach: how far faces stay faces, in lengths of a unit vector in each layer; None where nobody has tried.
    """

    name: str
    aliases: tuple[str, ...]
    low: str
    high: str
    reach: float | None = None


# The reaches are those of the StyleFeatureEditor project (available_directions.txt) for the FFHQ StyleGAN2. Which side
# a pose turns to is not the same in any two projects.
ATTRIBUTES = (
    Attribute("age", ("age",), "younger", "older", 10.0),
    Attribute("smile", ("smile", "smiling"), "serious", "smiling", 5.0),
    Attribute("pose", ("pose", "yaw", "rotation", "angle-horizontal"), "turned one way", "turned the other way", 7.0),
    Attribute("gender", ("gender",), "feminine", "masculine"),
    Attribute("beard", ("beard",), "no beard", "beard"),
    Attribute("hair-length", ("hair-length",), "short hair", "long hair"),
    Attribute("eyes-open", ("eyes-open", "eye-openness"), "eyes closed", "eyes open"),
    Attribute("mouth-open", ("mouth-open",), "mouth closed", "mouth open"),
    Attribute("glasses", ("glasses", "eyeglasses"), "no glasses", "glasses"),
)


def attribute_of(name: str) -> Attribute | None:
    """The attribute that a name speaks of, as "e4e-age", "stylegan-ffhq-age-c-gender" and "Age" speak of age.

    Of several, the first counts; InterFaceGAN writes those that are held still behind it.
    """
    padded = f"-{re.sub(r'[^a-z0-9]+', '-', name.casefold())}-"
    places = {
        attribute: padded.find(f"-{alias}-")
        for attribute in ATTRIBUTES
        for alias in attribute.aliases
        if f"-{alias}-" in padded
    }
    return min(places, key=lambda attribute: places[attribute], default=None)


@dataclass(frozen=True)
class Finding:
    """How a direction compares with an anchor.

    Attributes:
        kind: "fine"; "foreign", if it was probably made for another generator; "flipped", if its sign looks reversed.
        direction, anchor: their names.
        cosine: between the two, over the layers that both act on.
    """

    kind: Literal["fine", "foreign", "flipped"]
    direction: str
    anchor: str
    cosine: float

    def __str__(self) -> str:
        if self.kind == "foreign":
            return (
                f"{self.direction!r} does not agree with {self.anchor!r} (cosine {self.cosine:+.2f}): it was probably "
                "made for another generator, and would change something else"
            )
        if self.kind == "flipped":
            return (
                f"{self.direction!r} points away from {self.anchor!r} (cosine {self.cosine:+.2f}): its sign looks "
                "flipped; use amounts of the other sign"
            )
        return f"{self.direction!r} agrees with {self.anchor!r} (cosine {self.cosine:+.2f})"


def check_directions(directions: Iterable[Direction], anchors: DirectionSet) -> list[Finding]:
    """Compare directions with anchors of the same attribute: is one foreign to the generator, or flipped?

    Args:
        directions: of shape (num_ws, w_dim), or (1, w_dim) for all layers alike; or of S.
        anchors: directions that are known to work in the generator.

    Returns:
        One finding for each direction whose attribute an anchor has, against the closest such anchor. About other
        directions nothing can be said.

    Raises:
        DirectionError: if a direction has another w_dim than its anchor, and so cannot be of this generator.
    """
    findings = []
    for direction in directions:
        kin = [(anchor, _cosine(direction, anchor)) for anchor in anchors if _same_attribute(direction, anchor)]
        compared = [(anchor.name, cosine) for anchor, cosine in kin if cosine is not None]
        if compared:
            name, cosine = max(compared, key=lambda pair: abs(pair[1]))
            findings.append(Finding(_kind(cosine), direction.name, name, cosine))
    return findings


def _kind(cosine: float) -> Literal["fine", "foreign", "flipped"]:
    if abs(cosine) < AGREEMENT:
        return "foreign"
    return "fine" if cosine > 0 else "flipped"


def _same_attribute(one: Direction, other: Direction) -> bool:
    if re.fullmatch(r"pc\d+", one.name):
        return False  # the order and sign of principal components are accidents of the samples
    attribute = attribute_of(one.name)
    return one.name == other.name if attribute is None else attribute == attribute_of(other.name)


def _cosine(one: Direction, other: Direction) -> float | None:
    """None if they share no layer, or no space."""
    if one.space != other.space:
        return None
    if one.space == "s":
        same = one.vector.shape == other.vector.shape
        return float(torch.cosine_similarity(one.vector.double(), other.vector.double(), dim=0)) if same else None
    if one.vector.shape[1] != other.vector.shape[1]:
        raise DirectionError(
            f"{one.name!r} has vectors of {one.vector.shape[1]} numbers, the anchor {other.name!r} of "
            f"{other.vector.shape[1]}: it was made for another generator"
        )
    # A vector of one row stands for all layers.
    count = max(len(one.vector), len(other.vector)) if 1 in (len(one.vector), len(other.vector)) else None
    rows = count or min(len(one.vector), len(other.vector))
    a, b = (item.vector.double()[:rows].expand(rows, -1) for item in (one, other))
    shared = a.any(dim=1) & b.any(dim=1)
    if not bool(shared.any()):
        return None
    return float(torch.cosine_similarity(a[shared].flatten(), b[shared].flatten(), dim=0, eps=0.0))
