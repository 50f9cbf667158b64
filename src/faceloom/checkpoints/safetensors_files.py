"""Files of safetensors, left in place until a value is asked for.

Source: the format's README (huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import Storage, StoredTensor, stored_tensor
from faceloom.errors import CheckpointError

_MAX_HEADER = 4 << 20
_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """The tensors of a file by name, and the texts that describe them."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]


def looks_like_safetensors(span: Span) -> bool:
    """Whether the file begins with the length of a header, and the header with a brace."""
    if span.length < 10:
        return False
    return 2 <= int.from_bytes(span.read(0, 8), "little") <= span.length - 8 and span.read(8, 1) == b"{"


def read_safetensors(span: Span) -> SafetensorsFile:
    """Names, shapes and places of the tensors.

    Raises:
        CheckpointError: if the header is malformed, or declares more than the file holds.
    """
    length = int.from_bytes(span.read(0, 8), "little")
    if length > _MAX_HEADER:
        raise CheckpointError(f"its header of {length} bytes is too long; the file is damaged or hostile")
    header = json.loads(span.read(8, length))
    if not isinstance(header, dict):
        raise CheckpointError("its header is damaged")
    described = header.pop("__metadata__", {})
    metadata = described if isinstance(described, dict) else {}
    body = span.part(8 + length, span.length - 8 - length)
    tensors = {name: _tensor(name, entry, body) for name, entry in header.items()}
    return SafetensorsFile(tensors, {str(key): str(value) for key, value in metadata.items()})


def _tensor(name: str, entry: object, body: Span) -> StoredTensor:
    values = entry if isinstance(entry, dict) else {}
    dtype, shape, place = _DTYPES.get(str(values.get("dtype"))), values.get("shape"), values.get("data_offsets")
    if dtype is None or not isinstance(shape, list) or not isinstance(place, list) or len(place) != 2:
        raise CheckpointError(f"the tensor {quoted(name)} is described in an unknown way")
    begin, end = place
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end:
        raise CheckpointError(f"the tensor {quoted(name)} has no place in the file")
    storage = Storage(dtype, (end - begin) // dtype.itemsize)
    storage.place(body.part(begin, end - begin))
    return stored_tensor(storage, shape)
