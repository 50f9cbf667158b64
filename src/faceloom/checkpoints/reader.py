"""Read any checkpoint into plain data, executing nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceloom.checkpoints.array_files import NPY_START, read_npy, read_npz
from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.pickles import Budget
from faceloom.checkpoints.safetensors_files import looks_like_safetensors, read_safetensors
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.torch_files import read_pickle, read_torch_zip
from faceloom.checkpoints.ziparchive import ZipArchive
from faceloom.errors import CheckpointError

_FOREIGN: dict[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; fetch the file itself with git lfs pull",
    b"\x1f\x8b": "packed with gzip; unpack it first",
    b"BZh": "packed with bzip2; unpack it first",
    b"\xfd7zXZ": "packed with xz; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": "an HDF5 file of Keras or TensorFlow, which is not supported",
    b"\x89PNG": "a picture, not a checkpoint",
    b"\xff\xd8\xff": "a picture, not a checkpoint",
    b"%PDF": "a PDF document, not a checkpoint",
    b"GGUF": "a language model (GGUF), which is not supported",
}
_PROTOCOL_0_STARTS = b"(cd]}l)"
_MAX_INFLATED = 64 << 20
"""Bytes that all compressed entries of an archive together may grow to beyond the size of the file."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one CheckpointError, on one line, that names the file."""
    name = quoted(path.name, 200)
    try:
        yield
    except CheckpointError as error:
        message = " ".join(str(error).split())
        raise CheckpointError(message if name in message else f"{name}: {message}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{name}: there is no such file in {quoted(str(path.parent), 200)}") from None
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise CheckpointError(f"{name} needs more memory than there is") from None
    except (
        ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, struct.error, zlib.error
    ) as error:  # fmt: skip
        # A file that is damaged or hostile can be wrong in ways that no check foresees; none of them is the caller's.
        raise CheckpointError(f"{name} is damaged or hostile: {type(error).__name__} while reading it") from error


def read_checkpoint(path: str | Path) -> Any:
    """Read a checkpoint into plain data. Nothing in the file is ever executed or imported.

    Knows pickles, files of torch.save (zipped and old), npy, npz and safetensors, whatever the name ends in.

    Returns:
        Dictionaries, lists, tuples, sets, texts and numbers as they lie in the file. Tensors and arrays are
        `StoredTensor`s, whose values stay in the file until `read()`; objects of unknown classes are `Inert`.

    Raises:
        CheckpointError: if the file is missing, damaged, hostile, or of a format that is not supported.
    """
    path = Path(path)
    with reading(path):
        return read_tree(Span.of_file(path))


def read_tree(span: Span) -> Any:
    """`read_checkpoint` without the name of a file in its errors."""
    start = span.read(0, min(64, span.length))
    if not start:
        raise CheckpointError("the file is empty; download it again")
    if start.startswith(b"PK\3\4"):
        budget = Budget()
        return _read_zip(ZipArchive(span, budget, inflate=span.length + _MAX_INFLATED), budget)
    if start.startswith(NPY_START):
        return read_npy(span)
    if looks_like_safetensors(span):
        return read_safetensors(span).tensors
    if start[0] == 0x80 or start[0] in _PROTOCOL_0_STARTS:
        return read_pickle(span)
    raise CheckpointError(f"this is {_description(start)}")


def _read_zip(archive: ZipArchive, budget: Budget) -> Any:
    names = [name.rpartition("/")[2] for name in archive.entries]
    if "constants.pkl" in names:
        raise CheckpointError("this is a TorchScript program, which is not supported; export its weights instead")
    if names.count("data.pkl") == 1:
        return read_torch_zip(archive, budget)
    if names and all(name.endswith(".npy") for name in archive.entries):
        return read_npz(archive)
    raise CheckpointError("this is a zip archive with no checkpoint in it; if one is packed deeper, unpack it first")


def _description(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page saved under the name of a checkpoint: the download failed or hit a quota; download it again"
    known = next((what for magic, what in _FOREIGN.items() if start.startswith(magic)), None)
    return known or "no checkpoint of a known format; download it again"
