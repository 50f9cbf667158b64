"""What a generator says of itself, the same for every architecture."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from torch import nn

from faceloom.generators.protocol import fingerprint_of


class GeneratorConfig(Protocol):
    """The part of a configuration that every architecture has."""

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        ...

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        ...

    @property
    def w_dim(self) -> int:
        """Dimension of W."""
        ...

    @property
    def num_ws(self) -> int:
        """Rows of a W+ code."""
        ...


class ShapedGenerator(nn.Module):
    """A generator whose sizes stand in its configuration."""

    config: GeneratorConfig

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.config.resolution

    @property
    def z_dim(self) -> int:
        """Dimension of Z."""
        return self.config.z_dim

    @property
    def w_dim(self) -> int:
        """Dimension of W."""
        return self.config.w_dim

    @property
    def num_ws(self) -> int:
        """Rows of a W+ code."""
        return self.config.num_ws

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights as they were when it was first asked for."""
        return fingerprint_of(self)
