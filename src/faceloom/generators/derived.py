"""What follows from a weight alone, made once for each state of it: sums of squares, filters in another form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_State = tuple[int, int, torch.dtype, torch.Size]
_known = WeakIdKeyDictionary()
_forgotten = 0


def wants_gradients(*tensors: Tensor | None) -> bool:
    """Whether what is made of these tensors will be asked for gradients."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def derived(weight: Tensor, name: str, make: Callable[[Tensor], Tensor]) -> Tensor:
    """make(weight), from memory as long as the weight lives and is not written to.

    PyTorch counts what is written to a tensor, though not through `.data`; whoever writes there calls `forget`. Where
    gradients for the weight are wanted, it is made anew.

    Args:
        weight: any tensor.
        name: of what is made.
        make: how; called without gradients unless the weight wants them.
    """
    if wants_gradients(weight):
        return make(weight)
    version = -1 if weight.is_inference() else weight._version
    state: _State = (version, weight.data_ptr(), weight.dtype, weight.shape)
    found: tuple[_State, dict[str, Tensor]] | None = _known.get(weight)  # type: ignore[no-untyped-call]
    if found is None or found[0] != state:
        found = state, {}
        _known[weight] = found
    if name not in found[1]:
        with torch.no_grad():
            # Detached: something that held on to the weight would keep it alive.
            found[1][name] = make(weight.detach())
    return found[1][name]


def forget() -> None:
    """Drop all that was derived."""
    global _forgotten
    _known.clear()
    _forgotten += 1


def times_forgotten() -> int:
    """How often that was asked for: what was made of the weights by others is no better."""
    return _forgotten
