"""What every inversion method offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from faceloom.errors import CheckpointError
from faceloom.generators.protocol import Generator
from faceloom.imaging.convert import resized
from faceloom.inversion.tuning import Tuning, tuned


@dataclass(frozen=True)
class Step:
    """Where an inversion is.

    Attributes:
        number: steps done, from 1.
        total: steps in all, at most.
        loss: the mean loss over the batch; falls.
        picture: draws what the codes give by now, images (N, 3, R, R), without gradients; None where the method has
            nothing to show. Drawing costs a render, so call it only to show it.
    """

    number: int
    total: int
    loss: float
    picture: Callable[[], Tensor] | None = None


ProgressReport = Callable[[Step], None]


@dataclass(frozen=True, eq=False)
class Inversion:
    """What a method found: codes, and for methods that tune the generator what to add to its weights.

    Attributes:
        codes: (N, num_ws, w_dim), without gradients.
        tunings: one for each face, or none at all.
        steps: how many steps it took, the starting point's included; less than asked for where it stopped improving.
    """

    codes: Tensor
    tunings: tuple[Tuning, ...] = ()
    steps: int = 0

    def render(self, generator: Generator, codes: Tensor | None = None) -> Tensor:
        """Draw each face with its own tuning.

        Args:
            generator: the one that was inverted.
            codes: (N, num_ws, w_dim), edited ones for instance; the found ones where None.

        Returns:
            images (N, 3, R, R) in about [-1, 1], without gradients.
        """
        ws = (self.codes if codes is None else codes).to(generator.w_mean.device)
        with torch.no_grad():
            if not self.tunings:
                return generator.synthesize(ws)
            drawn = [tuned(generator, one).synthesize(w[None]) for one, w in zip(self.tunings, ws, strict=True)]
            return torch.cat(drawn)

    def on(self, device: torch.device) -> Inversion:
        """The same with its codes on a device; tunings come from their methods on the CPU, and stay there.

        An editor's are on the CPU: as the `start` of another inversion they are wanted where its images are.
        """
        return replace(self, codes=self.codes.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """All of it as plain tensors, for a safetensors file: "codes", and "face.tensor" of the tunings in 16 bits."""
        found = {"codes": self.codes}
        for index, tuning in enumerate(self.tunings):
            found.update({f"{index}.{name}": tensor for name, tensor in tuning.stored().items()})
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], fingerprint: str) -> Inversion:
        """The inverse of `tensors`, up to the rounding of tunings to 16 bits.

        Args:
            tensors: as `tensors` gives them.
            fingerprint: of the generator that they belong to.

        Raises:
            CheckpointError: if they are no inversion.
        """
        parts: dict[int, dict[str, Tensor]] = {}
        try:
            codes = tensors["codes"].float()
            for name in tensors.keys() - {"codes"}:
                index, _, rest = name.partition(".")
                parts.setdefault(int(index), {})[rest] = tensors[name]
            tunings = tuple(Tuning.restored(parts[index], fingerprint) for index in range(len(codes))) if parts else ()
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the file holds no inversion ({error}); invert the photo again") from error
        return cls(codes, tunings)


class Inverter(Protocol):
    """A method that finds the codes with which its generator draws given faces."""

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """Find the codes of aligned faces.

        Args:
            images: (N, 3, H, W) in [-1, 1]; brought to the generator's size.
            progress: called after every step.
            start: where to go on from, such as an earlier result of the same faces; the method's own start where None.

        Returns:
            codes (N, num_ws, w_dim); the same ones for the same images on the same machine.
        """
        ...


def fitted(images: Tensor, generator: Generator) -> Tensor:
    """Images (N, 3, H, W) brought to the generator's size."""
    return resized(images, generator.resolution)
