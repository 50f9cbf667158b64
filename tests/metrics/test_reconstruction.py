"""Pixel error, structure and perceptual distance, against known values and float64 references."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from faceloom.encoders.features import EfficientNetFeatures
from faceloom.errors import UsageError
from faceloom.metrics.reconstruction import ms_ssim, perceptual_distance, psnr, ssim

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def pair(size: int, noise: float = 0.1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 12, 12, generator=generator) * 1.6 - 0.8
    originals = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1)
    images = (originals * 0.9 + noise * torch.randn(originals.shape, generator=generator)).clamp(-1, 1)
    return images, originals


def reference_terms(image: NDArray[np.float64], original: NDArray[np.float64]) -> tuple[float, float]:
    """SSIM and its contrast-structure term of one channel in 0..255, in float64."""

    def blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
        filtered: NDArray[np.float64] = gaussian_filter(values, 1.5, truncate=3.5)[5:-5, 5:-5]
        return filtered

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mu_x, mu_y = blur(image), blur(original)
    xx, yy, xy = blur(image**2) - mu_x**2, blur(original**2) - mu_y**2, blur(image * original) - mu_x * mu_y
    contrast = (2 * xy + c2) / (xx + yy + c2)
    return float(((2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1) * contrast).mean()), float(contrast.mean())


def reference_ms(image: NDArray[np.float64], original: NDArray[np.float64]) -> float:
    product = 1.0
    for index, weight in enumerate(WEIGHTS):
        whole, contrast = reference_terms(image, original)
        product *= max(0.0, whole if index == 4 else contrast) ** weight
        height, width = (side // 2 for side in image.shape)
        image, original = (
            a[: height * 2, : width * 2].reshape(height, 2, width, 2).mean(axis=(1, 3)) for a in (image, original)
        )
    return product


def bytes_of(images: torch.Tensor) -> NDArray[np.float64]:
    return (images.double().numpy() + 1) * 127.5


@given(st.floats(0.001, 1.0))
def test_psnr_of_a_constant_error(error: float) -> None:
    originals = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    expected = 20 * math.log10(2 / error)
    assert psnr(originals + error, originals).tolist() == pytest.approx([expected] * 2)


def test_psnr_of_equal_images_is_infinite() -> None:
    images, _ = pair(32)
    assert torch.isinf(psnr(images, images)).all()


def test_ssim_agrees_with_a_float64_reference() -> None:
    images, originals = pair(64)
    first, second = bytes_of(images), bytes_of(originals)
    expected = [np.mean([reference_terms(first[n, c], second[n, c])[0] for c in range(3)]) for n in range(2)]
    assert ssim(images, originals).tolist() == pytest.approx(expected, abs=1e-4)
    assert ssim(images.double(), originals.double()).tolist() == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_agrees_with_a_float64_reference() -> None:
    images, originals = pair(180)
    first, second = bytes_of(images), bytes_of(originals)
    expected = [np.mean([reference_ms(first[n, c], second[n, c]) for c in range(3)]) for n in range(2)]
    assert 0.2 < expected[0] < 0.99
    assert ms_ssim(images, originals).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_structure_falls_with_noise_and_is_symmetric(measure: Measure) -> None:
    values = []
    for noise in (0.0, 0.05, 0.2):
        images, originals = pair(176, noise)
        values.append(measure(images, originals)[0].item())
        assert measure(originals, images)[0].item() == pytest.approx(values[-1], abs=1e-5)
    assert 1 > values[0] > values[1] > values[2] > 0
    assert measure(originals, originals).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_inverted_images_have_no_structure_in_common() -> None:
    _, originals = pair(176)
    assert ssim(-originals, originals).max() < 0
    assert ms_ssim(-originals, originals).tolist() == [0, 0]


def test_perceptual_distance() -> None:
    features = EfficientNetFeatures((2, 3, 4))
    _, originals = pair(64)
    distances = [perceptual_distance(pair(64, noise)[0], originals, features) for noise in (0.02, 0.1, 0.4)]
    assert (distances[0] > 0).all()
    assert (distances[0] < distances[1]).all()
    assert (distances[1] < distances[2]).all()
    assert (distances[2] < 4).all()
    assert perceptual_distance(originals, originals, features).tolist() == [0, 0]


@pytest.mark.parametrize("equal", [True, False])
def test_gradients_are_finite(equal: bool) -> None:
    features = EfficientNetFeatures((1, 2))
    images, originals = pair(176)
    images = (originals if equal else images).clone().requires_grad_()
    loss = perceptual_distance(images, originals, features) - ssim(images, originals) - ms_ssim(images, originals)
    (gradient,) = torch.autograd.grad(loss.sum(), images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0 or equal


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
def test_other_shapes_are_refused(measure: Measure) -> None:
    with pytest.raises(UsageError, match="one shape"):
        measure(torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 255))


def test_small_images_are_refused() -> None:
    with pytest.raises(UsageError, match="11 pixels"):
        ssim(torch.zeros(1, 3, 10, 64), torch.zeros(1, 3, 10, 64))
    with pytest.raises(UsageError, match="176 pixels"):
        ms_ssim(torch.zeros(1, 3, 175, 256), torch.zeros(1, 3, 175, 256))
