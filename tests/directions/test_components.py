from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom import load_generator
from faceloom.directions.components import (
    Covariance,
    check_layers,
    closed_form_directions,
    principal_directions,
    sample_codes,
    style_matrix,
)
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.protocol import Generator
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config


@pytest.fixture(params=["tiny", "golden"])
def generator(request: pytest.FixtureRequest) -> Generator:
    if request.param == "golden":
        shared: Path = request.getfixturevalue("shared_folder")
        return load_generator(shared / "golden" / "stylegan2ada_skip_32.pkl")
    torch.manual_seed(3)
    return StyleGAN2(StyleGAN2Config(16, (8, 6, 5), z_dim=12, w_dim=12, mapping_layers=2)).eval().requires_grad_(False)


def test_components_agree_with_a_float64_reference(generator: Generator) -> None:
    found = principal_directions(generator, count=6, samples=2500, seed=4)
    codes = sample_codes(generator, 2500, 4).double().numpy()
    _, scales, rows = np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)
    for number, direction in enumerate(found):
        reference = rows[number] * scales[number] / np.sqrt(len(codes) - 1)
        vector = direction.vector[0].double().numpy()
        sign = np.sign(vector @ reference)
        scale = np.abs(reference).max()
        assert np.abs(vector - sign * reference).max() <= 1e-4 * scale
        assert torch.equal(direction.vector, direction.vector[:1].expand(generator.num_ws, -1))
        assert direction.range[0] < 0 < direction.range[1]


def test_closed_form_agrees_with_a_float64_reference(generator: Generator) -> None:
    assert isinstance(generator, StyleGAN2)
    group = (1, 3)
    weights = []
    row = 0
    for number, block in enumerate(generator._blocks):
        for offset, layer in enumerate(block.modulated):
            if group[0] <= row + offset < group[1]:
                weights.append((layer.affine.weight * layer.affine.weight_gain).double().numpy())
        row += 2 if number else 1
    matrix = np.concatenate(weights)
    assert style_matrix(generator, group) == pytest.approx(matrix, abs=1e-5 * np.abs(matrix).max())
    _, _, rows = np.linalg.svd(matrix, full_matrices=False)
    found = closed_form_directions(generator, count=4, layers=[group], samples=200)
    for number, direction in enumerate(found):
        assert not direction.vector[: group[0]].any()
        assert not direction.vector[group[1] :].any()
        vector = direction.vector[group[0]].double().numpy()
        vector = vector / np.linalg.norm(vector)
        assert np.abs(vector - np.sign(vector @ rows[number]) * rows[number]).max() <= 1e-4


def test_batches_give_the_covariance_of_all_rows() -> None:
    rows = torch.randn(700, 5).double() @ torch.randn(5, 5).double() + 300.0
    covariance = Covariance(5)
    for part in torch.split(rows, 130):
        covariance.add(part)
    assert covariance.mean == pytest.approx(rows.mean(dim=0).numpy())
    assert covariance.matrix == pytest.approx(np.cov(rows.numpy().T), rel=1e-9)


def test_layers_get_each_component_apart(generator: Generator) -> None:
    found = principal_directions(generator, count=2, samples=100, layers=[(0, 2), (2, 4)])
    assert found.names() == ("pc0-layers-0-1", "pc0-layers-2-3", "pc1-layers-0-1", "pc1-layers-2-3")
    assert found["pc1-layers-2-3"].layers == (2, 4)
    assert not found["pc1-layers-2-3"].vector[:2].any()


def test_numbers_that_make_no_sense_are_refused(generator: Generator) -> None:
    with pytest.raises(UsageError, match="3 samples say nothing"):
        principal_directions(generator, count=2, samples=3)
    with pytest.raises(UsageError, match="principal components, not 0"):
        principal_directions(generator, count=0)
    with pytest.raises(UsageError, match="has the layers 0 to"):
        check_layers(generator, (2, 99))
    with pytest.raises(DirectionError, match="not finite"):
        Covariance(2).add(torch.tensor([[0.0, float("nan")]]))


def test_a_generator_without_styles_has_no_closed_form(shared_folder: Path) -> None:
    generator = load_generator(shared_folder / "golden" / "stylegan3t_32.pkl")
    assert len(principal_directions(generator, count=3, samples=50)) == 3
    with pytest.raises(DirectionError, match="does not show its style vectors"):
        closed_form_directions(generator, count=2)
