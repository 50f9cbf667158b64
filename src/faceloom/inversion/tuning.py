"""A small change of a generator's weights that belongs to one face, as data.

It is what pivotal tuning leaves behind: dense changes of some tensors, and low-rank ones of others. Applying it makes
another generator that shares every other weight with the first, which stays as it is.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.protocol import Generator, forget_fingerprint

_GeneratorT = TypeVar("_GeneratorT", bound=Generator)
LEFT, RIGHT = ".left", ".right"
_RESPONSE = "response"


@dataclass(frozen=True, eq=False)
class Tuning:
    """What to add to a generator's weights.

    Attributes:
        tensors: by the name of the generator's tensor that they change: either NAME, the change itself, or NAME.left
            (O, R) and NAME.right (R, everything else), whose product is the change (Hu et al. 2021, "LoRA"). Plain
            tensors, so that a safetensors file holds a tuning as it is.
        fingerprint: of the generator that it belongs to.
        response: how far an edit moves the tuned generator's picture, of how far it moves the untuned one's. Fitting
            one picture makes a generator stiffer; `stretched` edits make up for it.
    """

    tensors: Mapping[str, Tensor] = field(repr=False)
    fingerprint: str
    response: float = 1.0

    def stretched(self, codes: Tensor, moved: Tensor) -> Tensor:
        """Edited codes `moved`, taken as far from `codes` as this tuning needs for the edits to show in full."""
        return codes + (moved - codes) / self.response

    def stretched_offset(self, offset: Tensor | None) -> Tensor | None:
        """The same of what edits in S add to the style vectors; None for nothing."""
        return None if offset is None else offset / self.response

    def stored(self) -> dict[str, Tensor]:
        """All of it but the fingerprint as tensors, for a file: in 16 bits, but for the response."""
        found = {name: tensor.half() for name, tensor in self.tensors.items()}
        return found if self.response == 1.0 else {**found, _RESPONSE: torch.tensor(self.response)}

    @classmethod
    def restored(cls, stored: Mapping[str, Tensor], fingerprint: str) -> Tuning:
        """The inverse of `stored`, up to the rounding to 16 bits; files from before there was a response have 1.

        Raises:
            CheckpointError: if the response is no positive number.
        """
        tensors = dict(stored)
        response = tensors.pop(_RESPONSE, torch.tensor(1.0))
        if response.numel() != 1 or not 0.0 < float(response) < math.inf:
            raise CheckpointError("the tuning's response is damaged; invert the photo again")
        return cls(tensors, fingerprint, float(response))


def changed(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` that a tuning changes, as they become, by name; differentiable.

    Args:
        state: the generator's tensors by name.
        tensors: the tuning's; see `Tuning`.

    Raises:
        CheckpointError: if a tensor has another shape than the generator's, or does not exist there.
    """
    found: dict[str, Tensor] = {}
    try:
        for name, tensor in tensors.items():
            if name.endswith(RIGHT):
                continue
            base = name.removesuffix(LEFT)
            change = tensor.float() @ tensors[base + RIGHT].float() if name.endswith(LEFT) else tensor.float()
            if change.numel() != state[base].numel():
                raise CheckpointError(f"the tuning of {base} has the shape {tuple(change.shape)}; it is damaged")
            found[base] = state[base] + change.reshape(state[base].shape).to(state[base].device)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"the tuning does not fit this generator ({error}); use the one it came from") from error
    return found


def tuned(generator: _GeneratorT, tuning: Tuning) -> _GeneratorT:
    """A generator with the tuning applied; it shares the other weights with `generator`, which is left alone.

    Raises:
        UsageError: if the tuning was made for another generator.
        CheckpointError: if it is damaged.
    """
    if tuning.fingerprint != generator.fingerprint:
        raise UsageError(
            f"this tuning was made for the generator {tuning.fingerprint}, not {generator.fingerprint}; "
            "open it with the model it was made with"
        )
    module = sharing_copy(generator)
    for name, tensor in changed(_tensors(module), tuning.tensors).items():
        put(module, name, tensor.detach())
    return cast(_GeneratorT, module)


def sharing_copy(generator: Generator) -> nn.Module:
    """A copy of the module's structure whose tensors share memory with the original's and ask for no gradients.

    Raises:
        UsageError: if the generator is no PyTorch module.
    """
    if not isinstance(generator, nn.Module):
        raise UsageError(f"only a generator that is a PyTorch module can be tuned, not {type(generator).__name__}")
    memo: dict[int, Any] = {}
    for parameter in generator.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in generator.buffers():
        memo[id(buffer)] = buffer.detach()
    module = copy.deepcopy(generator, memo)
    forget_fingerprint(module)
    return module


def put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor, which may be computed and carry gradients, in the place of a parameter or buffer."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        del owner._parameters[leaf]
        owner.register_buffer(leaf, tensor)
    else:
        setattr(owner, leaf, tensor)


def filters(generator: nn.Module) -> dict[str, Tensor]:
    """The filters (O, I, K, K) of the convolutions that draw, by name, without gradients."""
    return {
        name: tensor.detach()
        for name, tensor in generator.named_parameters()
        if tensor.ndim == 4 and name.endswith("weight") and tensor.shape[2] * tensor.shape[0] > 1
    }


def biases(generator: nn.Module) -> dict[str, Tensor]:
    """The biases (O,) of those convolutions, by name, without gradients."""
    state = _tensors(generator)
    names = [name.removesuffix("weight") + "bias" for name in filters(generator)]
    return {name: state[name].detach() for name in names if name in state}


def noise_maps(generator: nn.Module) -> dict[str, Tensor]:
    """The stored noise maps (H, W) that the generator adds to its features, by name; none in StyleGAN3."""
    return {name: buffer for name, buffer in generator.named_buffers() if name.endswith(".noise") and buffer.ndim == 2}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@functools.lru_cache(maxsize=8)
def lent(tuning: Tuning, twin: str, strength: float) -> Tuning:
    """A tuning for a twin of its generator, remembered for the last few faces.

    What made the generator draw this person makes a twin, whose filters are near the generator's, draw this person as
    well: beard and glasses, which the code alone does not hold.

    Args:
        tuning: of the generator.
        twin: fingerprint of the twin, or of a blend with it.
        strength: how much of the change is kept, from 0 to 1.
    """
    tensors = {
        name: tensor if name.endswith(RIGHT) else strength * tensor.float() for name, tensor in tuning.tensors.items()
    }
    return Tuning(tensors, twin, 1.0 - strength * (1.0 - tuning.response))


@functools.lru_cache(maxsize=8)
def recalled(generator: _GeneratorT, tuning: Tuning) -> _GeneratorT:
    """`tuned`, remembered for the last few faces: for whoever draws the same face many times."""
    return tuned(generator, tuning)
