"""Tensors and arrays that still lie in their file: their shape is known, their values are read on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.spans import Span
from faceloom.errors import CheckpointError

_MAX_DIMENSIONS = 32
_MAX_REPEATED = 1 << 20
"""Elements that an expanded tensor (stride 0) may have beyond those that its storage holds."""

TORCH_STORAGES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
TORCH_DTYPES: dict[str, torch.dtype] = {
    **{str(dtype).removeprefix("torch."): dtype for dtype in TORCH_STORAGES.values()},
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "long": torch.int64,
    "int": torch.int32,
}
NUMPY_DTYPES: dict[str, torch.dtype] = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "u2": torch.uint16,
    "u4": torch.uint32,
    "u8": torch.uint64,
    "b1": torch.bool,
    "c8": torch.complex64,
    "c16": torch.complex128,
}


@dataclass(slots=True, eq=False)
class Storage:
    """A flat run of elements. `span` is None until the reader has come to the bytes."""

    dtype: torch.dtype
    count: int
    span: Span | None = None

    def place(self, span: Span) -> None:
        """Say where the bytes lie.

        Raises:
            CheckpointError: if they are fewer than the storage declares.
        """
        declared = self.count * self.dtype.itemsize
        if declared > span.length:
            raise CheckpointError(f"a tensor declares {declared} bytes, but the file holds {span.length} for it")
        self.span = span.part(0, declared)


@dataclass(slots=True, eq=False, repr=False)
class StoredTensor:
    """A tensor that lies in a file.

    Attributes:
        storage: the elements; None for an array whose pickle never says what is in it.
        dtype: of the elements.
        shape, stride, offset: in elements, as in PyTorch.
        swapped: whether the bytes of each element are in the order that this machine does not use.
    """

    storage: Storage | None
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    swapped: bool = False

    def __repr__(self) -> str:
        return f"StoredTensor(shape={self.shape}, dtype={self.dtype})"

    @property
    def nbytes(self) -> int:
        """Bytes that `read` allocates for the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> Tensor:
        """The values, contiguous, on the CPU.

        Raises:
            CheckpointError: if the file does not hold them.
        """
        if self.storage is None or self.storage.span is None:
            raise CheckpointError("a tensor is declared, but its values are not in the file")
        item, extent = self.dtype.itemsize, _extent(self.shape, self.stride)
        if extent == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.empty(extent, dtype=self.dtype)
        raw = flat.view(torch.uint8).numpy()
        self.storage.span.part(self.offset * item, extent * item).read_into(memoryview(raw.data))
        if self.swapped:
            part = item // 2 if self.dtype.is_complex else item
            raw[:] = raw.reshape(-1, part)[:, ::-1].reshape(-1)
        if self.dtype == torch.bool:
            np.not_equal(raw, 0, out=raw.view(np.bool_))
        return flat.as_strided(self.shape, self.stride).contiguous()


def stored_tensor(
    storage: Storage, shape: Sequence[object], stride: Sequence[object] | None = None, offset: object = 0
) -> StoredTensor:
    """A tensor over a storage, row-major where no stride is given.

    Raises:
        CheckpointError: if it reaches outside its storage or is larger than it.
    """
    sizes = naturals(shape, "shape")
    steps = row_major(sizes) if stride is None else naturals(stride, "stride")
    (first,) = naturals([offset], "offset")
    if len(steps) != len(sizes):
        raise CheckpointError(f"a tensor has {len(sizes)} dimensions, but {len(steps)} strides")
    if first + _extent(sizes, steps) > storage.count:
        raise CheckpointError(f"a tensor of shape {sizes} reaches outside its storage of {storage.count} elements")
    if math.prod(sizes) > storage.count + _MAX_REPEATED:
        raise CheckpointError(f"a tensor of shape {sizes} repeats a storage of {storage.count} elements too often")
    return StoredTensor(storage, storage.dtype, sizes, steps, first)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, last dimension fastest."""
    return tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))


def column_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor, first dimension fastest (Fortran's order)."""
    return tuple(math.prod(shape[:index]) for index in range(len(shape)))


def _extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements of the storage between the first and the last that the tensor uses."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def naturals(values: object, what: str) -> tuple[int, ...]:
    """Sizes out of a file, as a tuple.

    Raises:
        CheckpointError: if they are no whole numbers from 0 on, or far too many or large.
    """
    if not isinstance(values, list | tuple) or len(values) > _MAX_DIMENSIONS:
        raise CheckpointError(f"a tensor has a malformed {what}")
    numbers = tuple(value for value in values if type(value) is int and 0 <= value < 1 << 48)
    if len(numbers) != len(values):
        raise CheckpointError(f"a tensor has a malformed {what}")
    return numbers
