"""Files of torch.save, zipped and from before PyTorch 1.6, and raw pickles with tensors inside.

Source: the layout that PyTorch's own documentation (notes/serialization) and its files show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from faceloom.checkpoints.inert import Global, Inert
from faceloom.checkpoints.instructions import run
from faceloom.checkpoints.pickles import Budget, Machine, PersistentLoad, StandIn
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.standins import PYTHON_AND_NUMPY, RESTORERS
from faceloom.checkpoints.tensors import TORCH_DTYPES, TORCH_STORAGES, Storage, StoredTensor, stored_tensor
from faceloom.checkpoints.ziparchive import ZipArchive
from faceloom.errors import CheckpointError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_DEVICE_LETTERS = 100


def read_pickle(span: Span, budget: Budget | None = None, persistent_load: PersistentLoad | None = None) -> Any:
    """The tree of a pickle, or of the old kind of file of torch.save, which begins with one.

    Raises:
        CheckpointError: if it is malformed, hostile or too large.
    """
    budget = budget or Budget()
    tree = run(_machine(span, budget, 0, persistent_load))
    return read_torch_legacy(span, budget) if tree == _MAGIC else tree


def read_torch_zip(archive: ZipArchive, budget: Budget | None = None) -> Any:
    """The tree of a zipped file of torch.save.

    Raises:
        CheckpointError: if it is malformed, hostile or too large.
    """
    [root] = [name for name in archive.entries if name.endswith("/data.pkl") or name == "data.pkl"]
    folder = root.removesuffix("data.pkl")
    order = archive.open(f"{folder}byteorder").read(0) if f"{folder}byteorder" in archive.entries else b"little"
    if order != b"little":
        raise CheckpointError("it was saved on a big-endian machine, which is not supported")
    spans: dict[str, Span] = {}

    def load(identity: Any) -> Storage:
        dtype, key, count = _storage_identity(identity)
        if key not in spans:
            spans[key] = archive.open(f"{folder}data/{key}")
        storage = Storage(dtype, count)
        storage.place(spans[key])
        return storage

    return read_pickle(archive.open(root), budget, load)


def read_torch_legacy(span: Span, budget: Budget | None = None) -> Any:
    """The tree of an unzipped file of torch.save: five pickles, then every storage with its length before it.

    Raises:
        CheckpointError: if it is malformed, hostile or too large.
    """
    budget = budget or Budget()
    storages: dict[str, list[Storage]] = {}

    def load(identity: Any) -> Any:
        if isinstance(identity, tuple) and identity[:1] == ("module",):
            return identity[1]  # beside a class lies its source, which nobody needs
        dtype, key, count = _storage_identity(identity)
        storage = Storage(dtype, count)
        storages.setdefault(key, []).append(storage)
        return storage

    position, values = 0, []
    for _ in range(5):
        machine = _machine(span, budget, position, load)
        values.append(run(machine))
        position = machine.position
    magic, protocol, system, tree, keys = values
    if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(keys, list):
        raise CheckpointError("it looks like a file of an old PyTorch, but its header is damaged")
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError("it was saved on a big-endian machine, which is not supported")
    for key in keys:
        users = storages.get(key, []) if isinstance(key, str) else []
        count = int.from_bytes(span.read(position, 8), "little")
        for storage in users:
            if storage.count != count:
                raise CheckpointError("a storage has another size than its tensors declare; the file is damaged")
            storage.place(span.part(position + 8, count * storage.dtype.itemsize))
        if not users:
            raise CheckpointError("the file is damaged: it holds a storage that no tensor uses")
        position += 8 + count * users[0].dtype.itemsize
    return tree


def _machine(span: Span, budget: Budget, position: int, persistent_load: PersistentLoad | None) -> Machine:
    return Machine(span, _STAND_INS, RESTORERS, budget=budget, position=position, persistent_load=persistent_load)


def _storage_identity(identity: Any) -> tuple[torch.dtype, str, int]:
    """Type, key and number of elements out of ("storage", class, key, device, count, view)."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise CheckpointError("the pickle refers to something in the file that is not a storage of a tensor")
    _, cls, key, _, count = identity[:5]
    dtype = TORCH_STORAGES.get(cls.name) if isinstance(cls, Global) else None
    if dtype is None:
        name = cls if isinstance(cls, Global) else "without a name"
        raise CheckpointError(f"a storage of a tensor is of the unknown type {name}, perhaps a quantised one")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise CheckpointError("a storage of a tensor is described in an unknown way; the file is damaged")
    if identity[5:] not in ((), (None,)):
        raise CheckpointError("it shares storages in the way of PyTorch before 0.4; save it again with a newer one")
    return dtype, key, count


# The allow-list of PyTorch


def _tensor(machine: Machine, args: tuple[Any, ...]) -> StoredTensor:
    """Stands in for torch._utils._rebuild_tensor, also _v2: storage, offset, shape, stride, and what is not needed."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise CheckpointError("the pickle is malformed: a tensor without a storage")
    machine.budget.spend(512)
    storage, offset, shape, stride = args[:4]
    return stored_tensor(storage, shape, stride, offset)


def _typed_tensor(machine: Machine, args: tuple[Any, ...]) -> StoredTensor:
    """Stands in for torch._utils._rebuild_tensor_v3, whose storage counts bytes and whose type comes seventh."""
    match args:
        case (Storage() as raw, offset, shape, stride, _, _, Global() as kind, *_) if kind.name in TORCH_DTYPES:
            dtype = TORCH_DTYPES[kind.name]
            storage = Storage(dtype, raw.count * raw.dtype.itemsize // dtype.itemsize, raw.span)
            return _tensor(machine, (storage, offset, shape, stride))
    raise CheckpointError("the pickle has a tensor of an unknown type")


def _parameter(machine: Machine, args: tuple[Any, ...]) -> Any:
    return args[0] if args else None


def _from_type(machine: Machine, args: tuple[Any, ...]) -> Any:
    """Stands in for torch._tensor._rebuild_from_type_v2: function, class, arguments, attributes."""
    return machine.call(args[0], args[2]) if len(args) > 2 else None


def _torch_size(machine: Machine, args: tuple[Any, ...]) -> tuple[Any, ...]:
    values = args[0] if args and isinstance(args[0], list | tuple) else ()
    machine.budget.spend(8 * len(values))
    return tuple(values)


def _device(machine: Machine, args: tuple[Any, ...]) -> str:
    parts = [str(part) for part in args[:2] if isinstance(part, str | int)]
    if sum(map(len, parts)) > _MAX_DEVICE_LETTERS:
        raise CheckpointError("the pickle is malformed: a device with an endless name")
    return ":".join(parts)


def _nested(machine: Machine, args: tuple[Any, ...]) -> Any:
    """Stands in for torch.storage._load_from_bytes: a whole file of torch.save within a pickle."""
    data = args[0] if args else None
    if isinstance(data, bytes):
        data = Span.of_bytes(data)
    if not isinstance(data, Span):
        raise CheckpointError("the pickle is malformed: a tensor without its bytes")
    budget = machine.budget
    budget.spend(8192)
    if budget.nesting == 0:
        raise CheckpointError("files are nested in files without end; refusing it")
    budget.nesting -= 1
    if data.read(0, min(4, data.length)) == b"PK\3\4":
        value = read_torch_zip(ZipArchive(data, budget), budget)
    else:
        value = read_torch_legacy(data, budget)
    budget.nesting += 1
    return value


def _persistent_object(machine: Machine, args: tuple[Any, ...]) -> Inert:
    """Stands in for torch_utils.persistence._reconstruct_persistent_obj: the source in `module_src` is dropped."""
    meta = args[0] if args else None
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise CheckpointError("the pickle is malformed: one of NVIDIA's objects lacks the name of its class")
    return Inert(meta["class_name"], "torch_utils.persistence", state=meta.get("state"))


_STAND_INS: Mapping[Global, StandIn] = {
    **PYTHON_AND_NUMPY,
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Global("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    Global("torch", "Size"): _torch_size,
    Global("torch", "device"): _device,
    Global("torch.storage", "_load_from_bytes"): _nested,
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
}
