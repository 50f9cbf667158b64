"""The allow-list: functions and classes of Python and NumPy that pickles call, and what is done in their place."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from faceloom.checkpoints.inert import Attributes, Global, Inert, quoted
from faceloom.checkpoints.pickles import Machine, Restorer, StandIn, in_memory
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import NUMPY_DTYPES, Storage, StoredTensor, column_major, naturals, stored_tensor
from faceloom.errors import CheckpointError

_NATIVE = "<" if sys.byteorder == "little" else ">"
_MAX_ENCODED = 16 << 20


@dataclass(slots=True, eq=False)
class NumpyDtype:
    """A numpy.dtype: `code` as in its array interface ("f4"), `order` one of "<", ">", "=", "|"."""

    code: str
    order: str = "="

    @property
    def torch(self) -> torch.dtype:
        """The same type in PyTorch.

        Raises:
            CheckpointError: if there is none, as for arrays of objects or texts.
        """
        if self.code[:1] == "O":
            raise CheckpointError("it holds an array of Python objects, which only running its code could restore")
        if self.code not in NUMPY_DTYPES:
            raise CheckpointError(f"it holds an array of the type {quoted(self.code)}, which is no type for weights")
        return NUMPY_DTYPES[self.code]

    @property
    def swapped(self) -> bool:
        """Whether this machine orders the bytes of an element the other way round."""
        return self.order in "<>" and self.order != _NATIVE and self.torch.itemsize > 1


def numpy_array(dtype: NumpyDtype, shape: Any, span: Span, *, fortran: bool = False) -> StoredTensor:
    """An array whose elements fill a span.

    Raises:
        CheckpointError: if they do not fit into it.
    """
    sizes = naturals(shape, "shape")
    storage = Storage(dtype.torch, math.prod(sizes))
    storage.place(span)
    tensor = stored_tensor(storage, sizes, column_major(sizes) if fortran else None)
    tensor.swapped = dtype.swapped
    return tensor


def _span(machine: Machine, data: object) -> Span:
    if isinstance(data, Span):
        return data
    machine.budget.spend(512 + (len(data) if isinstance(data, str) else 0))  # a text is copied each time
    return Span.of_bytes(in_memory(data))


def _argument(args: tuple[Any, ...], index: int, default: Any = None) -> Any:
    return args[index] if index < len(args) else default


# Python


def _dictionary(machine: Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    source = _argument(args, 0, ())
    pairs = source.items() if isinstance(source, dict) else source
    if isinstance(pairs, list | tuple) and not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise CheckpointError("the pickle is malformed: a dictionary of something other than pairs")
    machine.fill(made, pairs)
    return made


def _empty_dictionary(machine: Machine, args: tuple[Any, ...]) -> dict[Any, Any]:
    return {}


def _attributes(machine: Machine, args: tuple[Any, ...]) -> Attributes:
    return Attributes(_dictionary(machine, args))


def _elements(args: tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    values = _argument(args, 0, [])
    if isinstance(values, set | frozenset):
        return list(values)
    if not isinstance(values, list | tuple):
        raise CheckpointError("the pickle is malformed: a collection of something that is not a list")
    return values


def _sequence(machine: Machine, args: tuple[Any, ...]) -> list[Any]:
    values = _elements(args)
    machine.budget.spend(8 * len(values))
    return list(values)


def _size(machine: Machine, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_sequence(machine, args))


def _set(machine: Machine, args: tuple[Any, ...]) -> set[Any]:
    return set(machine.keys(_elements(args)))


def _number(machine: Machine, args: tuple[Any, ...]) -> Any:
    value = _argument(args, 0, 0)
    if not isinstance(value, int | float):
        raise CheckpointError("the pickle is malformed: a number of something that is not one")
    return value


def _bytes(machine: Machine, args: tuple[Any, ...]) -> Any:
    """Stands in for bytes, bytearray, and for _codecs.encode, with which protocols up to 2 write bytes."""
    value = _argument(args, 0, b"")
    if isinstance(value, Span):
        return value
    if not isinstance(value, str | bytes):
        raise CheckpointError("the pickle is malformed: bytes of something that is not a text")
    machine.budget.spend(len(value))
    return value.encode("latin-1") if isinstance(value, str) else value


def _new_object(machine: Machine, args: tuple[Any, ...]) -> Any:
    """Stands in for copyreg.__newobj__ and copyreg._reconstructor: an object of the class given first."""
    made = machine.call(_argument(args, 0), ())
    contents = _argument(args, 2)
    if isinstance(made, dict) and isinstance(contents, dict):
        machine.fill(made, contents.items())
    return made


# NumPy


def _dtype(machine: Machine, args: tuple[Any, ...]) -> NumpyDtype:
    code = _argument(args, 0)
    if isinstance(code, Global) and code.module == "numpy":
        code = {"float16": "f2", "float32": "f4", "float64": "f8", "int64": "i8", "int32": "i4"}.get(code.name)
    if not isinstance(code, str):
        raise CheckpointError("the pickle has a malformed NumPy type")
    order, code = (code[0], code[1:]) if code[:1] in tuple("<>|=") else ("=", code)
    return NumpyDtype({"?": "b1"}.get(code, code), order)


def _restore_dtype(machine: Machine, target: NumpyDtype, state: Any) -> None:
    if isinstance(state, tuple) and len(state) > 4:
        if state[2] is not None or state[3] is not None:
            target.code = "V"
        if isinstance(state[1], str) and state[1] in ("<", ">", "=", "|"):
            target.order = state[1]


def _empty_array(machine: Machine, args: tuple[Any, ...]) -> StoredTensor:
    return StoredTensor(None, torch.uint8, (), ())


def _restore_array(machine: Machine, target: StoredTensor, state: Any) -> None:
    """State of numpy.ndarray: version, shape, dtype, whether in Fortran's order, bytes. Parameters come here too."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], NumpyDtype):
        return
    _, shape, dtype, fortran, data = state
    if dtype.code[:1] in ("U", "S", "V", "M", "m"):
        return  # texts and dates beside the weights do no harm; reading their values is what fails
    target.dtype = dtype.torch  # refuses an array of objects before its data are looked at
    made = numpy_array(dtype, shape, _span(machine, data), fortran=bool(fortran))
    target.storage, target.shape, target.stride = made.storage, made.shape, made.stride
    target.offset, target.swapped = made.offset, made.swapped


def _array_from_buffer(machine: Machine, args: tuple[Any, ...]) -> StoredTensor:
    """Stands in for numpy.core.numeric._frombuffer, with which protocol 5 writes arrays."""
    data, dtype, shape, order = (_argument(args, index) for index in range(4))
    if not isinstance(dtype, NumpyDtype):
        raise CheckpointError("the pickle is malformed: an array without a type")
    return numpy_array(dtype, shape, _span(machine, data), fortran=order == "F")


def _scalar(machine: Machine, args: tuple[Any, ...]) -> Any:
    dtype, data = _argument(args, 0), _argument(args, 1, b"")
    if not isinstance(dtype, NumpyDtype):
        raise CheckpointError("the pickle is malformed: a number without a type")
    if dtype.code not in NUMPY_DTYPES:
        return Inert("scalar", "numpy", (dtype.code, data))
    return numpy_array(dtype, (), _span(machine, data)).read().item()


PYTHON_AND_NUMPY: Mapping[Global, StandIn] = {
    Global("collections", "OrderedDict"): _dictionary,
    Global("collections", "defaultdict"): _empty_dictionary,
    Global("collections", "Counter"): _dictionary,
    Global("collections", "deque"): _sequence,
    Global("builtins", "dict"): _dictionary,
    Global("builtins", "list"): _sequence,
    Global("builtins", "tuple"): _size,
    Global("builtins", "set"): _set,
    Global("builtins", "frozenset"): _set,
    Global("builtins", "bytes"): _bytes,
    Global("builtins", "bytearray"): _bytes,
    Global("builtins", "int"): _number,
    Global("builtins", "float"): _number,
    Global("builtins", "bool"): _number,
    Global("_codecs", "encode"): _bytes,
    Global("copyreg", "__newobj__"): _new_object,
    Global("copyreg", "_reconstructor"): _new_object,
    Global("argparse", "Namespace"): _attributes,
    Global("types", "SimpleNamespace"): _attributes,
    Global("dnnlib", "EasyDict"): _attributes,
    Global("numpy", "dtype"): _dtype,
    Global("numpy.core.multiarray", "_reconstruct"): _empty_array,
    Global("numpy.core.multiarray", "scalar"): _scalar,
    Global("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
}
"""Keyed by the names that `hostile.safe_global` gives."""


def _restore_attributes(machine: Machine, target: Attributes, state: Any) -> None:
    if isinstance(state, dict):
        machine.fill(target, state.items())


RESTORERS: Mapping[type, Restorer] = {
    NumpyDtype: _restore_dtype,
    StoredTensor: _restore_array,
    Attributes: _restore_attributes,
}
