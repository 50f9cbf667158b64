"""What every generator offers, whatever its architecture."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

Noise = Literal["constant", "random", "none"]


class Generator(Protocol):
    """A style-based image generator: z -> ws -> images."""

    def __hash__(self) -> int:
        """By identity, so that what is made of a generator can be kept beside it."""
        ...

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        ...

    @property
    def z_dim(self) -> int:
        """Dimension of the input latent space Z."""
        ...

    @property
    def w_dim(self) -> int:
        """Dimension of the intermediate latent space W."""
        ...

    @property
    def num_ws(self) -> int:
        """Number of style layers, the rows of a code in W+."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the weights: equal for equal weights, whatever file they came from."""
        ...

    @property
    def w_mean(self) -> Tensor:
        """(w_dim,) the centre of W, towards which truncation pulls."""
        ...

    def map(
        self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """Z (N, z_dim) to ws (N, num_ws, w_dim)."""
        ...

    def synthesize(self, ws: Tensor, noise: Noise = "constant") -> Tensor:
        """Ws (N, num_ws, w_dim) to images (N, 3, resolution, resolution) in about [-1, 1]."""
        ...


def forget_fingerprint(generator: nn.Module) -> None:
    """Let a generator work its fingerprint out anew: its weights are, or will be, others."""
    generator.__dict__.pop("fingerprint", None)


def fingerprint_of(module: nn.Module) -> str:
    """Sixteen hexadecimal digits over names, shapes and values of a module's parameters and persistent buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
