"""What a file says of itself."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from faceloom.errors import PhotoError, UsageError
from faceloom.provenance.claims import IPTC_NAMESPACE, RECIPE_LABEL, XMP_NAMESPACE
from faceloom.provenance.credentials import MIMES, can_sign, read
from faceloom.provenance.saving import Mark
from faceloom.recipe import Recipe

_MOST_XMP = 1_000_000
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


@dataclass(frozen=True)
class Statement:
    """What a file says of itself.

    Attributes:
        mark: how it says it.
        intact: whether it is as it was when it was signed; False, too, where nothing was signed.
        generator: the program that signed or wrote it, with its version; may be empty.
        source_type: IPTC's term for where the picture comes from; may be empty.
        actions: C2PA's names of what was done, in order.
        recipe: what Faceloom did, if it says so.
        issuer: the organisation in the signer's certificate; anyone can write any name into a self-made one.
    """

    mark: Mark
    intact: bool = False
    generator: str = ""
    source_type: str = ""
    actions: tuple[str, ...] = ()
    recipe: Recipe | None = None
    issuer: str = ""


def read_statement(path: Path) -> Statement:
    """What a picture or film says of itself: its C2PA manifest, else its XMP metadata.

    Raises:
        PhotoError: it cannot be read, or is of another kind.
    """
    mime = MIMES.get(path.suffix.lower())
    if mime is None:
        raise PhotoError(f"cannot tell what {str(path)!r} is; give a file that ends in {', '.join(MIMES)}")
    try:
        with path.open("rb") as file:
            found = read(file, mime) if can_sign() else None
    except OSError as error:
        raise PhotoError(f"cannot read {str(path)!r} ({error.strerror or error}); check its name") from error
    if found is not None:
        return _of_manifest(*found)
    return _of_xmp(_xmp(path)) if mime.startswith("image/") else Statement("none")


def _of_manifest(manifest: dict[str, Any], intact: bool) -> Statement:
    assertions = {one.get("label", ""): one.get("data") for one in manifest.get("assertions", ())}
    listed = next((data for label, data in assertions.items() if label.startswith("c2pa.actions")), None) or {}
    actions = [one for one in listed.get("actions", ()) if isinstance(one, dict)]
    types = [str(one["digitalSourceType"]) for one in actions if one.get("digitalSourceType")]
    makers = manifest.get("claim_generator_info") or [{}]
    return Statement(
        "credentials",
        intact,
        " ".join(str(makers[0].get(key, "")) for key in ("name", "version")).strip(),
        types[-1] if types else "",
        tuple(str(one.get("action", "")) for one in actions),
        _recipe(json.dumps(assertions.get(RECIPE_LABEL))),
        str((manifest.get("signature_info") or {}).get("issuer", "")),
    )


def _xmp(path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        except Exception:  # a damaged picture says nothing
            return b""
    if isinstance(packet, str):
        return packet.encode("utf-8", "replace")
    return packet if isinstance(packet, bytes) else b""  # a TIFF may have numbers in its place


def _of_xmp(packet: bytes) -> Statement:
    if not packet or len(packet) > _MOST_XMP:
        return Statement("none")
    try:
        root = ElementTree.fromstring(packet)
    except (ElementTree.ParseError, LookupError, ValueError):  # not XML, or in an encoding that is not known
        return Statement("none")
    for one in root.iter(f"{_RDF}Description"):
        source = one.get(f"{{{IPTC_NAMESPACE}}}DigitalSourceType", "")
        recipe = one.findtext(f"{{{XMP_NAMESPACE}}}recipe")
        if source or recipe:
            tool = one.get("{http://ns.adobe.com/xap/1.0/}CreatorTool", "")
            return Statement("metadata", False, tool, source, (), _recipe(recipe or "null"))
    return Statement("none")


def _recipe(text: str) -> Recipe | None:
    try:
        return None if text == "null" else Recipe.from_json(text)
    except UsageError:
        return None
