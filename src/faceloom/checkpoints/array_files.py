"""Files of NumPy: npy and npz. Their headers are Python text, which is matched and never evaluated.

Source: numpy.lib.format, "Format Version 1.0" to "3.0".
"""

from __future__ import annotations

import re

from faceloom.checkpoints.inert import Inert, quoted
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.standins import NumpyDtype, numpy_array
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.checkpoints.ziparchive import ZipArchive
from faceloom.errors import CheckpointError

NPY_START = b"\x93NUMPY"
_MAX_HEADER = 10_000
_HEADER = re.compile(
    rb"\{'descr': '(?P<order>[<>|=]?)(?P<code>[?\w]{1,20})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,15}L?, ?){0,32}(?:\d{1,15}L?)?)\),? ?\}\s*"
)


def read_npy(span: Span) -> StoredTensor | Inert:
    """The array of an npy file; an `Inert` where it holds texts or dates.

    Raises:
        CheckpointError: if it is malformed or holds Python objects.
    """
    major = span.read(6, 1)[0]
    width = 2 if major == 1 else 4
    length = int.from_bytes(span.read(8, width), "little")
    if major not in (1, 2, 3) or length > _MAX_HEADER:
        raise CheckpointError("the header of the array is damaged")
    header = span.read(8 + width, length)
    match = _HEADER.fullmatch(header)
    if match is None:
        if b"'descr': [" in header:
            raise CheckpointError("it holds an array of records, which is no array of weights")
        raise CheckpointError("the header of the array is damaged")
    code = match["code"].decode("ascii")
    shape = tuple(int(size) for size in re.findall(rb"\d+", match["shape"]))
    dtype = NumpyDtype({"?": "b1"}.get(code, code), match["order"].decode("ascii") or "=")
    if code[0] in "USVMm":
        return Inert("ndarray", "numpy", (quoted(code), shape))
    start = 8 + width + length
    return numpy_array(dtype, shape, span.part(start, span.length - start), fortran=match["fortran"] == b"True")


def read_npz(archive: ZipArchive) -> dict[str, StoredTensor | Inert]:
    """The arrays of an npz file by name.

    Raises:
        CheckpointError: if one is malformed or holds Python objects.
    """
    arrays = {}
    for name in archive.entries:
        span = archive.open(name)
        if span.read(0, min(6, span.length)) != NPY_START:
            raise CheckpointError(f"{quoted(name)} in the archive is not a NumPy array")
        arrays[name.removesuffix(".npy")] = read_npy(span)
    return arrays
