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
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import DirectionError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.model import Model, load_model
from faceloom.training.attributes import Attribute
from faceloom.training.carrying import CodeMap, carry_directions
from faceloom.training.export import encode_faces
from faceloom.training.images import FaceSet

LIGHT = Attribute("light", column="light", low="dark", high="bright")
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
def old(tmp_path: Path, networks: tuple[StyleGAN2, ResidualEncoder]) -> Model:
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
    probes = [Probe("light", torch.randn(WIDTH), 0.25)]
    DirectionSet(moves, generator.fingerprint, facts, probes=probes).save(folder / "directions.safetensors")
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
    found = carry_directions(old, folder, faces, [LIGHT], say=said.append, judges=())
    assert found.names() == ("light", "own")
    own, before = found["own"], old.directions["own"]
    torch.testing.assert_close(own.vector, before.vector @ turn, atol=0.02, rtol=0.02)
    assert own.bend is not None
    assert before.bend is not None
    torch.testing.assert_close(own.bend, before.bend @ turn, atol=0.02, rtol=0.02)
    assert own.range == (-1.5, 2.0)
    # What the attributes file knows is brought to its unit again: the same way, another length.
    light, straight = found["light"].vector.ravel(), (old.directions["light"].vector @ turn).ravel()
    assert torch.cosine_similarity(light, straight, dim=0) > 0.999
    assert found.info["attributes"]["light"]["labels"] == 9
    assert found.info["carried_from"] == old.generator.fingerprint
    read = old.directions.probes["light"].read(encode_faces(encoder, faces))
    torch.testing.assert_close(found.probes["light"].read(encode_faces(other, faces)), read, atol=0.02, rtol=0.02)
    assert set(found.effects["own"]) == {"light"}
    assert any("explain 100.0 %" in line for line in said)
    assert load_model(str(folder)).directions.names() == ("light", "own")


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
    assert carry_directions(source, folder, faces, [], say=said.append, judges=()).names() == ("light", "own")
    assert "channel: left out, a step in S" in said


def test_a_model_of_another_origin_is_refused(
    tmp_path: Path, old: Model, networks: tuple[StyleGAN2, ResidualEncoder], faces: FaceSet
) -> None:
    generator, _ = networks
    torch.manual_seed(9)
    stranger = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), WIDTH, generator.num_ws, 16)).eval()
    folder = saved(tmp_path / "new", generator, stranger)
    # Noise as faces: what two random networks say of it has little to do with each other.
    with pytest.raises(DirectionError, match="not trained on from that model"):
        carry_directions(old, folder, faces, [LIGHT], say=print, judges=())
    assert not (folder / "directions.safetensors").exists()
    with pytest.raises(DirectionError, match="no encoder made by"):
        carry_directions(replace(old, encoder=None), folder, faces, [LIGHT], say=print, judges=())
    with pytest.raises(DirectionError, match="100 are needed"):
        carry_directions(old, folder, faces.subset(np.arange(len(faces)) < 50), [LIGHT], say=print, judges=())


def test_a_smaller_model_is_refused(tmp_path: Path, old: Model, faces: FaceSet) -> None:
    small = StyleGAN2(StyleGAN2Config(8, (8, 8), z_dim=6, w_dim=WIDTH, mapping_layers=1)).eval()
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), WIDTH, small.num_ws, 16)).eval()
    with pytest.raises(DirectionError, match="rows of codes, fewer than"):
        carry_directions(old, saved(tmp_path / "new", small, encoder), faces, [LIGHT], say=print, judges=())


def test_the_verb(
    tmp_path: Path,
    old: Model,
    networks: tuple[StyleGAN2, ResidualEncoder],
    faces: FaceSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = saved(tmp_path / "new", *networks)
    monkeypatch.setattr("faceloom.training.carrying.installed_judges", lambda say: ())
    options = ["carry", "--from", old.id, "--model", str(folder), "--faces", str(tmp_path / "faces.npz")]
    missing = CliRunner().invoke(verb, options)
    assert missing.exit_code != 0
    assert "faces.npz of its run" in str(missing.exception)
    faces.save(tmp_path / "faces.npz")
    done = CliRunner().invoke(verb, options)
    assert done.exit_code == 0, done.output
    assert "2 direction(s) from" in done.output
