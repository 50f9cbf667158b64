"""The key that this installation signs with, and the certificates that go with it, made on first use.

Nobody vouches for them: they are on no trust list. A signature says that a picture has not changed since Faceloom
saved it, and that it was this installation, the same as for its other pictures; it says nothing of who sat before it.
"""

from __future__ import annotations

import datetime
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock, Timeout

from faceloom.errors import UsageError
from faceloom.settings import data_folder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

FILE: Final = "signer.pem"
_YEARS: Final = 20
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class SigningKey:
    """A private key (ES256) and its certificates.

    Attributes:
        key: PEM, PKCS #8.
        chain: PEM, the certificate of the key and the one that issued it.
        serial: of the certificate, in hexadecimal: the same for every picture that this installation signs.
    """

    key: bytes
    chain: bytes
    serial: str


def signer_file() -> Path:
    """Where the key is kept, readable by its owner alone."""
    return data_folder() / "provenance" / FILE


def load_signing_key() -> SigningKey:
    """The key of this installation, made where there is none, or the one there has run out.

    Raises:
        UsageError: the file is damaged, or cannot be read or written.
    """
    path = signer_file()
    try:
        found = _read(path)
        if found is None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(path.parent / ".signer.lock", timeout=_PATIENCE):
                found = _read(path)  # another process may have been quicker
                if found is None:
                    _write(path, _make())
                    found = _read(path)
    except (OSError, Timeout) as error:
        raise UsageError(
            f"cannot use the signing key {str(path)!r} ({error}); choose another data folder with FACELOOM_DATA, or "
            "save with --no-provenance"
        ) from error
    assert found is not None, "it was made a moment ago"
    return found


def _read(path: Path) -> SigningKey | None:
    """The key, or None where there is none that is valid today; raises OSError, UsageError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    key, mark, certificates = content.partition(b"-----BEGIN CERTIFICATE-----")
    chain = mark + certificates
    try:
        serialization.load_pem_private_key(key, None)
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, TypeError, IndexError) as error:
        raise UsageError(f"the signing key {str(path)!r} is damaged; remove it, and a new one is made") from error
    now = datetime.datetime.now(datetime.UTC)
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        return None
    return SigningKey(key, chain, f"{leaf.serial_number:x}")


def _write(path: Path, content: bytes) -> None:
    """Never readable by others, not even for a moment."""
    draft = path.with_name(f".{FILE}-{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _make() -> bytes:
    """A key and its chain as PEM. The issuer's own key is forgotten at once, so that it can never issue another."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = "Faceloom, an installation", "Faceloom, an installation's pictures"
    issuer = _certificate(names[0], names[0], issuer_key, issuer_key, is_issuer=True).sign(issuer_key, hashes.SHA256())
    leaf = _certificate(names[1], names[0], key, issuer_key, is_issuer=False).sign(issuer_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + leaf.public_bytes(pem) + issuer.public_bytes(pem)


def _certificate(
    name: str, issuer: str, key: EllipticCurvePrivateKey, issuer_key: EllipticCurvePrivateKey, *, is_issuer: bool
) -> x509.CertificateBuilder:
    """Of the profile in C2PA 2.2, "X.509 Certificates". It names no person and no machine."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(words: str) -> x509.Name:
        parts = (NameOID.ORGANIZATION_NAME, "Faceloom (self-made, on no trust list)"), (NameOID.COMMON_NAME, words)
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)  # a reader's clock may be behind
        .not_valid_after(now + 365 * _YEARS * day)
        .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=0 if is_issuer else None), critical=True)
        .add_extension(x509.KeyUsage(**_usage(is_issuer)), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if is_issuer:
        return builder
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return builder.add_extension(authority, critical=False).add_extension(usage, critical=False)


def _usage(is_issuer: bool) -> dict[str, Any]:
    allowed = {"key_cert_sign", "crl_sign"} if is_issuer else {"digital_signature"}
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return {name: name in allowed for name in names}
