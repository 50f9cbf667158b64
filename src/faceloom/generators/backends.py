"""Which arithmetic draws: plain PyTorch, the fused convolutions for CPUs, or 16 bits for GPUs.

"auto" takes the fused ones where they are installed (the extra `faceloom[fast]`) and can do what is asked: float32 on a
CPU and four filter taps. Everything else is plain PyTorch; so must be what wants gradients of gradients or is compiled
by PyTorch, for which there is `use_backend`. Both draw the same picture, to 1e-4. "half" is never taken unasked: it
draws a StyleGAN2 on any device, in float16 from 32 px on, to within about 1 % of the largest value in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from faceloom.errors import UsageError
from faceloom.generators import half, ops
from faceloom.generators.derived import wants_gradients
from faceloom.settings import BackendName, backend_name

_chosen: ContextVar[BackendName | None] = ContextVar("backend", default=None)
# Filters of three by three that change with every step are brought into the fused form in every step, once for either
# way: eight times their size, until they change again. That pays from such maps on.
_LEAST_PIXELS = 32 * 32


class StyledConvolution(Protocol):
    """As `ops.styled_convolution`."""

    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        noise: Tensor | None,
        bias: Tensor,
        *,
        strength: Tensor | float = 1.0,
        gain: float = 1.0,
        clamp: float | None = None,
        up_kernel: Tensor | None = None,
        painting: ops.Painting | None = None,
    ) -> Tensor:
        """Feature maps to feature maps, or to an image with `painting`."""
        ...


class ToRGB(Protocol):
    """As `ops.to_rgb`."""

    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        bias: Tensor,
        *,
        clamp: float | None = None,
        before: Tensor | None = None,
        kernel: Tensor,
    ) -> Tensor:
        """Feature maps to an image."""
        ...


class Blend(Protocol):
    """As `ops.blend`."""

    def __call__(
        self,
        first: Tensor,
        step: Tensor,
        amount: float,
        factors: Tensor,
        noise: Tensor | None,
        bias: Tensor,
        clamp: float | None,
    ) -> Tensor:
        """Feature maps of a convolution that is known at two styles."""
        ...


class Backend(NamedTuple):
    """The back end in use.

    Attributes:
        name: "plain", "fused" or "half".
        reason: why, in a few words.
    """

    name: str
    reason: str


@cache
def _missing() -> str | None:
    """What keeps the fused back end from being used; None where nothing does."""
    if find_spec("numba") is None:
        return 'numba is not installed; pip install "faceloom[fast]" draws about twice as fast on a CPU'
    try:
        import_module("faceloom.generators.fused.layer")
    except (ImportError, AttributeError, RuntimeError) as error:  # it does not fit, or cannot keep what it compiles
        return f"numba does not work here: {error}"
    return None


def _name() -> BackendName:
    return _chosen.get() or backend_name()


def backend() -> Backend:
    """The back end in use on a CPU, and why. On other devices it is "plain" unless "half" is asked for.

    Raises:
        UsageError: "fused" was asked for and cannot be had, or there is no back end of the name asked for.
    """
    name = _name()
    if name in ("plain", "half"):
        return Backend(name, "asked for")
    missing = _missing()
    if missing is None:
        return Backend("fused", "asked for" if name == "fused" else "numba is installed")
    if name == "fused":
        raise UsageError(f'the back end "fused" cannot be used: {missing}')
    return Backend("plain", missing)


@contextmanager
def use_backend(name: BackendName) -> Iterator[None]:
    """Draw with this back end inside the `with`, whatever the settings say; in this thread."""
    before = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(before)


def styled_convolution(x: Tensor, weight: Tensor, taps: int) -> StyledConvolution:
    """What draws a layer of these feature maps (N, C, H, W), filters (O, C, 3, 3) and low-pass taps."""
    if _name() == "half":
        return half.styled_convolution
    if not _fuses(x, weight, taps):
        return ops.styled_convolution
    from faceloom.generators.fused import layer

    return layer.styled_convolution


def to_rgb(x: Tensor, weight: Tensor, taps: int) -> ToRGB:
    """What turns these feature maps (N, C, H, W) into red, green and blue."""
    if _name() == "half":
        return half.to_rgb
    if not _fuses(x, weight, taps):
        return ops.to_rgb
    from faceloom.generators.fused import image

    return image.to_rgb


def blend(maps: Tensor, taps: int) -> Blend:
    """What blends feature maps (N, C, H, W) of a convolution, known at two styles."""
    if _name() == "half" or maps.shape[1] % 8 or not _fuses(maps, maps, taps):
        return ops.blend
    from faceloom.generators.fused import blend as fused

    return fused.blend


def linear(x: Tensor, weight: Tensor) -> ops.Linear:
    """What multiplies these vectors (N, I) by a matrix (O, I)."""
    # Asked in this order: what trains is compiled by PyTorch, and has many.
    if x.shape[0] > 1 or _name() == "half" or not _can_fuse(x, weight):
        return ops.linear
    from faceloom.generators.fused import vectors

    return vectors.linear


def _can_fuse(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and backend().name == "fused"
        and not torch.is_autocast_enabled("cpu")
    )


def _fuses(x: Tensor, weight: Tensor, taps: int) -> bool:
    if taps != 4:
        return False
    if wants_gradients(weight) and weight.shape[2] > 1 and x.shape[2] * x.shape[3] < _LEAST_PIXELS:
        return False
    return _can_fuse(x, weight)
