"""Edits that overlap: what each adds to the others, and how to take it back.

One direction is rarely alone in what it changes: "older" may also grey the hair, and then "older" with "fair hair"
lightens it twice. With e[j][i] the change of attribute i for one unit of direction j, amounts a give the changes
sum_j a[j] e[j][i]. `balanced` solves for the amounts whose changes are the ones asked for. That is a projection: the
sum of the edits loses what it has along the attributes that were not to change so far. It does not depend on the order
of the edits. With the vectors' own overlaps for e it is the conditional manipulation of Shen et al. 2020,
"Interpreting the Latent Space of GANs for Semantic Face Editing", section 3.2, for any number of conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from faceloom.recipe import MAX_AMOUNT, Edit, summed

Effects = Mapping[str, Mapping[str, float]]
"""By direction and attribute, what one unit does, in standard deviations."""
_SMALLEST = 0.2
"""Singular values below this share of the largest are dropped: two nearly equal directions can't be told apart."""


class Move(Protocol):
    """The part of a direction that this module needs."""

    @property
    def name(self) -> str:
        """One word."""
        ...

    @property
    def vector(self) -> Tensor:
        """The move itself, unbent."""
        ...

    @property
    def space(self) -> str:
        """Where it moves: "w+" or "s"."""
        ...


def overlaps(directions: Sequence[Move]) -> dict[str, dict[str, float]]:
    """The cosine between each direction and each other one; 0 between W+ and S. Bends do not count."""
    table: dict[str, dict[str, float]] = {}
    for one in directions:
        flat = one.vector.double().flatten()
        table[one.name] = {}
        for other in directions:
            along = other.vector.double().flatten()
            same = one.space == other.space and flat.shape == along.shape
            table[one.name][other.name] = float(flat @ along / (flat.norm() * along.norm())) if same else 0.0
    return table


def balanced(edits: Sequence[Edit], effects: Effects, lengths: Mapping[str, float] | None = None) -> tuple[Edit, ...]:
    """The edits with amounts that change each attribute by what its own edit alone would.

    Args:
        edits: any number; several of one direction add up.
        effects: of their directions on their attributes, at least.
        lengths: of the directions, where effects are those of directions of length 1, such as `overlaps`.

    Returns:
        One edit for each direction, in the order of their first mention, within the largest amount a recipe allows.
    """
    wanted = summed(edits)
    names = list(wanted)
    if not names:
        return ()
    table = np.array([[effects[cause][effect] for cause in names] for effect in names])
    length = np.array([1.0 if lengths is None else lengths[name] for name in names])
    goal = np.diag(table) * length * np.array([wanted[name] for name in names])
    # Columns are in units of their own effect, so that the cut-off is one of angles.
    scale = np.where(np.abs(np.diag(table)) > 1e-6, np.diag(table), 1.0)
    moves = np.linalg.pinv(table / scale[:, None], rcond=_SMALLEST) @ (goal / scale)
    amounts = (moves / length).clip(-MAX_AMOUNT, MAX_AMOUNT)
    return tuple(Edit(name, float(amount)) for name, amount in zip(names, amounts, strict=True))
