from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from faceloom.directions.navigation import Course, Leg, navigate
from faceloom.directions.reading import PictureReader
from faceloom.errors import DirectionError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config

QUICK = Course(steps=150, batch=8, rate=0.05, faithful=0.05)


class Painter(StyleGAN2):
    """Draws what is easy to read: the mean row's first three numbers are the picture's red, green and blue."""

    def synthesize(self, ws: Tensor, noise: object = "constant", *, resolution: int | None = None) -> Tensor:
        return (0.1 * ws.mean(dim=1)[:, :3, None, None]).expand(-1, -1, 8, 8)


def colours(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(StyleGAN2Config(8, (6, 4), z_dim=5, w_dim=5, mapping_layers=1)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def codes(painter: Painter) -> Tensor:
    found = torch.randn(300, 1, 5, generator=torch.Generator().manual_seed(1))
    return found.expand(-1, painter.num_ws, -1).contiguous()


@pytest.fixture(scope="module")
def reader(painter: Painter, codes: Tensor) -> PictureReader:
    values = {name: codes[:, 0, index].double().numpy() for index, name in enumerate(("red", "green", "blue"))}
    return PictureReader.fit(colours, lambda part: painter.synthesize(codes[part]), values)


def effects(painter: Painter, reader: PictureReader, codes: Tensor, step: Tensor) -> list[float]:
    low, high = (reader.read(painter.synthesize(codes + side * step)) for side in (-0.5, 0.5))
    return [float(value) for value in (high - low).mean(dim=0)]


def test_what_is_held_leaves_the_step(painter: Painter, reader: PictureReader, codes: Tensor) -> None:
    step = torch.zeros(painter.num_ws, 5)
    step[:, :2] = torch.tensor([0.5, 0.8])
    before = effects(painter, reader, codes, step)
    assert before[1] > before[0] > 0.3
    leg = Leg.of(painter, codes, reader)
    found, _ = navigate(painter, step, "red", leg, reader, course=QUICK)
    red, green, blue = effects(painter, reader, codes, found)
    assert red > 0.7
    assert abs(green) < 0.25 * red
    assert abs(blue) < 0.1 * red
    freed, _ = navigate(painter, step, "red", leg, reader, free=("green",), course=QUICK)
    assert effects(painter, reader, codes, freed)[1] > 0.6
    assert torch.equal(found, navigate(painter, step, "red", leg, reader, course=QUICK)[0])


def test_only_its_layers_change_and_the_person_counts(painter: Painter, reader: PictureReader, codes: Tensor) -> None:
    step = torch.zeros(painter.num_ws, 5)
    step[0:2, 0] = 1.0
    leg = Leg.of(painter, codes, reader, colours)
    told: list[dict[str, float]] = []
    found, bend = navigate(
        painter, step, "red", leg, reader, colours,
        layers=(0, 2), course=Course(steps=4), say=lambda _, parts: told.append(parts),
    )  # fmt: skip
    assert bend is None
    assert torch.equal(found[2:], step[2:])
    assert not torch.equal(found[:2], step[:2])
    assert len(told) == 4
    assert told[0]["person"] > 0


def test_what_cannot_be_read_is_refused(painter: Painter, reader: PictureReader, codes: Tensor) -> None:
    step = torch.ones(painter.num_ws, 5)
    with pytest.raises(DirectionError, match="nothing reads 'beard'"):
        navigate(painter, step, "beard", Leg.of(painter, codes, reader), reader)
    with pytest.raises(DirectionError, match="needs many faces"):
        Leg.of(painter, codes[:1], reader)
    with pytest.raises(DirectionError, match="left all bounds"):
        navigate(painter, step * float("inf"), "red", Leg.of(painter, codes, reader), reader, course=Course(steps=1))


def test_labels_are_read_from_pictures(painter: Painter, reader: PictureReader, codes: Tensor) -> None:
    assert reader.names == ("red", "green", "blue")
    assert min(reader.explained) > 0.5
    readings = reader.read(painter.synthesize(codes))
    assert readings.std(dim=0).tolist() == pytest.approx([1.0] * 3, rel=0.02)
    assert np.corrcoef(readings[:, 1].numpy(), codes[:, 0, 1].numpy())[0, 1] > 0.95
    few = np.full(len(codes), np.nan)
    few[:20] = np.arange(20)
    with pytest.raises(DirectionError, match="has 20 labels; 50 are needed"):
        PictureReader.fit(colours, lambda part: painter.synthesize(codes[part]), {"few": few})
    with pytest.raises(DirectionError, match="all labels of 'flat' are alike"):
        PictureReader.fit(colours, lambda part: painter.synthesize(codes[part]), {"flat": np.ones(len(codes))})


class Fader(Painter):
    """A painter of whom green grows with the square of red: whichever way red goes from 0, there is more green."""

    def synthesize(self, ws: Tensor, noise: object = "constant", *, resolution: int | None = None) -> Tensor:
        red, green, blue = ws.mean(dim=1)[:, :3].unbind(dim=1)
        mixed = torch.stack([red, green + 0.4 * red.square(), blue], dim=1)
        return (0.1 * mixed[:, :, None, None]).expand(-1, -1, 8, 8)


def test_a_path_bends_where_both_sides_have_the_same_side_effect(codes: Tensor) -> None:
    fader = Fader(StyleGAN2Config(8, (6, 4), z_dim=5, w_dim=5, mapping_layers=1)).eval().requires_grad_(False)
    reader = PictureReader.fit(
        colours,
        lambda part: fader.synthesize(codes[part]),
        {name: codes[:, 0, index].double().numpy() for index, name in enumerate(("red", "green", "blue"))},
    )
    step = torch.zeros(fader.num_ws, 5)
    step[:, 0] = 1.0
    leg = Leg.of(fader, codes, reader)

    def greener(one: Tensor, bend: Tensor | None, amount: float) -> float:
        moved = codes + amount * one + (0.0 if bend is None else abs(amount) * bend)
        return float((reader.read(fader.synthesize(moved)) - leg.read)[:, 1].mean())

    straight = navigate(fader, step, "red", leg, reader, course=QUICK)
    bent = navigate(fader, step, "red", leg, reader, course=QUICK, bent=True)
    assert straight[1] is None
    sides = [[abs(greener(*path, amount)) for amount in (-1.5, 1.5)] for path in (straight, bent)]
    assert min(sides[0]) > 0.2
    assert max(sides[1]) < 0.5 * min(sides[0])
