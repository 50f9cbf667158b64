from __future__ import annotations

import numpy as np
import pytest
import torch

from faceloom.directions.density import Spread
from faceloom.directions.supervised import Method, labelled_direction
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config

WAY = torch.tensor([2.0, -1.0, 0.5, 0.0, 0.0, 0.0])


@pytest.fixture
def generator() -> StyleGAN2:
    return StyleGAN2(StyleGAN2Config(8, (4, 4), z_dim=6, w_dim=6, mapping_layers=1)).eval()


def faces(count: int = 400) -> tuple[torch.Tensor, np.ndarray]:
    random = torch.Generator().manual_seed(0)
    has = torch.randint(0, 2, (count,), generator=random).double()
    codes = torch.randn(count, 6, generator=random).double() * 0.5 + has[:, None] * WAY.double()
    return codes.float(), has.numpy()


@pytest.mark.parametrize("method", ["slope", "ridge", "logistic"])
def test_two_classes_give_the_way_between_them(generator: StyleGAN2, method: Method) -> None:
    codes, has = faces()
    direction, probe = labelled_direction(generator, codes, has, "hat", method=method)
    step = direction.vector[0]
    assert torch.cosine_similarity(step, WAY, dim=0) > 0.97
    readings = probe.read(codes)
    assert readings[has == 1].mean() > readings[has == 0].mean() + 1.0
    assert (probe.read(codes + step) - readings).mean().item() == pytest.approx(1.0, abs=1e-3)
    assert direction.vector.shape == (generator.num_ws, 6)
    assert (direction.low, direction.high) == ("less hat", "more hat")
    assert direction.range[0] < 0 < direction.range[1]


@pytest.mark.parametrize("method", ["slope", "ridge", "logistic"])
def test_what_is_held_stays(generator: StyleGAN2, method: Method) -> None:
    codes, has = faces()
    other = codes[:, 0].double().numpy()
    direction, _ = labelled_direction(generator, codes, has, "hat", method=method, held={"first": other})
    step = direction.vector[0]
    assert abs(step[0]) < 0.1 * step.norm()
    assert torch.cosine_similarity(step[1:], WAY[1:], dim=0) > 0.9


def test_labels_that_teach_nothing_are_refused(generator: StyleGAN2) -> None:
    codes, has = faces()
    three = np.where(np.arange(len(has)) < 3, has, np.nan)
    with pytest.raises(DirectionError, match=r"labels for 3 faces; a direction needs 10"):
        labelled_direction(generator, codes, three, "hat")
    with pytest.raises(DirectionError, match="all labels of 'hat' are 1: add faces of the other class"):
        labelled_direction(generator, codes, np.ones(len(has)), "hat")
    lonely = np.zeros(len(has))
    lonely[0] = 1.0
    with pytest.raises(DirectionError, match="only 1 faces have 'hat' = 1"):
        labelled_direction(generator, codes, lonely, "hat")
    with pytest.raises(DirectionError, match="399 labels for 400 faces"):
        labelled_direction(generator, codes, has[:-1], "hat")
    with pytest.raises(DirectionError, match="codes are not finite"):
        labelled_direction(generator, torch.full_like(codes, float("nan")), has, "hat")
    with pytest.raises(UsageError, match="method is one of"):
        labelled_direction(generator, codes, has, "hat", method="magic")  # type: ignore[arg-type]


def test_the_range_ends_where_faces_end() -> None:
    codes = torch.randn(4000, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([3.0, 1, 1, 1, 1, 1])
    spread = Spread.of(codes)
    assert float((spread.distance(codes) <= spread.limit).float().mean()) == pytest.approx(0.99, abs=0.005)
    wide, narrow = (spread.range_of(codes, torch.eye(6)[axis] * 1.5) for axis in (0, 1))
    assert wide[1] > narrow[1]
    assert wide[0] < narrow[0] < 0 < narrow[1]
    assert spread.range_of(codes, torch.eye(6)[1] * 100.0) == (-0.25, 0.25)
