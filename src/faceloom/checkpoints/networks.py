"""Find the networks in what a checkpoint holds, whatever it wraps them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.inert import Inert, quoted
from faceloom.checkpoints.pickles import Budget
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.errors import CheckpointError

_WRAPPERS = ("G_ema", "g_ema", "Gs", "params_ema", "ema", "state_dict", "model", "generator", "G", "g", "params", "net")
"""Keys under which projects keep a network, the averaged one before the one in training."""
_MAX_NAMES = 4_000_000  # letters, sixteen more for each part
_MAX_DEPTH = 32
_SPARE = 64 << 20


@dataclass(frozen=True, eq=False)
class Network:
    """One network: its tensors by name, what its modules say about themselves, and what lies beside it.

    Attributes:
        tensors: by name, as in a state dict; "/" separates names in those of TensorFlow.
        modules: the attributes of each module by its name, "" for the whole; empty for bare state dicts.
        beside: the other entries of the dictionary around it.
    """

    tensors: Mapping[str, StoredTensor]
    modules: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    beside: Mapping[Any, Any] = field(default_factory=dict)

    def under(self, prefix: str) -> Network:
        """The part whose names begin with `prefix`, which is cut off."""
        if not prefix:
            return self
        cut = len(prefix)
        return Network(
            {name[cut:]: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)},
            {name[cut:]: attributes for name, attributes in self.modules.items() if name.startswith(prefix)},
            self.beside,
        )


class Weights:
    """Hands out the values of a network's tensors, and knows which were never asked for.

    Args:
        tensors: by name.
        file_size: bytes of the file; no file has more weights than bytes, up to a little.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor], file_size: int) -> None:
        self._left = dict(tensors)
        self._allowance = file_size + _SPARE

    def __contains__(self, name: str) -> bool:
        return name in self._left

    @property
    def left(self) -> set[str]:
        """Names that were not taken."""
        return set(self._left)

    def take(self, name: str) -> Tensor:
        """The float32 values of a tensor.

        Raises:
            CheckpointError: if it is missing, or is not made of finite numbers.
        """
        stored = self._left.pop(name, None)
        if stored is None:
            raise CheckpointError(f"the weights {name} are missing")
        self._allowance -= stored.nbytes
        if self._allowance < 0:
            raise CheckpointError("its weights are larger than the file; it is damaged or hostile")
        if not stored.dtype.is_floating_point:
            raise CheckpointError(f"the weights {name} are no floating-point numbers")
        values = stored.read().to(torch.float32)
        if not torch.isfinite(values).all():
            raise CheckpointError(f"the weights {name} hold values that are no finite numbers; the file is damaged")
        return values


def networks(tree: Any) -> Iterator[Network]:
    """The networks in a checkpoint, the most useful first.

    Raises:
        CheckpointError: if a module is built of itself, or of far too many parts.
    """
    if isinstance(tree, Inert):
        yield from filter(None, [_module(tree, {})])
    elif isinstance(tree, tuple | list):  # (G, D, Gs) of TensorFlow
        for element in reversed(tree[:3]):
            yield from filter(None, [_tensorflow(element)])
    elif isinstance(tree, dict):
        for value in [tree.get(key) for key in _WRAPPERS] + [tree]:
            if isinstance(value, Inert):
                yield from filter(None, [_module(value, tree)])
            elif isinstance(value, dict):
                tensors = {key: item for key, item in value.items() if isinstance(item, StoredTensor)}
                if tensors and all(isinstance(key, str) for key in tensors):
                    yield Network(tensors, beside={**tree, **value})


def _module(root: Inert, beside: Mapping[Any, Any]) -> Network | None:
    """Flatten a torch.nn.Module into a state dict."""
    tensors: dict[str, StoredTensor] = {}
    modules: dict[str, Mapping[Any, Any]] = {}
    names = Budget(_MAX_NAMES)
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    while waiting:
        name, module, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise CheckpointError("its modules are nested without end; the file is damaged or hostile")
        if not isinstance(module, Inert):
            continue
        modules[name] = module.attributes
        prefix = f"{name}." if name else ""
        for kind in ("_parameters", "_buffers"):
            for key, tensor in _entries(module, kind, prefix, names):
                if isinstance(tensor, StoredTensor):
                    tensors[f"{prefix}{key}"] = tensor
        waiting += [(f"{prefix}{key}", child, depth + 1) for key, child in _entries(module, "_modules", prefix, names)]
    return Network(tensors, modules, beside) if tensors else None


def _entries(module: Inert, kind: str, prefix: str, names: Budget) -> list[tuple[str, Any]]:
    """Named parts of a module; modules may share parts, so that a small file can describe endless ones."""
    values = module.attributes.get(kind)
    pairs = values.items() if isinstance(values, dict) else ()
    names.spend(16 + len(pairs) * (16 + len(prefix)))
    found = [(quoted(key), value) for key, value in pairs if isinstance(key, str)]
    names.spend(sum(len(key) for key, _ in found))
    return found


def _tensorflow(root: Any) -> Network | None:
    """Flatten a dnnlib.tflib.network.Network: its own variables, and those of its components."""
    if not isinstance(root, Inert) or root.name != "Network":
        return None
    components = root.attributes.get("components")
    parts = [("", root)]
    if isinstance(components, dict):
        parts += [(f"{quoted(str(key))}/", part) for key, part in components.items() if isinstance(part, Inert)]
    tensors: dict[str, StoredTensor] = {}
    modules: dict[str, Mapping[Any, Any]] = {}
    names = Budget(_MAX_NAMES)
    for prefix, part in parts:
        settings = part.attributes.get("static_kwargs")
        modules[prefix.rstrip("/")] = settings if isinstance(settings, dict) else {}
        variables = part.attributes.get("variables")
        names.spend(16 + (len(prefix) + 80) * (len(variables) if isinstance(variables, list) else 0))
        for variable in variables if isinstance(variables, list) else ():
            match variable:
                case (str(name), StoredTensor() as tensor):
                    tensors[prefix + quoted(name)] = tensor
    return Network(tensors, modules) if tensors else None
