"""Starting a larger network from a trained smaller one.

By blocks, as in progressive growing (Karras et al. 2018, section 2), and by feature maps, so that the picture stays
(the idea is Chen et al.'s, "Net2Net: Accelerating Learning via Knowledge Transfer", 2016; new maps are not copies here,
but random, and the old ones do not hear them yet).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import Block, StyleGAN2
from faceloom.training.discriminator import Discriminator


@torch.no_grad()
def grow(small: nn.Module, large: nn.Module) -> None:
    """Copy the weights of `small` into `large`, which may have further blocks, feature maps or codes.

    A generator's new blocks and feature maps add nothing at first, so that it draws the small one's picture, enlarged
    if need be; an encoder's new feature maps add nothing, and its new offsets are zero. A discriminator's new blocks,
    the first that see a picture, keep their random weights.

    Raises:
        TrainingError: if a part that both have differs in shape.
    """
    own = large.state_dict()
    known = small.state_dict()
    if isinstance(large, Discriminator) and isinstance(small, Discriminator):
        known = _aligned_at_the_coarse_end(known, len(large.blocks) - len(small.blocks))
    for name, tensor in known.items():
        if name.startswith("offsets.") and isinstance(large, ResidualEncoder):
            continue
        if isinstance(large, (StyleGAN2, ResidualEncoder)) and _is_wider(name, own.get(name), tensor):
            _widen(name, own[name], tensor)
            continue
        if name not in own or own[name].shape != tensor.shape:
            raise TrainingError(
                f"cannot start from this model: its {name} is {tuple(tensor.shape)}, "
                f"the new one's {tuple(own[name].shape) if name in own else 'missing'}; "
                "use the same w_dim, and no fewer channels"
            )
        own[name].copy_(tensor)
    if isinstance(large, StyleGAN2) and isinstance(small, StyleGAN2):
        for block in list(large.blocks)[len(small.blocks) :]:
            assert isinstance(block, Block)
            assert block.to_rgb is not None
            block.to_rgb.weight.zero_()
    if isinstance(large, ResidualEncoder) and isinstance(small, ResidualEncoder):
        for target, source in ((large.offsets.weight, small.offsets.weight), (large.offsets.bias, small.offsets.bias)):
            if len(source) > len(target):
                raise TrainingError("cannot start from this model: it has more style layers than the new one")
            target.zero_()
            target[tuple(slice(side) for side in source.shape)] = source


def _is_wider(name: str, new: Tensor | None, old: Tensor) -> bool:
    """Whether a tensor has more feature maps, and all else alike; the last side of an affine's weight is w_dim."""
    layers = ("const", "blocks.", "stem.", "features.", "base.weight")
    if new is None or new.shape == old.shape or new.dim() != old.dim() or not name.startswith(layers):
        return False
    if ".affine.weight" in name and new.shape[1] != old.shape[1]:
        return False
    return all(a >= b for a, b in zip(new.shape, old.shape, strict=True))


def _widen(name: str, new: Tensor, old: Tensor) -> None:
    """Put a network's tensor into a wider one: new maps keep their random weights, and old ones do not hear them."""
    if (new.dim() == 4 and not name.startswith("const")) or name in ("features.weight", "base.weight"):
        new[: len(old)].zero_()
    if ".to_rgb.weight" in name:  # which a layer scales by the number of its inputs
        old = old * math.sqrt(new.shape[1] / old.shape[1])
    new[tuple(slice(side) for side in old.shape)] = old


def _aligned_at_the_coarse_end(state: dict[str, Tensor], added: int) -> dict[str, Tensor]:
    """A discriminator's weights under the names that they have behind `added` further blocks."""
    moved = {}
    for name, tensor in state.items():
        kind, _, rest = name.partition(".")
        if kind == "blocks":
            number, _, rest = rest.partition(".")
            name = f"blocks.{int(number) + added}.{rest}"
        if kind != "from_rgb" or not added:
            moved[name] = tensor
    return moved
