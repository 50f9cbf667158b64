"""Directions from labels: what a code does, on average, when one attribute changes and the others do not.

A linear probe predicts each attribute from the code (ridge regression; the sign of such a probe is InterFaceGAN's
hyperplane: Shen et al. 2020, "Interpreting the Latent Space of GANs for Semantic Face Editing", section 3). The probes
fill in the labels that are missing. Then the codes are regressed on all attributes at once: the slope of one attribute
is the change of the mean code with the other attributes held, which is the conditional manipulation of the same paper
(section 3.2) done in closed form, and it stays inside the spread of real codes, as a hyperplane's normal need not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceloom.errors import DirectionError

Float = NDArray[np.float64]
FOLDS = 5
MIN_LABELS = 50


@dataclass(frozen=True, eq=False)
class Slope:
    """What one attribute does to the code.

    Attributes:
        vector: (D,) the step that raises the probe's reading of the attribute by one standard deviation.
        probe: (D,) weights that read the attribute from a code: `code @ probe + offset`, in standard deviations from
            the mean of its labels.
        offset: see `probe`.
        labels: how many faces had a label.
        explained: share of the attribute's variance that the probe explains on held-out folds, at most 1.
        mean, deviation: of the labels, in their own unit.
    """

    vector: Float
    probe: Float
    offset: float
    labels: int
    explained: float
    mean: float
    deviation: float


def regress(
    codes: Float,
    attributes: Mapping[str, Float],
    *,
    free: Mapping[str, Collection[str]] | None = None,
    ridge: float = 0.02,
    least: int = MIN_LABELS,
) -> dict[str, Slope]:
    """Find the slope of every attribute; of none that the codes do not carry.

    Args:
        codes: (N, D), one code for each face.
        attributes: by name, (N,) values in any unit; NaN where there is no label.
        free: by name, the attributes that need not be held while this one changes.
        ridge: strength of the regularisation, in units of the codes' mean variance per face.
        least: how many labels an attribute needs.

    Raises:
        DirectionError: if an attribute has too few labels, or they are all alike.
    """
    if not np.isfinite(codes).all():
        raise DirectionError("some codes are not finite numbers")
    centred = codes - codes.mean(axis=0)
    strength = ridge * centred.var(axis=0).mean()
    probes, offsets, filled, facts = [], [], [], []
    for name, values in attributes.items():
        known = np.isfinite(values)
        if known.sum() < least:
            raise DirectionError(f"{name!r} has {int(known.sum())} labels; {least} are needed")
        mean, deviation = float(values[known].mean()), float(values[known].std())
        if deviation == 0.0:
            raise DirectionError(f"all labels of {name!r} are alike: there is nothing to learn from")
        wanted = (values[known] - mean) / deviation
        probe, offset = _ridge(centred[known], wanted, strength)
        probes.append(probe)
        filled.append(np.where(known, np.nan_to_num((values - mean) / deviation), centred @ probe + offset))
        offsets.append(offset - float(codes.mean(axis=0) @ probe))
        facts.append((int(known.sum()), _held_out(centred[known], wanted, strength), mean, deviation))
    names = list(attributes)
    table = np.stack(filled, axis=1)
    table = table - table.mean(axis=0)
    result = {}
    for index, name in enumerate(names):
        released = (free or {}).get(name, ())
        held = [column for column, other in enumerate(names) if other == name or other not in released]
        slopes, *_ = np.linalg.lstsq(table[:, held], centred, rcond=None)
        slope: Float = slopes[held.index(index)]
        effect = float(slope @ probes[index])
        if effect <= 1e-6:
            continue
        count, explained, mean, deviation = facts[index]
        result[name] = Slope(slope / effect, probes[index], offsets[index], count, explained, mean, deviation)
    return result


def _ridge(x: Float, y: Float, strength: float) -> tuple[Float, float]:
    """Weights (D,) and offset that predict y (N,) from x (N, D)."""
    mean = x.mean(axis=0)
    shifted = x - mean
    gram = shifted.T @ shifted + strength * len(x) * np.eye(x.shape[1])
    weights: Float = np.linalg.solve(gram, shifted.T @ (y - y.mean()))
    return weights, float(y.mean() - mean @ weights)


def _held_out(x: Float, y: Float, strength: float) -> float:
    """Explained variance on folds that the probe was not fitted on."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    error = 0.0
    for index in range(FOLDS):
        weights, offset = _ridge(x[fold != index], y[fold != index], strength)
        error += float(np.square(y[fold == index] - x[fold == index] @ weights - offset).sum())
    return 1.0 - error / float(np.square(y - y.mean()).sum())
