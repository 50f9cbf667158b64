"""Files that appear complete or not at all, and what is in them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from faceloom.errors import UsageError


@contextlib.contextmanager
def drafted(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """The name of a file beside `path` that takes its place once the block is left without an error.

    Args:
        path: of the file to be; its folder exists.
        suffix: of the draft; that of `path` where None.

    Raises:
        UsageError: if the file cannot be written.
    """
    if not path.name:
        raise UsageError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
    draft = path.with_name(f".faceloom-{secrets.token_hex(8)}{path.suffix if suffix is None else suffix}")
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        # repr keeps the message on one line, whatever the name holds.
        raise UsageError(f"cannot write {str(path)!r} ({error.strerror or error}); choose another place") from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """The same, open for writing.

    Raises:
        UsageError: if the file cannot be written.
    """
    with drafted(path, ".tmp") as draft, draft.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name without the content


def check_place(path: Path) -> None:
    """Raise UsageError if a file cannot be written to `path`: no such folder, or a folder of this name."""
    try:
        if not path.name or path.is_dir():
            raise UsageError(f"cannot write {str(path)!r}: it is a folder; give the name of a file")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {str(path.parent)!r}; create it first")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UsageError(f"nothing can be written in the folder {str(path.parent)!r}; choose another")
    except OSError as error:  # a name that is too long
        raise UsageError(f"cannot write {str(path)!r} ({error.strerror or error}); choose another place") from error


def hash_file(path: Path) -> str:
    """The sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
