"""How close a reconstruction is to its original: pixel error, structure, and frozen features.

All functions take two batches of images of one shape, (N, 3, H, W), RGB in [-1, 1], and give one value for each pair.
They are differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.encoders.features import EfficientNetFeatures, squared_distances, unit_features
from faceloom.errors import UsageError

_RANGE = 2.0
_WINDOW = 11
_WINDOW_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Wang et al., 2003, section 4.1: how much each scale counts, from the finest."""


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio.

    Returns:
        (N,) in decibels: 20 is visibly different, 30 good, 40 hardly to be told apart; infinite for equal pictures.

    Raises:
        UsageError: the shapes differ.
    """
    _check(images, originals)
    error = (images - originals).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(_RANGE**2 / error)


def ssim(images: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004, https://doi.org/10.1109/TIP.2003.819861, section III).

    Gaussian windows of 11 pixels (deviation 1.5) that lie wholly inside, K1 = 0.01, K2 = 0.03, mean over channels.

    Returns:
        (N,) at most 1, which only equal pictures reach.

    Raises:
        UsageError: the shapes differ, or a side is under 11 pixels.
    """
    _check(images, originals, _WINDOW)
    return _similarity(images, originals)[0].mean(dim=1)


def ms_ssim(images: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity at five scales (Wang et al., 2003, https://doi.org/10.1109/ACSSC.2003.1292216).

    Returns:
        (N,) from 0 to 1; a scale that does not correlate at all counts as 0.

    Raises:
        UsageError: the shapes differ, or a side is under 176 pixels.
    """
    _check(images, originals, _WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1))
    product = torch.ones_like(images[:, :, 0, 0])
    for index, weight in enumerate(_SCALE_WEIGHTS):
        if index:
            images, originals = functional.avg_pool2d(images, 2), functional.avg_pool2d(originals, 2)
        whole, contrast = _similarity(images, originals)
        factor = whole if index == len(_SCALE_WEIGHTS) - 1 else contrast
        product = product * functional.relu(factor) ** weight
    return product.mean(dim=1)


def perceptual_distance(images: Tensor, originals: Tensor, features: EfficientNetFeatures) -> Tensor:
    """Distance in frozen features, after Zhang et al., 2018 (https://arxiv.org/abs/1801.03924, equation 1).

    Each pixel of each feature map is scaled to length 1; squared differences are summed over channels and averaged
    over pixels and stages. Without learned weights and with another network, so not comparable with published LPIPS.

    Args:
        images: (N, 3, H, W), RGB in [-1, 1].
        originals: of the same shape.
        features: made with the stages to compare.

    Returns:
        (N,) from 0 to 4; 0 for equal pictures.

    Raises:
        UsageError: the shapes differ.
    """
    _check(images, originals)
    pairs = squared_distances(unit_features(features(images)), unit_features(features(originals)))
    return torch.stack([one.mean(dim=(1, 2, 3)) for one in pairs]).mean(dim=0)


def _similarity(images: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
    """Mean structural similarity and mean contrast-structure term, each (N, C)."""
    luminance_floor, contrast_floor = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    # Luminance is meant for values from 0 up.
    first, second = images + 1, originals + 1
    mean_1, mean_2 = _blur(first), _blur(second)
    # Moments around a constant near the mean: squares of large values would lose digits in float32.
    variance_1 = _blur(images.square()) - (mean_1 - 1).square()
    variance_2 = _blur(originals.square()) - (mean_2 - 1).square()
    covariance = _blur(images * originals) - (mean_1 - 1) * (mean_2 - 1)
    contrast = (2 * covariance + contrast_floor) / (variance_1 + variance_2 + contrast_floor)
    luminance = (2 * mean_1 * mean_2 + luminance_floor) / (mean_1.square() + mean_2.square() + luminance_floor)
    return (luminance * contrast).mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _blur(images: Tensor) -> Tensor:
    steps = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = torch.exp(-steps.square() / (2 * _WINDOW_SIGMA**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, _WINDOW)
    across = functional.conv2d(images, weights, groups=images.shape[1])
    return functional.conv2d(across, weights.transpose(2, 3), groups=images.shape[1])


def _check(images: Tensor, originals: Tensor, least: int = 1) -> None:
    if images.shape != originals.shape or images.ndim != 4:
        shapes = f"{tuple(images.shape)} and {tuple(originals.shape)}"
        raise UsageError(f"Only images of one shape (N, 3, H, W) can be compared, not {shapes}; resize one of them.")
    if min(images.shape[-2:]) < least:
        raise UsageError(f"This measure needs images of {least} pixels or more, not {tuple(images.shape[-2:])}.")
