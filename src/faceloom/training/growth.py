"""Starting a larger network from a trained smaller one, as in progressive growing (Karras et al. 2018, section 2)."""

from __future__ import annotations

import torch
from torch import nn

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import Block, StyleGAN2


@torch.no_grad()
def grow(small: nn.Module, large: nn.Module) -> None:
    """Copy the weights of `small` into `large`, which may have further blocks (a generator) or codes (an encoder).

    A generator's new blocks add nothing at first, so that it draws the small one's picture enlarged; an encoder's new
    offsets are zero.

    Raises:
        TrainingError: if a part that both have differs in shape.
    """
    own = large.state_dict()
    for name, tensor in small.state_dict().items():
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
