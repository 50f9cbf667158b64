from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from faceloom.imaging.convert import to_images, to_pixels
from faceloom.types import Pixels

sides = st.integers(1, 9)
pictures = st.tuples(sides, sides, st.just(3)).flatmap(lambda shape: arrays.arrays(np.uint8, shape))
batches = st.tuples(sides, sides, sides, st.just(3)).flatmap(lambda shape: arrays.arrays(np.uint8, shape))


def test_every_level_survives() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    images = to_images(pixels)
    assert images.shape == (1, 3, 16, 16)
    assert images.dtype is torch.float32
    assert images.min() == -1
    assert images.max() == 1
    np.testing.assert_array_equal(to_pixels(images), pixels[None])


@given(batches)
def test_batch_round_trip(pixels: Pixels) -> None:
    np.testing.assert_array_equal(to_pixels(to_images(pixels)), pixels)


@given(pictures)
def test_single_round_trip(pixels: Pixels) -> None:
    pixels.flags.writeable = False
    images = to_images(pixels)
    assert images.shape == (1, 3, *pixels.shape[:2])
    np.testing.assert_array_equal(to_pixels(images[0]), pixels)


def test_channels_are_rgb() -> None:
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    assert to_images(red)[0, :, 0, 0].tolist() == [1, -1, -1]


def test_values_are_rounded_and_clipped() -> None:
    images = torch.tensor([-9.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 9.0]).reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_formats(dtype: torch.dtype) -> None:
    images = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1).to(dtype)
    assert to_pixels(images).ravel().tolist() == [0, 128, 255]


def test_images_that_need_gradients() -> None:
    assert to_pixels(torch.zeros(3, 2, 2, requires_grad=True)).shape == (2, 2, 3)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (1, 4, 4, 1), (3, 4, 4)])
def test_other_shapes_of_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        to_images(np.zeros(shape, np.uint8))


def test_float_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        to_images(np.zeros((4, 4, 3)))  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [torch.zeros(4, 4), torch.zeros(1, 4, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int)])
def test_other_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        to_pixels(images)
