"""How well codes lend themselves to edits, read off the codes themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.errors import UsageError


def latent_editing_consistency(codes: Tensor, again: Tensor, move: Tensor, spread: Tensor) -> Tensor:
    """How far a face is from where it was after: invert, edit, draw, invert again, undo the edit.

    Source: Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation", section 5.2 (LEC). The distance is
    in units of the spread of W so that generators compare.

    Args:
        codes: (N, num_ws, w_dim) of the photos.
        again: (N, num_ws, w_dim) of the edited pictures, by the same method.
        move: (num_ws, w_dim) the edit, as it was added to `codes`.
        spread: (w_dim,) standard deviation of W.

    Returns:
        (N,) root mean square; 0 where the edit can be undone exactly.

    Raises:
        UsageError: the shapes do not fit.
    """
    if codes.shape != again.shape or codes.shape[1:] != move.shape:
        shapes = f"{tuple(codes.shape)}, {tuple(again.shape)} and {tuple(move.shape)}"
        raise UsageError(f"codes, the codes found again and the move must have the same rows, not {shapes}")
    return ((again - move - codes) / spread).square().mean(dim=(1, 2)).sqrt()


def row_deviation(codes: Tensor, spread: Tensor) -> Tensor:
    """How much the rows of a code differ from each other: 0 in W, more the further a code is from W.

    Source: Tov et al. 2021, section 3.1, where a low variance between the rows is half of being editable.

    Args:
        codes: (N, num_ws, w_dim).
        spread: (w_dim,) standard deviation of W.

    Returns:
        (N,) root mean square difference from the mean row, in units of the spread.
    """
    apart: Tensor = (codes - codes.mean(dim=1, keepdim=True)) / spread
    return torch.sqrt(apart.square().mean(dim=(1, 2)))
