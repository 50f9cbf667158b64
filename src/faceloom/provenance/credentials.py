"""C2PA manifests in files: sign and read, by the library of the Content Authenticity Initiative (extra `provenance`).

Nothing is fetched: no time stamp, no revocation list, no manifest kept elsewhere.
"""

from __future__ import annotations

import io
import json
from importlib.util import find_spec
from typing import IO, Any, Final

from faceloom.errors import FaceloomError
from faceloom.provenance.claims import Claim
from faceloom.provenance.signer import load_signing_key

MIMES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}
"""What can be signed, by the suffix of its file."""
# A thumbnail would show the picture to whoever crops something out of it.
_SETTINGS: Final = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": True, "verify_trust": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


def can_sign() -> bool:
    """Whether the extra `provenance` is installed."""
    return all(find_spec(name) is not None for name in ("c2pa", "cryptography"))


def sign(content: IO[bytes], mime: str, claim: Claim) -> bytes:
    """A picture or film with a manifest in it.

    Args:
        content: the encoded file, which can be read and sought.
        mime: one of `MIMES`.
        claim: what the manifest says.

    Raises:
        UsageError: the key of this installation cannot be had.
        FaceloomError: the file cannot be signed.
    """
    import c2pa

    key = load_signing_key()
    signed = io.BytesIO()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, key.chain, key.key, None)
    content.seek(0)
    try:
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Context.from_dict(_SETTINGS) as context,
            c2pa.Builder(claim.manifest(), context=context) as builder,
        ):
            builder.sign(signer, mime, content, signed)
    except c2pa.C2paError as error:
        reason = " ".join(str(error).split())[:200]
        raise FaceloomError(f"the file cannot be signed ({reason}); save it with --no-provenance") from error
    return signed.getvalue()


def read(content: IO[bytes], mime: str) -> tuple[dict[str, Any], bool] | None:
    """The manifest of a file, and whether the file is as it was when it was signed; None where there is no manifest.

    Whether the signer is on a trust list is not asked.
    """
    import c2pa

    content.seek(0)
    try:
        with (
            c2pa.Context.from_dict(_SETTINGS) as context,
            c2pa.Reader(mime, content, context=context) as reader,
        ):
            report: dict[str, Any] = json.loads(reader.json())
            whole = reader.get_validation_state() in ("Valid", "Trusted")
    except c2pa.C2paError:
        return None
    active = report.get("manifests", {}).get(report.get("active_manifest"))
    return (active, whole) if isinstance(active, dict) else None
