from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceloom.checkpoints import native
from faceloom.cli.directions import directions as verb
from faceloom.directions.calibration import draw_pair, probed_effects
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import DirectionError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.model import Model, load_model
from faceloom.training.carrying import CodeMap, carry_directions
from faceloom.training.export import encode_faces
from faceloom.training.images import FaceSet

WIDTH = 6


@pytest.fixture
def faces() -> FaceSet:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (260, 16, 16, 3), dtype=np.uint8)
    return FaceSet(pixels, random.uniform(0.2, 0.8, (260, 68, 2)), tuple(f"plain/{index}.png" for index in range(260)))


def saved(folder: Path, generator: StyleGAN2, encoder: ResidualEncoder) -> Path:
    folder.mkdir(exist_ok=True)
    native.save_generator(folder / "generator.safetensors", generator, {})
    native.save_encoder(folder / "encoder.safetensors", encoder, {"generator": generator.fingerprint})
    return folder


@pytest.fixture
def networks() -> tuple[StyleGAN2, ResidualEncoder]:
    torch.manual_seed(0)
    generator = StyleGAN2(StyleGAN2Config(16, (8, 8, 6), z_dim=6, w_dim=WIDTH, mapping_layers=1)).eval()
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), WIDTH, generator.num_ws, 16)).eval()
    return generator, encoder


@pytest.fixture
def old(tmp_path: Path, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet) -> Model:
    generator, encoder = networks
    folder = saved(tmp_path / "old", generator, encoder)
    rows = generator.num_ws
    moves = [
        Direction("light", torch.randn(rows, WIDTH), (0, rows), (-2.0, 2.0), "less", "more"),
        Direction(
            "own", torch.randn(rows, WIDTH), (0, rows), (-1.5, 2.0), "less", "more", bend=torch.randn(rows, WIDTH)
        ),
    ]
    facts = {"attributes": {"light": {"labels": 9}}}
    probe = Probe("light", torch.randn(WIDTH), 0.25)
    pair = draw_pair(generator, encode_faces(encoder, faces), moves[0].vector)
    # A random probe may read backwards, and weakly.
    probes = [replace(probe, weights=probe.weights / probed_effects(encoder, pair, [probe])["light"])]
    effects = {"light": {"light": 1.0}}
    found = DirectionSet(moves, generator.fingerprint, facts, probes=probes, effects=effects)
    found.save(folder / "directions.safetensors")
    return load_model(str(folder))


def turned(encoder: ResidualEncoder) -> tuple[ResidualEncoder, torch.Tensor]:
    """An encoder whose codes are those of another one, turned about another mean; and the turn."""
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(4)))[0]
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        other.base.weight.copy_(turn.T @ encoder.base.weight)
        other.base.bias.copy_(encoder.base.bias @ turn)
        other.w_mean.copy_(encoder.w_mean + 0.5)
    return other, turn


def test_steps_and_probes_follow_the_codes(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    generator, encoder = networks
    other, turn = turned(encoder)
    folder = saved(tmp_path / "new", generator, other)
    said: list[str] = []
    # Its generator has not turned with it, so nobody asks what the pictures show.
    unmeasured = DirectionSet(
        list(old.directions), old.directions.fingerprint, old.directions.info, probes=old.directions.probes.values()
    )
    found = carry_directions(replace(old, directions=unmeasured), folder, faces, say=said.append)
    assert found.names() == ("light", "own")
    own, before = found["own"], old.directions["own"]
    assert torch.cosine_similarity(own.vector.ravel(), (before.vector @ turn).ravel(), dim=0) > 0.98
    assert own.bend is not None
    assert before.bend is not None
    assert torch.cosine_similarity(own.bend.ravel(), (before.bend @ turn).ravel(), dim=0) > 0.98
    assert -1.5 <= own.range[0] < 0.0 < own.range[1] <= 2.0
    assert found.info["attributes"]["light"]["labels"] == 9
    assert found.info["carried_from"] == old.generator.fingerprint
    read = old.directions.probes["light"].read(encode_faces(encoder, faces))
    torch.testing.assert_close(found.probes["light"].read(encode_faces(other, faces)), read, atol=0.1, rtol=0.1)
    assert set(found.effects["own"]) == {"light"}
    assert "of the variance of the new ones" in said[0]
    assert load_model(str(folder)).directions.names() == ("light", "own")


def test_the_same_model_keeps_its_directions(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    folder = saved(tmp_path / "new", *networks)
    carry_directions(old, folder, faces, say=print)  # which measures what they show
    again = saved(tmp_path / "again", *networks)
    first = load_model(str(folder))
    second = carry_directions(first, again, faces, say=print)
    assert second.names() == first.directions.names()
    for one in second:
        torch.testing.assert_close(one.vector, first.directions[one.name].vector, atol=1e-5, rtol=1e-3)
        assert one.range == first.directions[one.name].range


def test_what_no_longer_shows_is_left_out_and_said(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    folder = saved(tmp_path / "new", *networks)
    probe = replace(old.directions.probes["light"], weights=torch.zeros(WIDTH))
    blind = DirectionSet(
        list(old.directions), old.directions.fingerprint, probes=[probe], effects=old.directions.effects
    )
    said: list[str] = []
    found = carry_directions(replace(old, directions=blind), folder, faces, say=said.append)
    assert found.names() == ("own",)
    assert any(line.startswith("light: left out, it does not show") for line in said)


def test_packs_stay_with_the_model_they_were_installed_for(
    tmp_path: Path,
    old: Model,
    networks: tuple[StyleGAN2, ResidualEncoder],
    faces: FaceSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = saved(tmp_path / "new", *networks)
    pack = old.directions["own"]
    monkeypatch.setattr("faceloom.training.carrying.own_directions", lambda mark, taken: [pack])
    assert carry_directions(old, folder, faces, say=print).names() == ("light",)


def test_few_faces_leave_steps_as_they_are() -> None:
    random = torch.Generator().manual_seed(2)
    scale = 1.0 / torch.arange(1, 129) ** 1.5
    old = torch.randn(150, 128, generator=random) * scale
    new = old + 0.05 * torch.randn(150, 128, generator=random) * scale
    path = CodeMap.fit(old, new)
    step = torch.randn(10, 128, generator=random) * scale
    moved = path.moved(Direction("a", step, (0, 10), (-1.0, 1.0), "low", "high"), 10)
    assert path.explained > 0.9
    assert torch.cosine_similarity(moved.vector, step).min() > 0.97


def test_codes_that_turned_turn_steps() -> None:
    random = torch.Generator().manual_seed(3)
    old = torch.randn(900, WIDTH, generator=random)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=random))[0]
    path = CodeMap.fit(old, old @ turn + 3.0)
    step = torch.randn(4, WIDTH, generator=random)
    moved = path.moved(Direction("a", step, (0, 4), (-1.0, 1.0), "low", "high"), 4)
    torch.testing.assert_close(moved.vector, step @ turn, atol=0.05, rtol=0.0)
    probe = Probe("a", torch.randn(WIDTH, generator=random), 0.5)
    torch.testing.assert_close(path.read(probe).read(old @ turn + 3.0), probe.read(old), atol=0.3, rtol=0.0)


def test_rows_that_were_added_do_what_the_last_one_did() -> None:
    codes = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(1))
    path = CodeMap.fit(codes, codes)
    everywhere = Direction("a", torch.ones(4, WIDTH), (0, 4), (-1.0, 1.0), "low", "high")
    grown = path.moved(everywhere, 6)
    assert grown.vector.shape == (6, WIDTH)
    assert grown.layers == (0, 6)
    torch.testing.assert_close(grown.vector[4:], grown.vector[3:4].expand(2, -1))
    coarse = torch.zeros(4, WIDTH)
    coarse[:2] = 1.0
    grown = path.moved(replace(everywhere, vector=coarse, layers=(0, 2)), 6)
    assert grown.layers == (0, 2)
    assert not grown.vector[2:].any()


def test_a_step_in_s_is_left_out_and_said(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    folder = saved(tmp_path / "new", *networks)
    one = Direction("channel", torch.ones(9), (0, 1), (-1.0, 1.0), "low", "high", space="s")
    source = replace(old, directions=DirectionSet([*old.directions, one], old.directions.fingerprint))
    said: list[str] = []
    assert carry_directions(source, folder, faces, say=said.append).names() == ("light", "own")
    assert "channel: left out, a step in S" in said


def test_a_model_of_another_origin_is_refused(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    generator, _ = networks
    torch.manual_seed(9)
    stranger = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), WIDTH, generator.num_ws, 16)).eval()
    folder = saved(tmp_path / "new", generator, stranger)
    # Noise as faces: what two random networks say of it has little to do with each other.
    with pytest.raises(DirectionError, match="not trained on from that model, or"):
        carry_directions(old, folder, faces, say=print)
    assert not (folder / "directions.safetensors").exists()
    with pytest.raises(DirectionError, match="no encoder made by"):
        carry_directions(replace(old, encoder=None), folder, faces, say=print)
    with pytest.raises(DirectionError, match="100 are needed"):
        carry_directions(old, folder, faces.subset(np.arange(len(faces)) < 50), say=print)


def test_a_smaller_model_is_refused(tmp_path: Path, old: Model, faces: FaceSet) -> None:
    small = StyleGAN2(StyleGAN2Config(8, (8, 8), z_dim=6, w_dim=WIDTH, mapping_layers=1)).eval()
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), WIDTH, small.num_ws, 16)).eval()
    with pytest.raises(DirectionError, match="have the shape"):
        carry_directions(old, saved(tmp_path / "new", small, encoder), faces, say=print)


def test_the_verb(
    tmp_path: Path,
    old: Model,
    networks: tuple[StyleGAN2, ResidualEncoder],
    faces: FaceSet,
) -> None:
    folder = saved(tmp_path / "new", *networks)
    options = ["carry", "--from", old.id, "--model", str(folder), "--faces", str(tmp_path / "faces.npz")]
    missing = CliRunner().invoke(verb, options)
    assert missing.exit_code != 0
    assert "faces.npz of its run" in str(missing.exception)
    faces.save(tmp_path / "faces.npz")
    done = CliRunner().invoke(verb, options)
    assert done.exit_code == 0, done.output
    assert "2 direction(s) from" in done.output
