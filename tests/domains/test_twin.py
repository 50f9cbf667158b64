from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloom.checkpoints import native
from faceloom.domains.twin import Part, Twin, TwinShelf, blended, check_name, resolution_of, twin_of
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config

CONFIG = StyleGAN2Config(32, (16, 16, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)


def make_generator(seed: int = 0) -> StyleGAN2:
    torch.manual_seed(seed)
    return StyleGAN2(CONFIG).requires_grad_(False).eval()


BASE = make_generator()


def make_twin(first: int = 8) -> Twin:
    tuned = copy.deepcopy(BASE)
    torch.manual_seed(5)
    for name, parameter in tuned.named_parameters():
        if resolution_of(name) >= first:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return twin_of(BASE, tuned, "blot", "ink blots", info={"steps": 1})


TWIN = make_twin()
CODES = BASE.map(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)))


def test_a_twin_holds_what_differs_and_nothing_else() -> None:
    assert {resolution_of(name) for name in TWIN.tensors} == {8, 16, 32}
    assert not any(name.startswith("mapping") for name in TWIN.tensors)


def test_degree_0_draws_as_the_base_and_1_as_the_twin() -> None:
    base = BASE.synthesize(CODES)
    assert torch.equal(TWIN.blend(BASE, 0.0).synthesize(CODES), base)
    full = TWIN.blend(BASE, 1.0)
    assert not torch.allclose(full.synthesize(CODES), base, atol=0.05)
    state = full.state_dict()
    for name, tensor in TWIN.tensors.items():
        torch.testing.assert_close(state[name], tensor)


@given(degree=st.floats(0.0, 1.0), part=st.sampled_from(["all", "texture", "geometry"]), width=st.floats(0.0, 2.0))
@settings(max_examples=30, deadline=None)
def test_weights_lie_between_the_two(degree: float, part: Part, width: float) -> None:
    mixed, before = TWIN.blend(BASE, degree, part=part, width=width).state_dict(), BASE.state_dict()
    for name, tensor in mixed.items():
        if name not in TWIN.tensors:
            assert torch.equal(tensor, before[name])
            continue
        low = torch.minimum(before[name], TWIN.tensors[name]) - 1e-5
        high = torch.maximum(before[name], TWIN.tensors[name]) + 1e-5
        assert bool(((tensor >= low) & (tensor <= high)).all())


def test_texture_and_geometry_are_the_two_halves() -> None:
    before = BASE.state_dict()
    texture = TWIN.blend(BASE, part="texture", resolution=16, width=0.0).state_dict()
    geometry = TWIN.blend(BASE, part="geometry", resolution=16, width=0.0).state_dict()
    for name, own in TWIN.tensors.items():
        fine, coarse = (texture, geometry) if resolution_of(name) >= 16 else (geometry, texture)
        torch.testing.assert_close(fine[name], own)
        torch.testing.assert_close(coarse[name], before[name])


def test_the_base_is_left_alone_and_the_blend_knows_that_it_is_another() -> None:
    base = make_generator()
    fingerprint = base.fingerprint
    mixed = TWIN.blend(base, 1.0)
    assert make_generator().fingerprint == fingerprint
    assert torch.equal(base.synthesize(CODES), BASE.synthesize(CODES))
    assert mixed.fingerprint != fingerprint


def test_another_base_is_refused() -> None:
    with pytest.raises(UsageError, match="belongs to the generator"):
        TWIN.blend(make_generator(seed=9))


@pytest.mark.parametrize(("degree", "width"), [(-0.1, 0.5), (1.1, 0.5), (float("nan"), 0.5), (0.5, -1.0)])
def test_numbers_without_sense_are_refused(degree: float, width: float) -> None:
    with pytest.raises(UsageError, match="a degree is from 0 to 1"):
        TWIN.blend(BASE, degree, width=width)


def test_saving_and_loading_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blot.safetensors"
    TWIN.save(path)
    again = Twin.load(path)
    assert (again.name, again.title, again.base, again.illustrator) == ("blot", "ink blots", BASE.fingerprint, "")
    assert again.tensors.keys() == TWIN.tensors.keys()
    torch.testing.assert_close(again.blend(BASE).synthesize(CODES), TWIN.blend(BASE).synthesize(CODES))
    assert path.stat().st_size < 2.2 * sum(tensor.numel() for tensor in TWIN.tensors.values()) + 4096


def test_other_files_are_no_twins(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    native.save_generator(path, BASE)
    with pytest.raises(CheckpointError, match="not a twin"):
        Twin.load(path)
    path.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot read"):
        Twin.load(path)


def test_a_twin_whose_tensors_do_not_fit_is_damaged() -> None:
    bad = Twin("bad", "bad", BASE.fingerprint, {"const": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="does not fit"):
        bad.blend(BASE)


@pytest.mark.parametrize("name", ["", "Toon", "../toon", "a b", "-a", "a" * 41])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="is no name"):
        check_name(name)


def test_the_shelf_reads_what_is_asked_for(tmp_path: Path) -> None:
    own, made = tmp_path / "own", tmp_path / "made"
    own.mkdir()
    TWIN.save(own / "blot.safetensors")
    shelf = TwinShelf(BASE.fingerprint, (own, made))
    assert list(shelf) == ["blot"]
    assert shelf["blot"] is shelf["blot"]
    made.mkdir()
    TWIN.save(made / "other.safetensors")
    assert list(shelf) == ["blot", "other"]
    assert "other" in shelf
    with pytest.raises(UsageError, match="it has blot, other"):
        shelf["third"]
    stranger = TwinShelf("0" * 16, (own,))
    with pytest.raises(CheckpointError, match="another generator"):
        stranger["blot"]


def test_blends_are_remembered() -> None:
    assert blended(TWIN, BASE, 0.5) is blended(TWIN, BASE, 0.5)
    assert np.isfinite(blended(TWIN, BASE, 0.5).synthesize(CODES).numpy()).all()
