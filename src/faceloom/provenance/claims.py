"""What there is to say of a picture, and the forms in which files say it."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from faceloom.imaging.photos import AI_NOTE
from faceloom.recipe import Recipe

_TERMS: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
COMPOSITE: Final = f"{_TERMS}compositeWithTrainedAlgorithmicMedia"
"""IPTC's word for a photo that a trained model has changed."""
GENERATED: Final = f"{_TERMS}trainedAlgorithmicMedia"
"""IPTC's word for a picture that a trained model has drawn."""
RECIPE_LABEL: Final = "org.faceloom.recipe"
XMP_NAMESPACE: Final = "http://ns.faceloom.org/recipe/1.0/"
IPTC_NAMESPACE: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_UNEDITED_NOTE: Final = "Saved by Faceloom, not edited"
# JPEG has room for 65,502 bytes of XMP in all.
_MOST_RECIPE = 60_000
# What XML 1.0 cannot hold, even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _version() -> str:
    # By name: the package's root names what is in the layers above.
    return str(importlib.import_module("faceloom").__version__)


@dataclass(frozen=True)
class Claim:
    """What a picture is: a photo edited as a recipe says, or one that a model has drawn.

    Attributes:
        recipe: what was done; None where the picture is not of one recipe, as a sheet of many.
        generated: no photo is behind it.
    """

    recipe: Recipe | None = None
    generated: bool = False

    @property
    def published(self) -> str:
        """The recipe as files tell it, as JSON: a model that is a folder by the last part of its path."""
        assert self.recipe is not None
        return replace(self.recipe, model=PurePath(self.recipe.model).name or self.recipe.model).to_json()

    @property
    def edited(self) -> bool:
        """Whether a model has had a part in it: a recipe without edits gives the photo back as it was."""
        if self.recipe is None:
            return True
        recipe = self.recipe
        return (
            bool(recipe.twin and recipe.degree)
            or recipe.paste != "transfer"
            or any(edit.amount for edit in recipe.edits)
        )

    @property
    def source_type(self) -> str:
        """IPTC's term for where the picture comes from; empty where nothing was edited."""
        if self.generated:
            return GENERATED
        return COMPOSITE if self.edited else ""

    @property
    def note(self) -> str:
        """One line for people, as photo programs show it."""
        return AI_NOTE if self.generated or self.edited else _UNEDITED_NOTE

    @property
    def words(self) -> str:
        """What was done, in a line; empty where there is no recipe."""
        if self.recipe is None:
            return ""
        words = [f"{edit.direction} {edit.amount:+g}" for edit in self.recipe.edits if edit.amount]
        if self.recipe.twin:
            words.append(f"drawn by {self.recipe.twin} to {self.recipe.degree:.0%}")
        return ", ".join(words)

    def manifest(self) -> dict[str, Any]:
        """The definition of a C2PA manifest (specification 2.2, "Actions" and "Ingredients").

        The photo that was opened is named as the parent and no more: neither its name, nor a thumbnail, nor what its
        own file said, which may hold a place or a person.
        """
        agent = {"name": "Faceloom", "version": _version()}
        assertions: list[dict[str, Any]] = [
            {"label": "c2pa.actions.v2", "data": {"actions": self._actions(agent)}, "created": True}
        ]
        if self.recipe is not None:
            data = json.loads(self.published)
            assertions.append({"label": RECIPE_LABEL, "data": data, "kind": "Json", "created": True})
        parent = {"title": "Photo", "relationship": "parentOf", "label": "photo"}
        return {
            "claim_version": 2,
            "claim_generator_info": [agent],
            "ingredients": [] if self.generated else [parent],
            "assertions": assertions,
        }

    def _actions(self, agent: dict[str, str]) -> list[dict[str, Any]]:
        done = {"softwareAgent": agent, "digitalSourceType": self.source_type}
        if self.generated:
            return [{"action": "c2pa.created", **done}]
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["photo"]}}
        if not self.edited:
            return [opened, {"action": "c2pa.transcoded", "softwareAgent": agent}]
        return [opened, {"action": "c2pa.edited", **done, **({"description": self.words} if self.words else {})}]

    def xmp(self) -> bytes:
        """The same as an XMP packet (ISO 16684-1), for readers that know nothing of C2PA."""
        entries = {"xmp:CreatorTool": f"Faceloom {_version()}"}
        if self.source_type:
            entries["Iptc4xmpExt:DigitalSourceType"] = self.source_type
        attributes = " ".join(f"{name}={quoteattr(value)}" for name, value in entries.items())
        recipe = "" if self.recipe is None else _NO_XML.sub("\ufffd", json.dumps(json.loads(self.published)))
        if len(escape(recipe).encode()) > _MOST_RECIPE:
            recipe = ""
        inner = f"<faceloom:recipe>{escape(recipe)}</faceloom:recipe>" if recipe else ""
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
            f'xmlns:Iptc4xmpExt="{IPTC_NAMESPACE}" xmlns:faceloom="{XMP_NAMESPACE}" {attributes}>{inner}'
            '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        ).encode()
