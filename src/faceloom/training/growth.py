"""Starting a larger network from a trained smaller one, as in progressive growing (Karras et al. 2018, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import Block, StyleGAN2
from faceloom.training.discriminator import Discriminator


@torch.no_grad()
def grow(small: nn.Module, large: nn.Module) -> None:
    """Copy the weights of `small` into `large`, which may have further blocks (a generator) or codes (an encoder).

    A generator's new blocks add nothing at first, so that it draws the small one's picture enlarged; an encoder's new
    offsets are zero. A discriminator's new blocks, the first that see a picture, keep their random weights.

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
        if name not in own or own[name].shape != tensor.shape:
            raise TrainingError(
                f"cannot start from this model: its {name} is {tuple(tensor.shape)}, "
                f"the new one's {tuple(own[name].shape) if name in own else 'missing'}; use the same widths and w_dim"
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
            target[: len(source)].copy_(source)


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
