"""Build modules whose parameters have shapes and no values yet, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)
_ARITHMETIC = frozenset({Tensor.div, Tensor.__truediv__, Tensor.mul, Tensor.__mul__, Tensor.normal_})


def blank(build: Callable[[], _ModuleT]) -> _ModuleT:
    """Call `build` with the meta device as default, so that nothing is allocated or drawn at random.

    Fill the module with `load_state_dict(..., assign=True)`. Buffers that are not stored must be made on the CPU
    explicitly.
    """
    with torch.device("meta"), _WithoutValues():
        return build()


class _WithoutValues(TorchFunctionMode):
    """Leaves out random numbers and arithmetic on meta tensors.

    They would make nothing, yet the first of them makes PyTorch import its compiler: 1 to 3 seconds and 80 MB.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.randn:
            return torch.empty(*args, **(kwargs or {}))
        if func in _ARITHMETIC and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
