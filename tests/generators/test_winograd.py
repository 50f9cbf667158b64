from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from faceloom.generators import ops, winograd

KERNEL = ops.fir_kernel()


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 3),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    strip=st.sampled_from([1, 40_000, 1 << 30]),
    seed=st.integers(0, 99),
)
def test_any_shape_agrees_with_float64(
    count: int, inputs: int, outputs: int, height: int, width: int, strip: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x, weight = torch.randn(count, inputs, height, width), torch.randn(outputs, inputs, 3, 3)
    mine, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_STRIP", strip)
        found = winograd.convolve(mine, weight)
    wanted = F.conv2d(exact, weight.double(), padding=1)
    assert found.shape == wanted.shape
    scale = float(wanted.detach().abs().max()) + 1.0
    assert float((found - wanted).detach().abs().max()) <= 1e-5 * scale
    push = torch.randn_like(found)
    found.backward(push)  # type: ignore[no-untyped-call]
    wanted.backward(push.double())  # type: ignore[no-untyped-call]
    assert mine.grad is not None
    assert exact.grad is not None
    assert float((mine.grad - exact.grad).abs().max()) <= 1e-5 * (float(exact.grad.abs().max()) + 1.0)


@pytest.mark.parametrize("count", [1, 2])
def test_wide_layers_use_it_and_agree_with_float64(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, styles = torch.randn(count, 256, 17, 18), torch.randn(count, 256)
    weight, bias, noise = torch.randn(256, 256, 3, 3), torch.randn(256), torch.randn(1, 1, 17, 18)
    calls: list[Tensor] = []
    convolve = winograd.convolve

    def noted(x: Tensor, weight: Tensor) -> Tensor:
        calls.append(weight)
        return convolve(x, weight)

    monkeypatch.setattr(winograd, "convolve", noted)
    found = ops.styled_convolution(x, weight, styles, noise, bias)
    assert len(calls) == 1
    wanted = ops.styled_convolution(x.double(), weight.double(), styles.double(), noise.double(), bias.double())
    assert len(calls) == 1
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_where_it_does_not_pay() -> None:
    wide = torch.randn(256, 256, 3, 3)
    assert winograd.pays(torch.randn(1, 256, 16, 16), wide)
    assert not winograd.pays(torch.randn(1, 256, 8, 8), wide)
    assert not winograd.pays(torch.randn(1, 128, 16, 16), torch.randn(256, 128, 3, 3))
    assert not winograd.pays(torch.randn(1, 256, 16, 16), torch.randn(256, 256, 1, 1))
    assert not winograd.pays(torch.randn(1, 256, 16, 16).double(), wide.double())
    assert not winograd.pays(torch.randn(1, 256, 16, 16), wide.clone().requires_grad_())


def test_layers_that_double_the_size_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "convolve", pytest.fail)
    x, weight = torch.randn(1, 256, 16, 16), torch.randn(256, 256, 3, 3)
    found = ops.styled_convolution(x, weight, torch.ones(1, 256), None, torch.zeros(256), up_kernel=KERNEL)
    assert found.shape == (1, 256, 32, 32)
