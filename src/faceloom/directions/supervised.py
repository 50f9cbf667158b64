"""A direction from labelled codes: labels of a table, of a judge, or of two folders of photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom.directions.density import Spread
from faceloom.directions.direction import Direction, Probe
from faceloom.directions.regression import regress
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.protocol import Generator

Float = NDArray[np.float64]
Method = Literal["slope", "ridge", "logistic"]
FEWEST = 10
FEWEST_OF_A_CLASS = 4
_STEPS = 100


def labelled_direction(
    generator: Generator,
    codes: Tensor,
    labels: Float,
    name: str,
    *,
    low: str = "",
    high: str = "",
    method: Method = "slope",
    held: Mapping[str, Float] | None = None,
) -> tuple[Direction, Probe]:
    """The direction along which an attribute grows, and the probe that reads it.

    Args:
        generator: that the codes are of.
        codes: (N, w_dim), one for each face.
        labels: (N,) in any unit, NaN where unknown; 0 and 1 for classes.
        name: of the attribute.
        low: a word for its lower end; "less NAME" where left out.
        high: a word for its upper end.
        method: "slope": how the mean code changes with the attribute, which stays among real codes; for two classes,
            the difference of their means. "ridge" and "logistic": the normal of a linear probe, as InterFaceGAN (Shen
            et al. 2020, section 3.1).
        held: other attributes (N,) that are to stay as they are; for "slope" they are held in the regression, for the
            others the normal is made orthogonal to theirs (the same paper, section 3.2).

    Returns:
        The direction, whose unit is one standard deviation of the attribute as the probe reads it, and the probe.

    Raises:
        DirectionError: if labels are too few, or all of one class, or codes are not finite.
        UsageError: if there is no such method.
    """
    if method not in get_args(Method):
        raise UsageError(f"method is one of {', '.join(get_args(Method))}, not {method!r}")
    check_labels(name, labels, len(codes))
    values = codes.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise DirectionError("some codes are not finite numbers; invert the photos again")
    others = dict(held or {})
    for other, column in others.items():
        check_labels(other, column, len(codes))
    if method == "slope":
        slope = regress(values, {name: labels, **others}, least=FEWEST).get(name)
        if slope is None:
            raise DirectionError(f"no direction for {name!r}: the codes do not carry it, or others explain it all")
        step, weights, offset = slope.vector, slope.probe, slope.offset
    else:
        step, weights, offset = _normal_step(values, name, labels, others, method)
    move = torch.from_numpy(step).float()
    vector = move.expand(generator.num_ws, -1).contiguous()
    limits = Spread.of(codes).range_of(codes, move)
    direction = Direction(name, vector, (0, generator.num_ws), limits, low or f"less {name}", high or f"more {name}")
    return direction, Probe(name, torch.from_numpy(weights).float(), offset)


def check_labels(name: str, labels: Float, faces: int) -> None:
    """Raise DirectionError if labels (N,) can teach no direction."""
    if labels.shape != (faces,):
        raise DirectionError(f"{name!r} has {labels.size} labels for {faces} faces; there is one for each, or none")
    known = labels[np.isfinite(labels)]
    if len(known) < FEWEST:
        raise DirectionError(f"{name!r} has labels for {len(known)} faces; a direction needs {FEWEST}, better hundreds")
    kinds, counts = np.unique(known, return_counts=True)
    if len(kinds) == 1:
        raise DirectionError(f"all labels of {name!r} are {kinds[0]:g}: add faces of the other class")
    if len(kinds) == 2 and counts.min() < FEWEST_OF_A_CLASS:
        raise DirectionError(
            f"only {counts.min()} faces have {name!r} = {kinds[counts.argmin()]:g}; "
            f"add some, {FEWEST_OF_A_CLASS} at least"
        )


def _normal_step(
    codes: Float, name: str, labels: Float, held: Mapping[str, Float], method: Method
) -> tuple[Float, Float, float]:
    """A step along the probe's normal, the probe's weights, and its offset."""
    known = np.isfinite(labels)
    scale = float(codes.std(axis=0).mean()) or 1.0
    normal = _normal(codes[known] / scale, labels[known], method)
    step = normal
    if held:
        columns = [_normal(codes[np.isfinite(c)] / scale, c[np.isfinite(c)], "ridge") for c in held.values()]
        basis, _ = np.linalg.qr(np.stack(columns, axis=1))
        step = normal - basis @ (basis.T @ normal)
        if np.linalg.norm(step) < 1e-6 * np.linalg.norm(normal):
            raise DirectionError(f"nothing of {name!r} is left when the others are held; hold fewer")
    readings = codes @ normal
    deviation = float(readings.std())
    if deviation == 0.0:
        raise DirectionError(f"no direction for {name!r}: the codes do not carry it")
    weights: Float = normal / deviation
    return step / float(step @ weights), weights, -float(readings.mean()) / deviation


def _normal(codes: Float, labels: Float, method: Method) -> Float:
    """The normal (D,) of a linear probe of labels (N,), of length 1; codes are in units of their spread."""
    centred = codes - codes.mean(axis=0)
    strength = 0.02 * centred.var(axis=0).mean() * len(codes)
    penalty = strength * np.eye(codes.shape[1])
    if method == "ridge":
        normal = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (labels - labels.mean()))
    else:
        normal = _logistic(centred, _classes(labels), strength)
    length = float(np.linalg.norm(normal))
    if not length > 0.0:
        raise DirectionError("the labels have nothing to do with the codes: no direction was found")
    return np.asarray(normal / length)


def _classes(labels: Float) -> Float:
    kinds = np.unique(labels)
    middle = kinds.mean() if len(kinds) == 2 else np.median(labels)
    classes = (labels > middle).astype(np.float64)
    return classes if 0 < classes.sum() < len(classes) else (labels >= middle).astype(np.float64)


def _logistic(codes: Float, classes: Float, strength: float) -> Float:
    """Weights (D,) of an L2-regularised logistic regression, by Newton's method with damping."""
    rows = np.c_[codes, np.ones(len(codes))]
    penalty = np.diag([*np.full(codes.shape[1], strength), 1e-9])
    weights = np.zeros(rows.shape[1])

    def loss(at: Float) -> float:
        scores = rows @ at
        return float(np.logaddexp(0.0, scores).sum() - classes @ scores + 0.5 * at @ penalty @ at)

    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-(rows @ weights)))
        gradient = rows.T @ (chance - classes) + penalty @ weights
        hessian = (rows * (chance * (1.0 - chance))[:, None]).T @ rows + penalty + 1e-9 * np.eye(len(weights))
        move, length = np.linalg.solve(hessian, gradient), 1.0
        while length > 1e-6 and loss(weights - length * move) > loss(weights):
            length /= 2
        weights = weights - length * move
        if np.abs(length * move).max() < 1e-9:
            break
    return np.asarray(weights[:-1])
