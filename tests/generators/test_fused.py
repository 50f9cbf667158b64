from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from faceloom.generators import backends, ops
from faceloom.generators.backends import use_backend
from faceloom.generators.derived import derived, forget
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config
from faceloom.parallel import in_parallel, pieces_of
from faceloom.settings import BackendName

pytest.importorskip("numba")
from faceloom.generators.fused import image, layer, products, same, sizes, threads, tiles, vectors

KERNEL = ops.fir_kernel()
PATIENT = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def gradients(tensors: list[Tensor]) -> list[Tensor]:
    found = [tensor.grad.double() for tensor in tensors if tensor.grad is not None]
    assert len(found) == len(tensors)
    return found


def assert_same(found: list[Tensor], wanted: list[Tensor], tolerance: float = 2e-5) -> None:
    """Close, in units of the largest value: sums of hundreds of float32 numbers have no smaller ones."""
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        gap = (one - other).detach().abs().max()
        assert float(gap) <= tolerance * max(float(other.detach().abs().max()), 1.0)


@PATIENT
@given(
    count=st.integers(1, 3),
    inputs=st.integers(1, 25),
    outputs=st.integers(1, 25),
    height=st.integers(1, 21),
    width=st.integers(1, 21),
    up=st.booleans(),
    noise=st.sampled_from(["none", "shared", "own"]),
    seed=st.integers(0, 99),
)
def test_layers_of_any_shape_agree_with_float64(
    count: int, inputs: int, outputs: int, height: int, width: int, up: bool, noise: str, seed: int
) -> None:
    torch.manual_seed(seed)
    x, styles = torch.randn(count, inputs, height, width), torch.randn(count, inputs)
    weight, bias, factor = torch.randn(outputs, inputs, 3, 3), torch.randn(outputs), 2 if up else 1
    grain = torch.randn(1 if noise == "shared" else count, 1, factor * height, factor * width)
    given = [x, styles, bias, weight] + ([] if noise == "none" else [grain])
    mine, exact = leaves(*given), leaves(*(tensor.double() for tensor in given))

    def draw(function: object, tensors: list[Tensor], kernel: Tensor) -> Tensor:
        assert callable(function)
        a, b, c, filters, *rest = tensors
        result: Tensor = function(a, filters, b, rest[0] if rest else None, c, up_kernel=kernel if up else None)
        return result

    found = draw(layer.styled_convolution, mine, KERNEL)
    wanted = draw(ops.styled_convolution, exact, KERNEL.double())
    assert_same([found.double()], [wanted])
    assert_same([draw(layer.styled_convolution, given, KERNEL).double()], [wanted])  # without gradients
    # Where float32 lands on the other side of the kink of the leaky ReLU, gradients differ for a reason.
    direction = torch.randn_like(found) * (wanted.abs() > 1e-3)
    found.backward(direction)  # type: ignore[no-untyped-call]
    wanted.backward(direction.double())  # type: ignore[no-untyped-call]
    # What comes through the demodulation all but cancels where there are few inputs.
    assert_same(gradients(mine), gradients(exact), tolerance=5e-5)


@PATIENT
@given(count=st.integers(1, 3), inputs=st.integers(1, 20), half=st.integers(1, 12), clamp=st.sampled_from([None, 0.5]))
def test_images_of_any_shape_agree_with_float64(count: int, inputs: int, half: int, clamp: float | None) -> None:
    torch.manual_seed(inputs)
    given = [torch.randn(count, inputs, 2 * half, 2 * half), torch.randn(count, inputs), torch.randn(3)]
    given += [torch.randn(count, 3, half, half)]
    weight = torch.randn(3, inputs, 1, 1)
    mine, exact = leaves(*given), leaves(*(tensor.double() for tensor in given))
    found = image.to_rgb(mine[0], weight, *mine[1:3], clamp=clamp, before=mine[3], kernel=KERNEL)
    wanted = ops.to_rgb(exact[0], weight.double(), *exact[1:3], clamp=clamp, before=exact[3], kernel=KERNEL.double())
    assert_same([found.double()], [wanted])
    direction = torch.randn_like(found)
    found.backward(direction)  # type: ignore[no-untyped-call]
    wanted.backward(direction.double())  # type: ignore[no-untyped-call]
    assert_same(
        [leaf.grad.double() for leaf in mine if leaf.grad is not None],
        [leaf.grad for leaf in exact if leaf.grad is not None],
    )
    with torch.no_grad():
        at_once = image.to_rgb(mine[0], weight, *mine[1:3], clamp=clamp, before=mine[3], kernel=KERNEL)
    assert_same([at_once], [found.detach()])


@PATIENT
@given(
    count=st.integers(1, 3),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    clamp=st.sampled_from([None, 0.5]),
    first=st.booleans(),
)
def test_images_drawn_at_once_agree_with_float64(
    count: int, inputs: int, outputs: int, height: int, width: int, clamp: float | None, first: bool
) -> None:
    torch.manual_seed(inputs)
    x, styles, bias = (
        torch.randn(count, inputs, 2 * height, 2 * width),
        torch.randn(count, inputs),
        torch.randn(outputs),
    )
    weight, noise = torch.randn(outputs, inputs, 3, 3), torch.randn(1, 1, 2 * height, 2 * width)
    before = None if first else torch.randn(count, 3, height, width)
    painting = ops.Painting(
        torch.randn(3, outputs, 1, 1), torch.randn(count, outputs), torch.randn(3), clamp, before, KERNEL
    )
    exact = ops.Painting(*(value.double() if isinstance(value, Tensor) else value for value in painting))  # type: ignore[arg-type]
    given = [x, weight, styles, noise, bias]
    wanted = ops.styled_convolution(*(tensor.double() for tensor in given), clamp=clamp, painting=exact)
    x = x.transpose(2, 3).contiguous().transpose(2, 3)
    found = layer.styled_convolution(x, *given[1:], clamp=clamp, painting=painting)
    assert_same([found.double()], [wanted])
    # With gradients, the maps are made first.
    leaf = x.clone().requires_grad_()
    assert_same([layer.styled_convolution(leaf, *given[1:], clamp=clamp, painting=painting)], [found])


@pytest.mark.parametrize("up", [False, True])
def test_clamping_stops_values_and_gradients(up: bool) -> None:
    torch.manual_seed(3)
    x, styles, bias = torch.randn(1, 9, 8, 8), torch.randn(1, 9), torch.randn(11)
    weight, kernel = torch.randn(11, 9, 3, 3), KERNEL if up else None
    mine, exact = leaves(x, styles, bias), leaves(x, styles, bias)
    found = layer.styled_convolution(mine[0], weight, mine[1], None, mine[2], clamp=0.7, up_kernel=kernel)
    wanted = ops.styled_convolution(exact[0], weight, exact[1], None, exact[2], clamp=0.7, up_kernel=kernel)
    assert bool((found.abs() == 0.7).any())
    assert_same([found], [wanted])
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    wanted.square().sum().backward()  # type: ignore[no-untyped-call]
    assert_same(
        [leaf.grad for leaf in mine if leaf.grad is not None], [leaf.grad for leaf in exact if leaf.grad is not None]
    )


def make(architecture: Architecture = "skip", clamp: float | None = None) -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        64, (20, 24, 16, 16, 8), z_dim=6, w_dim=7, mapping_layers=2, architecture=architecture, conv_clamp=clamp
    )
    generator = StyleGAN2(config)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.3)
    return generator.requires_grad_(False)


@pytest.mark.parametrize("up", [False, True])
def test_strength_of_noise_has_gradients(up: bool) -> None:
    torch.manual_seed(4)
    given = [torch.randn(2, 9, 8, 8), torch.randn(2, 9), torch.randn(8), torch.tensor(0.7)]
    weight, noise = torch.randn(8, 9, 3, 3), torch.randn(2, 1, 16 if up else 8, 16 if up else 8)
    mine, exact = leaves(*given), leaves(*(tensor.double() for tensor in given))
    for function, (x, styles, bias, strength), precision in (
        (layer.styled_convolution, mine, torch.float32),
        (ops.styled_convolution, exact, torch.float64),
    ):
        kernel = KERNEL.to(precision) if up else None
        y = function(
            x, weight.to(precision), styles, noise.to(precision), bias, strength=strength, gain=1.3, up_kernel=kernel
        )
        y.square().mean().backward()  # type: ignore[no-untyped-call]
    assert_same(gradients(mine), gradients(exact))


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(("threads_", "held"), [(1, 1), (2, 1), (3, 1 << 30)])
def test_blocks_and_bands_of_any_size_draw_the_same(
    monkeypatch: pytest.MonkeyPatch, threads_: int, held: int, up: bool
) -> None:
    torch.manual_seed(5)
    scale, kernel = (2, KERNEL) if up else (1, None)
    given = [torch.randn(1, 8, 23, 52), torch.randn(8, 8, 3, 3), torch.randn(1, 8)]
    given += [torch.randn(1, 1, 23 * scale, 52 * scale), torch.randn(8)]
    mine, exact = leaves(*given), leaves(*(tensor.double() for tensor in given))
    wanted = ops.styled_convolution(*exact, strength=0.4, up_kernel=None if kernel is None else kernel.double())
    direction = torch.randn_like(given[0][:, :1]).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_WORTH_WAKING", 1)
    for name in ("_LEAST_BLOCK", "_MOST_BLOCK", "_LEAST_HELD", "_BAND"):
        monkeypatch.setattr(sizes, name, held)
    monkeypatch.setattr(sizes, "_STREAMED", held)
    torch.set_num_threads(threads_)
    try:
        found = layer.styled_convolution(*mine, strength=0.4, up_kernel=kernel)
        (found * direction).sum().backward()  # type: ignore[no-untyped-call]
    finally:
        torch.set_num_threads(before)
    (wanted * direction).sum().backward()  # type: ignore[no-untyped-call]
    assert_same([found.double()], [wanted])
    assert_same(gradients(mine), gradients(exact), tolerance=1e-4)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("architecture", "clamp"), [("skip", None), ("skip", 0.6), ("resnet", None), ("orig", None)])
def test_both_back_ends_draw_the_same(architecture: Architecture, clamp: float | None, count: int) -> None:
    generator = make(architecture, clamp)
    ws = generator.map(torch.randn(count, 6))
    exact = copy.deepcopy(generator).double().synthesize(ws.double())
    names: tuple[BackendName, ...] = ("plain", "fused")
    for name in names:
        with use_backend(name):
            images = generator.synthesize(ws)
        assert images.shape == exact.shape
        assert float((images - exact).abs().max()) < 1e-4


def test_gradients_of_codes_and_noise_agree_with_float64() -> None:
    generator = make()
    exact = copy.deepcopy(generator).double()
    ws = generator.map(torch.randn(2, 6))
    direction = torch.randn(2, 3, 64, 64)
    found = []
    for one, codes in ((generator, ws.clone()), (exact, ws.double())):
        maps = [buffer.requires_grad_() for name, buffer in one.named_buffers() if name.endswith(".noise")]
        with use_backend("fused"):
            (one.synthesize(codes.requires_grad_()) * direction).sum().backward()  # type: ignore[no-untyped-call]
        found.append([codes.grad, *(one_map.grad for one_map in maps)])
    assert len(found[0]) == 10
    for mine, wanted in zip(*found, strict=True):
        assert mine is not None
        assert wanted is not None
        assert float((mine - wanted).abs().mean()) < 1e-4 * float(wanted.abs().mean())


def test_gradients_of_filters_agree_with_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_LEAST_PIXELS", 0)
    generator = make()
    exact = copy.deepcopy(generator).double()
    ws, direction = generator.map(torch.randn(2, 6)), torch.randn(2, 3, 64, 64)
    found = []
    for one, codes in ((generator, ws), (exact, ws.double())):
        filters = [parameter.requires_grad_() for parameter in one.parameters() if parameter.ndim == 4]
        with use_backend("fused"):
            (one.synthesize(codes) * direction).sum().backward()  # type: ignore[no-untyped-call]
        found.append([one_filter.grad for one_filter in filters])
    assert len(found[0]) == 15
    for mine, wanted in zip(*found, strict=True):
        assert mine is not None
        assert wanted is not None
        assert float((mine - wanted).abs().mean()) < 1e-4 * float(wanted.abs().mean())


def test_filters_that_change_are_drawn_plainly_where_that_is_faster() -> None:
    weight = torch.zeros(128, 128, 3, 3, requires_grad=True)
    with use_backend("fused"):
        for size, fuses in ((16, False), (64, True)):
            draw = backends.styled_convolution(torch.zeros(1, 128, size, size), weight, 4)
            assert draw is (layer.styled_convolution if fuses else ops.styled_convolution)
        with torch.no_grad():
            assert backends.styled_convolution(torch.zeros(1, 128, 16, 16), weight, 4) is layer.styled_convolution
        single = torch.zeros(3, 128, 1, 1, requires_grad=True)  # of which there is one form only
        assert backends.to_rgb(torch.zeros(1, 128, 16, 16), single, 4) is image.to_rgb


def test_written_weights_are_seen() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    with use_backend("fused"):
        before = generator.synthesize(ws)
        generator._blocks[-1].conv.weight.mul_(torch.randn(8, 8, 3, 3))
        after = generator.synthesize(ws)
    with use_backend("plain"):
        assert torch.allclose(after, generator.synthesize(ws), atol=1e-4)
    assert not torch.allclose(before, after, atol=1e-2)


def test_what_follows_from_a_weight_is_made_once_and_dropped_with_it() -> None:
    forget()
    calls = []
    weight = torch.ones(3)

    def twice(plain: Tensor) -> Tensor:
        calls.append(1)
        return plain * 2

    assert derived(weight, "twice", twice) is derived(weight, "twice", twice)
    weight += 1
    assert torch.equal(derived(weight, "twice", twice), torch.full((3,), 4.0))
    assert len(calls) == 2
    wanting = weight.clone().requires_grad_()
    assert derived(wanting, "twice", twice).requires_grad


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH_WAKING", 1)
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    before = torch.get_num_threads()
    try:
        images = []
        for number in (1, 3):
            torch.set_num_threads(number)
            with use_backend("fused"):
                images.append(
                    generator.features(4, torch.ones(1, 16, 32, 32), generator.by_block(generator.styles(ws))[4][0])
                )
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*images)


def test_every_piece_is_done_once_and_errors_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for split in (pieces_of, lambda count, grain: threads.even_pieces(count, grain, 3)):
            for count, grain in ((100, 7), (100, 20), (42, 7), (5, 100), (2, 1), (0, 4)):
                pieces, done, numbers = split(count, grain), torch.zeros(count), torch.zeros(count + 1)

                def task(number: int, first: int, last: int, done: Any = done, numbers: Any = numbers) -> None:
                    done[first:last] += 1
                    numbers[number] += 1

                in_parallel(task, pieces, 3)
                assert torch.equal(done, torch.ones(count))
                assert torch.equal(numbers[: len(pieces)], torch.ones(len(pieces)))
        # Two rounds of three, and what is left for each.
        assert threads.even_pieces(100, 12, 3)[6:] == [(72, 82), (82, 92), (92, 100)]

        def broken(number: int, first: int, last: int) -> None:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            in_parallel(broken, pieces_of(10, 1), 3)
    finally:
        torch.set_num_threads(before)
    assert threads.workspace(1000) % 64 == 0


def test_threads_wake_for_work_that_is_worth_it() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert [threads.useful_threads(work) for work in (0, 1e6, 3e7, 1e9)] == [1, 1, 2, 3]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("rows", range(1, 21))
def test_products_of_any_number_of_rows_agree_with_float64(rows: int) -> None:
    torch.manual_seed(rows)
    a, b = torch.randn(rows, 40), torch.randn(40, 16)
    c = torch.full((rows + 1, 16), 7.0)
    products.multiply_panel(a.data_ptr(), 4 * 40, b.data_ptr(), rows, 40, c.data_ptr(), 4 * 16)
    assert_same([c[:rows].double()], [a.double() @ b.double()])
    assert torch.equal(c[rows], torch.full((16,), 7.0))


@PATIENT
@given(
    count=st.integers(1, 2),
    inputs=st.sampled_from([8, 24, 64, 70]),
    outputs=st.sampled_from([1, 4, 12, 64]),
    seed=st.integers(0, 99),
)
def test_products_with_a_vector_agree_with_float64(
    monkeypatch: pytest.MonkeyPatch, count: int, inputs: int, outputs: int, seed: int
) -> None:
    monkeypatch.setattr(vectors, "_LEAST", 0)
    torch.manual_seed(seed)
    x, weight, bias = torch.randn(count, 3, inputs)[:, 1], torch.randn(outputs, inputs), torch.randn(outputs, 2)[:, 1]
    found = vectors.linear(x, weight, bias, gain=0.3, bias_gain=1.7)
    assert_same([found.double()], [0.3 * x.double() @ weight.double().t() + 1.7 * bias.double()])
    filters = torch.randn(outputs, inputs, 3, 3)
    factors, scaled = vectors.demodulation(filters, x, bias, 0.7)
    wanted = 0.7 * ops.demodulation(filters.double(), x.double()), 0.7 * bias.double()
    assert_same([factors.double(), scaled.double()], list(wanted), tolerance=1e-6)


@pytest.mark.parametrize("wrong", [torch.randn(1, 63), torch.randn(1, 72), torch.randn(1, 64).double()])
def test_vectors_that_do_not_fit_are_refused(wrong: Tensor) -> None:
    weight, bias = torch.randn(512, 64), torch.randn(512)
    with pytest.raises(RuntimeError):
        vectors.linear(wrong, weight, bias)
    with pytest.raises(RuntimeError):
        vectors.demodulation(weight.reshape(512, 64, 1, 1), wrong, bias, 1.0)


def test_a_vector_is_multiplied_by_compiled_code_where_nobody_wants_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(vectors, "multiply_vector", lambda *given: calls.append(1))
    x, weight = torch.randn(1, 256), torch.randn(128, 256)
    with use_backend("fused"):
        backends.linear(x, weight)(x, weight, torch.zeros(128))
        assert calls == [1]
        for others, matrix in ((x, weight.requires_grad_()), (torch.randn(2, 256), weight.detach())):
            given = backends.linear(others, matrix)(others, matrix, torch.zeros(128))
            assert calls == [1]
            assert torch.allclose(given, others @ matrix.t(), atol=1e-4)
    with use_backend("plain"):
        assert backends.linear(x, weight.detach()) is ops.linear


def test_what_was_compiled_from_other_sources_is_not_used() -> None:
    functions: list[Any] = [same.convolve_same, tiles.six_points]
    files = [function._cache._cache_file for function in functions]
    assert files[0]._source_stamp == files[1]._source_stamp != b""
    layer.styled_convolution(torch.randn(1, 8, 20, 20), torch.randn(8, 8, 3, 3), torch.ones(1, 8), None, torch.zeros(8))
    assert files[0]._load_index() != {}
    before, files[0]._source_stamp = files[0]._source_stamp, b"of an older version"
    try:
        assert files[0]._load_index() == {}
    finally:
        files[0]._source_stamp = before
