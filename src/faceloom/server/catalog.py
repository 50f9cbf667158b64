"""What the model offers, in the words of the page."""

from __future__ import annotations

import logging

from faceloom.errors import FaceloomError
from faceloom.model import Model
from faceloom.presets import load_presets
from faceloom.server.schemas import DirectionInfo, EditBody, Group, PresetInfo, TwinInfo

logger = logging.getLogger("faceloom.server")

_GROUPS: dict[Group, tuple[str, ...]] = {
    "age": ("age", "child", "wrinkles"),
    "hair": (
        "grey-hair",
        "hair-length",
        "hair-colour",
        "bangs",
        "bald",
        "beard",
        "moustache",
        "curls",
        "eyebrows",
    ),
    "face": ("gender", "weight", "skin-tone", "face-width", "nose", "lips", "jaw", "chin", "cheeks"),
    "expression": ("smile", "mouth-open", "eyes-open", "surprise", "anger", "sadness"),
    "pose": ("yaw", "pitch", "roll"),
    "style": (
        "glasses",
        "make-up",
        "light",
        "face-light",
        "face-warmth",
        "face-tint",
        "background-light",
        "background-warmth",
        "background-tint",
        "outdoors",
        "hat",
    ),
}
_GROUP_OF: dict[str, Group] = {name: group for group, names in _GROUPS.items() for name in names}


def describe_directions(model: Model) -> list[DirectionInfo]:
    """The sliders, in the model's order."""
    return [
        DirectionInfo(
            name=one.name,
            label_key=f"direction.{one.name}",
            group=_GROUP_OF.get(one.name, "other"),
            unit="σ",
            range=one.range,
            low=one.low,
            high=one.high,
            rough="rough" in getattr(one, "note", ""),
        )
        for one in model.directions
    ]


def list_twins(model: Model) -> list[TwinInfo]:
    """The twins, in the order in which the page shows them; one that cannot be read is left out, and told of."""
    found = []
    for name in model.twins:
        try:
            found.append(TwinInfo(name=name, title=model.twins[name].title or name))
        except FaceloomError as error:
            logger.warning("%s", error)
    return found


def list_presets(model: Model) -> list[PresetInfo]:
    """The presets that this model has all directions for."""
    return [
        PresetInfo(
            name=one.name,
            title=one.title,
            edits=[EditBody(direction=edit.direction, amount=edit.amount) for edit in one.edits],
            strength=one.strength,
            mirror=one.mirror,
        )
        for one in load_presets(model)
    ]
