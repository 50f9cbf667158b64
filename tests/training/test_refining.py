from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceloom.checkpoints import native
from faceloom.cli.directions import directions as verb
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.directions.navigation import Course
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.training.attributes import Attribute
from faceloom.training.images import FaceSet
from faceloom.training.refining import refine_directions

LIGHT = Attribute("light", column="light", low="dark", high="bright")


@pytest.fixture
def faces() -> FaceSet:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (220, 1, 1, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    landmarks = random.uniform(0.2, 0.8, (220, 68, 2))
    return FaceSet(pixels, landmarks, tuple(f"plain/{index}.png" for index in range(220)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    generator = StyleGAN2(StyleGAN2Config(16, (8, 8, 6), z_dim=6, w_dim=6, mapping_layers=1)).eval()
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (6, 8, 8), 6, generator.num_ws, 16)).eval()
    native.save_generator(tmp_path / "generator.safetensors", generator, {})
    native.save_encoder(tmp_path / "encoder.safetensors", encoder, {"generator": generator.fingerprint})
    rows = generator.num_ws
    moves = [
        Direction(name, torch.randn(rows, 6), (0, rows), (-2.0, 2.0), "less", "more") for name in ("light", "other")
    ]
    probes = [Probe("light", torch.randn(6), 0.0)]
    facts = {"attributes": {"light": {"labels": 9}}}
    DirectionSet(moves, generator.fingerprint, facts, probes=probes).save(tmp_path / "directions.safetensors")
    return tmp_path


def test_only_the_named_directions_change(folder: Path, faces: FaceSet) -> None:
    before = DirectionSet.load(folder / "directions.safetensors")
    values = {"light": faces.pixels.mean(axis=(1, 2, 3)).astype(np.float64), "none": np.full(len(faces), np.nan)}
    said: list[str] = []
    course = Course(steps=2)
    refine_directions(folder, faces, values, [LIGHT], ["light"], say=said.append, course=course, judges=())
    after = DirectionSet.load(folder / "directions.safetensors")
    assert torch.equal(after["other"].vector, before["other"].vector)
    assert not torch.equal(after["light"].vector, before["light"].vector)
    assert after.names() == before.names()
    assert after.info["attributes"]["light"]["refined"] == "by pictures"
    assert after.info["attributes"]["light"]["labels"] == 9
    assert set(after.effects["light"]) == {"light"}
    assert any("1 attributes are read" in line for line in said)
    assert any("step 2 of 2" in line for line in said)


def test_a_bent_path_is_kept(folder: Path, faces: FaceSet) -> None:
    values = {"light": faces.pixels.mean(axis=(1, 2, 3)).astype(np.float64)}
    said: list[str] = []
    refine_directions(
        folder, faces, values, [LIGHT], ["light"], say=said.append, course=Course(steps=2), bent=True, judges=()
    )
    after = DirectionSet.load(folder / "directions.safetensors")
    bend = after["light"].bend
    assert bend is not None
    assert bend.any()
    assert after["other"].bend is None
    assert any("the bend 0." in line for line in said)
    refine_directions(folder, faces, values, [LIGHT], ["light"], say=said.append, course=Course(steps=2), judges=())
    again = DirectionSet.load(folder / "directions.safetensors")["light"].bend
    assert again is not None  # what is bent stays bent
    assert torch.cosine_similarity(again.ravel(), bend.ravel(), dim=0) > 0.5


def test_what_has_no_labels_is_refused(folder: Path, faces: FaceSet) -> None:
    values = {"light": faces.pixels.mean(axis=(1, 2, 3)).astype(np.float64)}
    with pytest.raises(UsageError, match="'other' cannot be changed"):
        refine_directions(folder, faces, values, [LIGHT], ["other"], say=print, judges=())
    with pytest.raises(UsageError, match="no direction 'lihgt'; did you mean 'light'"):
        refine_directions(folder, faces, values, [LIGHT], ["lihgt"], say=print, judges=())
    with pytest.raises(DirectionError, match="nothing reads 'other'"):
        refine_directions(folder, faces, values, [LIGHT, replace(LIGHT, name="other")], ["other"], say=print, judges=())
    few = faces.subset(np.arange(len(faces)) < 60)
    with pytest.raises(DirectionError, match="too few to refine"):
        refine_directions(folder, few, {"light": values["light"][:60]}, [LIGHT], ["light"], say=print, judges=())


def test_shares_of_another_direction_are_added(folder: Path, faces: FaceSet) -> None:
    before = DirectionSet.load(folder / "directions.safetensors")
    faces.save(folder / "faces.npz")
    words = ["correct", "light", "other=-0.5", "--model", str(folder), "--faces", str(folder / "faces.npz")]
    attributes = folder / "attributes.toml"
    attributes.write_text(
        '[[attribute]]\nname = "light"\ncolumn = "light"\nlow = "dark"\nhigh = "bright"\n', encoding="utf-8"
    )
    result = CliRunner().invoke(verb, [*words, "--attributes", str(attributes)], catch_exceptions=False)
    assert "light: corrected by other -0.5" in result.output
    after = DirectionSet.load(folder / "directions.safetensors")
    wanted = before["light"].vector - 0.5 * before["other"].vector
    assert torch.cosine_similarity(after["light"].vector.ravel(), wanted.ravel(), dim=0) > 0.9999
    assert after["light"].bend is None
    assert after["other"].follows(before["other"])
    assert after.info["attributes"]["light"]["corrected"] == "other -0.5"
    result = CliRunner().invoke(
        verb, [*words[:2], "other=0.4", "--side", "high", *words[3:], "--attributes", str(attributes)],
        catch_exceptions=False,
    )  # fmt: skip
    assert "light: corrected by other +0.4, on the high side alone" in result.output
    bent, straight = DirectionSet.load(folder / "directions.safetensors")["light"], after["light"]
    low = torch.cosine_similarity(bent.step(-1.0).ravel(), straight.step(-1.0).ravel(), dim=0)
    high = torch.cosine_similarity(
        bent.step(1.0).ravel(), (straight.vector + 0.4 * after["other"].vector).ravel(), dim=0
    )
    assert low > 0.9999
    assert high > 0.9999
    both = DirectionSet.load(folder / "directions.safetensors").info["attributes"]["light"]["corrected"]
    assert both == "other -0.5; other +0.4, on the high side alone"
    for share, told in (("other", "is no share"), ("other=nan", "is too much"), ("light=0.5", "cannot be added")):
        words[2] = share
        refused = CliRunner().invoke(verb, [*words, "--attributes", str(attributes)])
        assert isinstance(refused.exception, UsageError)
        assert told in str(refused.exception)


def test_the_verb_wants_a_model_and_faces(folder: Path) -> None:
    words = ["refine", "light", "--model", str(folder), "--faces", str(folder / "faces.npz")]
    result = CliRunner().invoke(verb, words)
    assert isinstance(result.exception, UsageError)
    assert "there is no file" in str(result.exception)
