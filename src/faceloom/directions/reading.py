"""Reading attributes from pictures, with gradients: ridge heads on the frozen features of natural images.

The judges of `faceloom.metrics` measure what an edit does; whoever shapes a direction must look through other eyes, or
he fools them. These heads share neither network nor training data with any judge, nor with the encoder's probes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from faceloom.directions.regression import MIN_LABELS
from faceloom.encoders.features import EfficientNetFeatures
from faceloom.errors import DirectionError

Float = NDArray[np.float64]
Features = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S) to vectors (N, F), differentiable."""

RIDGE = 0.5
"""In units of the features' mean variance per face; chosen among 0.03, 0.1, 0.3, 1 and 3 by faces left out."""
HELD_OUT_ONE_IN = 5
_GRIDS = {3: 4, 4: 4, 5: 2}
_BATCH = 32


class PlacedFeatures(nn.Module):
    """EfficientNet-Lite0's maps, averaged over the cells of a coarse grid: what is where, in about 5,000 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = EfficientNetFeatures(tuple(_GRIDS), pooled=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S), RGB in [-1, 1], to (N, F)."""
        maps = self.net(images)
        parts = [functional.adaptive_avg_pool2d(one, _GRIDS[stage]) for stage, one in zip(_GRIDS, maps, strict=True)]
        return torch.cat([part.flatten(1) for part in parts], dim=1)


class PictureReader:
    """Reads attributes from pictures.

    Attributes:
        names: of the attributes, A.
        explained: share of each attribute's variance that is read right on faces left out of the fit.
    """

    def __init__(
        self, features: Features, weights: Tensor, offsets: Tensor, names: tuple[str, ...], explained: tuple[float, ...]
    ) -> None:
        """Put one together.

        Args:
            features: of pictures.
            weights: (F, A).
            offsets: (A,).
            names: A.
            explained: A.
        """
        self._features, self._weights, self._offsets = features, weights, offsets
        self.names, self.explained = names, explained

    def read(self, images: Tensor) -> Tensor:
        """Images (N, 3, S, S) in [-1, 1] to attributes (N, A), in standard deviations of what is read from faces."""
        return self._features(images) @ self._weights + self._offsets

    @classmethod
    def fit(cls, features: Features, images: Callable[[slice], Tensor], values: Mapping[str, Float]) -> PictureReader:
        """Fit the heads.

        Args:
            features: of pictures.
            images: gives the faces of a slice of all.
            values: by name, (N,) in any unit; NaN where there is no label.

        Raises:
            DirectionError: if an attribute has too few labels, or they are all alike.
        """
        count = len(next(iter(values.values())))
        with torch.no_grad():
            slices = [slice(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]
            found = torch.cat([features(images(part).clamp(-1.0, 1.0)) for part in slices]).double().numpy()
        mean, scale = found.mean(axis=0), found.std(axis=0) + 1e-6
        table = (found - mean) / scale
        columns, offsets, explained = [], [], []
        for name, labels in values.items():
            weights, share = _head(table, labels, name)
            read = table @ weights
            spread = max(1e-6, float(read.std()))
            columns.append(weights / spread / scale)
            offsets.append(-float((mean / scale) @ weights + read.mean()) / spread)
            explained.append(share)
        heads = torch.from_numpy(np.stack(columns, axis=1)).float()
        return cls(features, heads, torch.tensor(offsets), tuple(values), tuple(explained))


def _head(table: Float, labels: Float, name: str) -> tuple[Float, float]:
    """Weights (F,) of standardised features, and the share of variance explained on faces left out."""
    known = np.flatnonzero(np.isfinite(labels))
    if len(known) < MIN_LABELS:
        raise DirectionError(f"{name!r} has {len(known)} labels; {MIN_LABELS} are needed")
    wanted = labels[known] - labels[known].mean()
    if not wanted.any():
        raise DirectionError(f"all labels of {name!r} are alike: there is nothing to learn from")
    wanted = wanted / wanted.std()
    rows = table[known]
    out = np.arange(len(known)) % HELD_OUT_ONE_IN == 0
    trial = _ridge(rows[~out], wanted[~out])
    explained = 1.0 - float(np.square(wanted[out] - rows[out] @ trial).sum() / np.square(wanted[out]).sum())
    return _ridge(rows, wanted), explained


def _ridge(rows: Float, wanted: Float) -> Float:
    """Weights (F,) in closed form, by way of the faces, which are fewer than the features."""
    strength = RIDGE * rows.shape[1]
    inner = rows @ rows.T
    weights: Float = rows.T @ np.linalg.solve(inner + strength * np.eye(len(rows)), wanted)
    return weights
