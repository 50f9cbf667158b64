from __future__ import annotations

import math
import os
import pickle
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import faceloom
from faceloom.directions.anchors import DirectionWarning, Finding, attribute_of, check_directions
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.drawing import synthesize_moved
from faceloom.directions.importing import UNKNOWN, load_directions
from faceloom.directions.pairing import paired_directions
from faceloom.errors import CheckpointError, DirectionError
from faceloom.generators.protocol import Generator
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.recipe import Edit


def generator(num_ws: int = 18, w_dim: int = 512, fingerprint: str = "0123456789abcdef") -> Generator:
    """Only what an importer asks of one; a real one of 18 layers takes seconds to make."""
    return cast(Generator, SimpleNamespace(num_ws=num_ws, w_dim=w_dim, fingerprint=fingerprint))


def unit(seed: int = 0, *shape: int) -> Tensor:
    vector = torch.randn(shape or (512,), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vector, dim=-1)


def at_cosine(vector: Tensor, cosine: float, seed: int = 99) -> Tensor:
    """A unit vector at this cosine to a unit vector."""
    other = unit(seed, *vector.shape)
    other = torch.nn.functional.normalize(other - (other @ vector) * vector, dim=0)
    return torch.add(cosine * vector, other, alpha=math.sqrt(1 - cosine**2))


def save_torch(path: Path, value: Any) -> None:
    torch.save(value, path)


def save_legacy(path: Path, value: Any) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def save_pickle(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps(value.numpy()))


def save_npy(path: Path, value: Any) -> None:
    with path.open("wb") as file:
        np.save(file, value.double().numpy())


def save_npz(path: Path, value: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, value.numpy())


FORMATS = [save_torch, save_legacy, save_pickle, save_npy, save_npz]


def direction(name: str, vector: Tensor) -> Direction:
    rows = vector.expand(18, -1).clone() if vector.ndim == 1 else vector
    return Direction(name, rows, (0, len(rows)), (-3.0, 3.0), "less", "more")


@pytest.mark.parametrize("save", FORMATS)
@pytest.mark.parametrize("shape", [(512,), (1, 512), (18, 512), (1, 18, 512), (1, 9216)])
def test_every_published_form_loads(tmp_path: Path, save: Callable[[Path, Any], None], shape: tuple[int, ...]) -> None:
    values = torch.randn(shape)
    save(tmp_path / "age.x", values)
    loaded = load_directions(tmp_path / "age.x", generator=generator())
    assert loaded.names() == ("age",)
    assert loaded.fingerprint == "0123456789abcdef"
    torch.testing.assert_close(loaded["age"].vector, values.reshape(-1, 512).expand(18, 512), rtol=0, atol=0)
    assert loaded["age"].layers == (0, 18)
    assert (loaded["age"].low, loaded["age"].high) == ("younger", "older")


@given(
    layers=st.integers(2, 20), rows=st.sampled_from([1, *range(4, 21, 2)]), first=st.integers(0, 3), more=st.integers(0)
)
def test_layers_that_both_have_are_kept(
    tmp_path_factory: pytest.TempPathFactory, layers: int, rows: int, first: int, more: int
) -> None:
    first = min(first, rows - 1, layers - 1)
    last = first + 1 + more % (rows - first)
    values = torch.zeros(rows, 512)
    values[first:last] = unit(1, last - first, 512)
    path = tmp_path_factory.mktemp("layers") / "nose.npy"
    save_npy(path, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DirectionWarning)
        found = load_directions(path, generator=generator(layers))["nose"]
    assert found.vector.shape == (layers, 512)
    common = min(rows, layers)
    if rows == 1:
        assert bool((found.vector == values).all())
    else:
        assert torch.equal(found.vector[:common], values[:common])
        assert not found.vector[common:].any()
    assert not found.vector[: found.layers[0]].any()
    assert not found.vector[found.layers[1] :].any()
    assert found.vector[found.layers[0]].any()
    assert found.vector[found.layers[1] - 1].any()


def test_lost_layers_are_told(tmp_path: Path) -> None:
    save_npy(tmp_path / "age.npy", unit(0, 18, 512))
    with pytest.warns(DirectionWarning, match=r"'age' has vectors for 18 layers, the generator 14: the 14 coarsest"):
        loaded = load_directions(tmp_path / "age.npy", generator=generator(14))
    assert len(loaded.info["notes"]) == 1
    save_npy(tmp_path / "age.npy", unit().repeat(18, 1))  # alike in all layers: nothing is lost
    assert load_directions(tmp_path / "age.npy", generator=generator(20))["age"].layers == (0, 20)


def test_without_a_generator_a_vector_moves_all_layers(tmp_path: Path) -> None:
    save_torch(tmp_path / "smile.pt", unit())
    loaded = faceloom.load_directions(str(tmp_path / "smile.pt"))
    assert loaded.fingerprint == UNKNOWN
    assert loaded["smile"].vector.shape == (1, 512)
    moved = loaded.move(torch.zeros(2, 14, 512), [faceloom.Edit("smile", 2.0)])
    torch.testing.assert_close(moved, 2 * unit().expand(2, 14, 512))
    with pytest.raises(DirectionError, match="unknown"):
        loaded.check_generator("0123456789abcdef")


def test_own_files_load_unchanged(tmp_path: Path) -> None:
    wanted = Direction("age", torch.zeros(8, 32).index_fill_(0, torch.tensor([2, 3]), 1.0), (2, 5), (-1, 2), "a", "b")
    wanted = replace(wanted, bend=0.5 * wanted.vector)
    DirectionSet([wanted], "0123456789abcdef", {"why": "test"}).save(tmp_path / "x.safetensors")
    for given_generator in (None, generator(8, 32)):
        loaded = load_directions(tmp_path / "x.safetensors", generator=given_generator)
        found = loaded["age"]
        assert found.follows(wanted)
        assert (found.layers, found.range, found.low, found.high) == ((2, 5), (-1, 2), "a", "b")
        assert (loaded.fingerprint, loaded.info) == ("0123456789abcdef", {"why": "test"})
    with pytest.raises(DirectionError, match=r"x\.safetensors: these directions were made for the generator"):
        load_directions(tmp_path / "x.safetensors", generator=generator(8, 32, "another"))


def test_an_import_that_was_saved_can_be_fitted_later(tmp_path: Path) -> None:
    save_torch(tmp_path / "age.pt", unit())
    load_directions(tmp_path / "age.pt").save(tmp_path / "age.safetensors")
    fitted = load_directions(tmp_path / "age.safetensors", generator=generator(14))
    assert fitted["age"].layers == (0, 14)
    assert torch.equal(fitted["age"].vector, unit().expand(14, 512))
    assert fitted.fingerprint == "0123456789abcdef"


@pytest.mark.parametrize(
    ("keys", "save"), [(("mean", "comp", "std"), save_torch), (("lat_mean", "lat_comp", "lat_stdev"), None)]
)
def test_ganspace_components_come_in_deviations(tmp_path: Path, keys: tuple[str, str, str], save: Any) -> None:
    comp, std = unit(3, 5, 1, 512), torch.tensor([2.0, 1.5, 1.0, 0.5, 0.25])
    tree = dict(zip(keys, (torch.zeros(1, 512), comp, std), strict=True))
    if save:
        save(tmp_path / "pca", tree)
    else:
        with (tmp_path / "pca").open("wb") as file:
            arrays: Any = {key: value.numpy() for key, value in tree.items()}
            np.savez_compressed(file, **arrays)
    loaded = load_directions(tmp_path / "pca", generator=generator())
    assert loaded.names() == ("pc0", "pc1", "pc2", "pc3", "pc4")
    torch.testing.assert_close(loaded["pc3"].vector, (0.5 * comp[3]).expand(18, 512))
    assert loaded["pc3"].range == (-3.0, 3.0)


def test_ganspace_export_acts_on_its_layers(tmp_path: Path) -> None:
    tree = {
        "name": "Light direction",
        "sigma_range": 24.0,
        "component_index": 15,
        "act_comp": None,
        "lat_comp": unit().reshape(1, 512).numpy(),
        "lat_stdev": 0.5,
        "latent_space": "W",
        "edit_start": 8,
        "edit_end": 10,
    }
    path = tmp_path / "light.pkl"
    path.write_bytes(pickle.dumps(tree))
    found = load_directions(path, generator=generator())["light"]
    assert (found.layers, found.range) == ((8, 10), (-20.0, 20.0))
    torch.testing.assert_close(found.vector[8:10], 0.5 * unit().expand(2, 512))
    assert not found.vector[:8].any()
    assert not found.vector[10:].any()
    with pytest.raises(DirectionError, match=r"acts on the layers 8 to 9 only; give the generator"):
        load_directions(path)
    path.write_bytes(pickle.dumps({**tree, "latent_space": "Z"}))
    with pytest.raises(DirectionError, match=r"is of Z, not of W"):
        load_directions(path)


def test_directions_by_name(tmp_path: Path) -> None:
    with (tmp_path / "set.npz").open("wb") as file:
        np.savez(file, Hair_Length=unit(0).numpy(), smile_boundary=unit(1, 18, 512).numpy())
    loaded = load_directions(tmp_path / "set.npz")
    assert loaded.names() == ("hair-length", "smile")
    assert {one.vector.shape for one in loaded} == {(18, 512)}
    assert loaded["hair-length"].high == "long hair"
    save_torch(tmp_path / "beard.pt", {"boundary": unit()})
    assert load_directions(tmp_path / "beard.pt").names() == ("beard",)


def test_a_folder_is_one_set(tmp_path: Path) -> None:
    save_torch(tmp_path / "b_age.pt", unit(0))
    save_npy(tmp_path / "a_smile.npy", unit(1, 18, 512))
    (tmp_path / "readme.txt").write_text("not a direction")
    loaded = load_directions(tmp_path)
    assert loaded.names() == ("a-smile", "b-age")
    save_npy(tmp_path / "b-age.npy", unit(1))
    with pytest.raises(DirectionError, match="two directions are called 'b-age'"):
        load_directions(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DirectionError, match="no direction files"):
        load_directions(tmp_path / "empty")


def test_a_folder_of_several_generators_is_refused(tmp_path: Path) -> None:
    DirectionSet([direction("age", unit())], "one").save(tmp_path / "a.safetensors")
    DirectionSet([direction("smile", unit(1))], "two").save(tmp_path / "b.safetensors")
    refused(tmp_path, "made for different generators")
    (tmp_path / "b.safetensors").unlink()
    save_torch(tmp_path / "b.pt", unit(2))
    assert load_directions(tmp_path).fingerprint == UNKNOWN
    for other in (unit(2, 14, 512), unit(2, 1, 64)):
        save_torch(tmp_path / "b.pt", other)
        refused(tmp_path, "of different shapes")


@pytest.mark.parametrize(
    ("file", "scale", "expected"),
    [("age", 1, 10.0), ("e4e_smile", 1, 5.0), ("yaw", 1, 7.0), ("age", 2, 5.0), ("age", 0.1, 20.0), ("gender", 1, 3.0)],
)
def test_known_ranges_are_of_unit_vectors(tmp_path: Path, file: str, scale: float, expected: float) -> None:
    save_torch(tmp_path / f"{file}.pt", unit() * scale)
    (found,) = load_directions(tmp_path / f"{file}.pt")
    assert found.range == (-expected, expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("e4e-age", "age"),
        ("stylegan_ffhq_gender_c_age_w_boundary", "gender"),
        ("Age", "age"),
        ("angle_horizontal", "pose"),
        ("stit_eyes_open", "eyes-open"),
        ("image", None),
        ("pc0", None),
        ("", None),
    ],
)
def test_attributes_are_found_in_names(name: str, expected: str | None) -> None:
    found = attribute_of(name)
    assert (found.name if found else None) == expected


def refused(path: Path, match: str, like: Generator | None = None) -> None:
    with pytest.raises((DirectionError, CheckpointError), match=match) as caught:
        load_directions(path, generator=like)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (torch.zeros(512), "zero everywhere"),
        (torch.full((512,), math.nan), "NaN or infinite"),
        (torch.full((512,), math.inf), "NaN or infinite"),
        (torch.full((512,), 1e300, dtype=torch.float64), "NaN or infinite"),
        (torch.ones(512, dtype=torch.int64), "its numbers are int64"),
        (torch.ones(512, dtype=torch.complex64), "its numbers are complex64"),
        (torch.ones(0), "is no direction"),
        (torch.ones(()), "is no direction"),
        (torch.ones(68, 18, 512), "many latent codes"),
        (torch.ones(80, 512), "no single direction"),
        (torch.ones(512, 1), "no single direction"),
        (torch.ones(9088), "directions in S need a StyleGAN2"),
        (torch.ones(6048, 512), r"StyleSpace \(S\)"),
        (torch.ones(1, 64), "vectors have 64 numbers .* this generator 512"),
        (torch.ones(18, 64), "made for another generator"),
        ({}, "empty dictionary"),
        ({"w": torch.ones(1, 18, 512)}, "projected latent codes"),
        ({"net.weight": torch.ones(16, 512), "net.bias": torch.ones(16)}, "unknown network"),
        ({"age": torch.ones(512), "note": "hello"}, "no direction was found"),
        ({"comp": torch.ones(80, 1, 512)}, "no single direction"),
        ({"comp": torch.ones(80, 1, 512), "std": torch.ones(79)}, "80 components, but 79"),
        ({"comp": torch.ones(80, 2, 512), "std": torch.ones(80)}, r"have the shape \(count, 1, w_dim\)"),
        ({"comp": torch.ones(80, 1, 64), "std": torch.ones(80)}, "made for another generator"),
        ({"comp": torch.full((2, 1, 512), math.nan), "std": torch.ones(2)}, "NaN"),
        ({"lat_comp": torch.ones(2, 1, 512), "lat_stdev": torch.ones(2)}, "components are of Z"),
        ({"comp": "text", "std": torch.ones(2)}, "not an array"),
        ([torch.ones(512)] * 26, r"26 style vectors of StyleSpace \(S\), but their sizes"),
        ([torch.ones(2, 2), torch.ones(3)], r"list of 2 things, not one style vector of StyleSpace \(S\)"),
        ("hello", "no direction was found"),
        (None, "no direction was found"),
    ],
)
def test_what_is_no_direction_is_refused(tmp_path: Path, value: Any, match: str) -> None:
    save_torch(tmp_path / "age.pt", value)
    refused(tmp_path / "age.pt", match, generator())


def test_vector_of_512_is_no_flat_set_of_layers(tmp_path: Path) -> None:
    save_torch(tmp_path / "age.pt", unit())
    refused(tmp_path / "age.pt", r"have 512 numbers \(w_dim\), the latents of this generator 64", generator(8, 64))
    refused(tmp_path / "age.pt", r"have 512 numbers \(w_dim\), the latents of this generator 64", generator(10, 64))


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.pt", "no such file")
    for text in ("", "hello", "direction of age", "1.0 2.0 3.0\n" * 512, "<!doctype html>"):
        (tmp_path / "age.npy").write_text(text)
        refused(tmp_path / "age.npy", r"age\.npy")
    save_npy(tmp_path / "age.npy", unit())
    (tmp_path / "age.npy").write_bytes((tmp_path / "age.npy").read_bytes()[:-100])
    refused(tmp_path / "age.npy", r"age\.npy")
    DirectionSet([], "0").save(tmp_path / "own.safetensors")
    refused(tmp_path / "own.safetensors", "made for the generator 0", generator())


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_object_arrays_are_refused_without_unpickling(tmp_path: Path) -> None:
    content = {"boundary": np.ones((1, 14, 512)), "canary": Canary(tmp_path / "ran")}
    np.save(tmp_path / "age.npy", np.array(content, dtype=object), allow_pickle=True)
    refused(tmp_path / "age.npy", "array of Python objects")
    assert not (tmp_path / "ran").exists()
    np.load(tmp_path / "age.npy", allow_pickle=True)
    assert (tmp_path / "ran").exists(), "the canary cannot sing, so its silence shows nothing"


@pytest.mark.parametrize(
    ("cosine", "kind"), [(0.9, "fine"), (0.11, "fine"), (0.09, "foreign"), (-0.09, "foreign"), (-0.11, "flipped")]
)
def test_kinds_of_findings(cosine: float, kind: str) -> None:
    anchors = DirectionSet([direction("e4e-age", unit()), direction("e4e-smile", unit(1))], UNKNOWN)
    (finding,) = check_directions([direction("age", at_cosine(unit(), cosine))], anchors)
    assert (finding.kind, finding.direction, finding.anchor) == (kind, "age", "e4e-age")
    assert finding.cosine == pytest.approx(cosine, abs=1e-5)
    assert "\n" not in str(finding)


def test_closest_anchor_counts_and_others_say_nothing() -> None:
    anchors = DirectionSet([direction("a-yaw", unit()), direction("b-pose", unit(1)), direction("pc0", unit(2))], "")
    given_directions = [direction("rotation", unit(1)), direction("beard", unit()), direction("pc0", -unit(2))]
    (finding,) = check_directions(given_directions, anchors)
    assert finding == Finding("fine", "rotation", "b-pose", finding.cosine)
    assert finding.cosine == pytest.approx(1.0)


def test_only_shared_layers_are_compared() -> None:
    coarse = torch.zeros(14, 512)
    coarse[:3] = unit()
    fine = torch.zeros(18, 512)
    fine[3:] = unit()
    anchors = DirectionSet([direction("age", unit().reshape(1, 512))], "")
    findings = check_directions([direction("age", coarse), direction("age", fine)], anchors)
    assert [finding.cosine for finding in findings] == pytest.approx([1.0, 1.0])
    assert check_directions([direction("age", coarse)], DirectionSet([direction("age", fine)], "")) == []
    with pytest.raises(DirectionError, match="vectors of 64 numbers"):
        check_directions([direction("age", unit(0, 18, 64))], anchors)


@pytest.mark.parametrize(
    ("cosine", "match"), [(0.02, "probably made for another generator"), (-0.4, "sign looks flipped"), (0.5, None)]
)
def test_loading_warns(tmp_path: Path, cosine: float, match: str | None) -> None:
    anchors = DirectionSet([direction("age", unit())], UNKNOWN)
    save_torch(tmp_path / "age.pt", at_cosine(unit(), cosine))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load_directions(tmp_path / "age.pt", anchors=anchors)
    assert loaded.names() == ("age",)
    assert [one.category for one in caught] == ([DirectionWarning] if match else [])
    assert all(match and match in str(one.message) and one.filename == __file__ for one in caught)


# What the projects published.


@pytest.fixture(scope="module")
def published(shared_folder: Path) -> Path:
    folder = shared_folder / "data" / "directions"
    if not folder.is_dir():
        pytest.skip("the published directions are not here")
    return folder


@pytest.fixture(scope="module")
def ffhq_anchors(published: Path) -> DirectionSet:
    files = [published / f"e4e_{name}.pt" for name in ("age", "smile", "pose")]
    files += [published / f"nada_{name}.pt" for name in ("gender", "beard", "hair_length")]
    return DirectionSet([one for file in files for one in load_directions(file, generator=generator())], UNKNOWN)


@pytest.mark.parametrize(
    ("file", "kind", "cosine"),
    [
        ("stit_age.npy", "fine", 0.39),
        ("stit_smile.npy", "fine", 0.62),
        ("stit_gender.npy", "fine", 0.46),
        ("stit_yaw.npy", "flipped", -0.44),
        ("stylegan1_interfacegan_age_w.npy", "foreign", 0.01),
    ],
)
def test_published_directions_agree_unless_foreign(
    published: Path, ffhq_anchors: DirectionSet, file: str, kind: str, cosine: float
) -> None:
    (finding,) = check_directions(load_directions(published / file), ffhq_anchors)
    assert finding.kind == kind
    assert finding.cosine == pytest.approx(cosine, abs=0.01)


def test_published_files_all_load_but_the_object_array(published: Path) -> None:
    loaded = {file.name for file in published.iterdir() if not file.name.startswith("stylegan1_idinvert")}
    assert len(loaded) >= 14
    for name in sorted(loaded):
        for one in load_directions(published / name, generator=generator()):
            assert one.vector.shape == (18, 512)
            assert 0.2 < float(one.vector.norm(dim=1).max()) < 3
    refused(published / "stylegan1_idinvert_age_object.npy", "array of Python objects")


def test_published_components(published: Path) -> None:
    loaded = load_directions(published / "ganspace_ffhq_pca.pt", generator=generator())
    lengths = [float(one.vector[0].norm()) for one in loaded]
    assert len(loaded) == 80
    assert lengths[0] == pytest.approx(2.856, abs=1e-3)
    assert lengths[-1] == pytest.approx(0.402, abs=1e-3)


# Directions in S


def drawing_generator() -> StyleGAN2:
    """A small one that shows its styles: 8, 8; 8, 8, 8; 8, 4, 4 channels."""
    return StyleGAN2(StyleGAN2Config(resolution=16, channels=(8, 8, 4), z_dim=8, w_dim=7, mapping_layers=1)).eval()


@torch.no_grad()
def test_directions_in_s_are_read_in_every_way_they_are_written(tmp_path: Path) -> None:
    able = drawing_generator()
    sizes = [style.shape[1] for style in able.styles(torch.zeros(1, able.num_ws, 7))]
    assert sizes == [8, 8, 8, 8, 8, 8, 4, 4]
    parts = [torch.zeros(size) for size in sizes]
    parts[3][5] = 2.0  # the second convolution at 8 px; entries 1, 4 and 7 are toRGB
    whole = torch.cat(parts)
    bare = [part for index, part in enumerate(parts) if index not in (1, 4, 7)]
    written: list[Any] = [whole, torch.cat(bare), parts, bare, [part[None] for part in parts]]
    for value in written:
        save_torch(tmp_path / "glasses.pt", value)
        (found,) = load_directions(tmp_path / "glasses.pt", generator=able)
        assert (found.space, found.layers, found.low) == ("s", (3, 4), "no glasses")
        assert torch.equal(found.vector, whole)
    (found,) = load_directions(tmp_path / "glasses.pt", generator=able)
    codes = torch.randn(1, able.num_ws, 7)
    styles = able.styles(codes)
    styles[3] = styles[3] + 1.5 * parts[3]
    offset = DirectionSet([found], able.fingerprint).style_offset([Edit("glasses", 1.5)])
    assert torch.allclose(synthesize_moved(able, codes, offset), able.synthesize_styles(styles), atol=1e-6)


def test_directions_in_s_of_the_usual_generator_need_none(tmp_path: Path) -> None:
    save_torch(tmp_path / "smile.pt", torch.arange(6048.0))
    (found,) = load_directions(tmp_path / "smile.pt")
    assert (found.space, tuple(found.vector.shape)) == ("s", (9088,))
    assert not bool(found.vector[512:1024].any())  # toRGB at 4 px
    assert torch.equal(found.vector[found.vector != 0], torch.arange(1.0, 6048.0))
    loaded = load_directions(tmp_path / "smile.pt")
    loaded.save(tmp_path / "own.safetensors")
    (again,) = load_directions(tmp_path / "own.safetensors")
    assert torch.equal(again.vector, found.vector)
    refused(tmp_path / "own.safetensors", "was made for another generator", drawing_generator())


def test_directions_of_other_spaces_are_not_compared() -> None:
    in_s = Direction("age", torch.ones(9), (0, 1), (-1, 1), "", "", "s")
    in_w = Direction("age", torch.ones(1, 9), (0, 1), (-1, 1), "", "")
    assert check_directions([in_s], DirectionSet([in_w], "0")) == []
    opposite = Direction("age", -torch.ones(9), (0, 1), (-1, 1), "", "", "s")
    assert [one.kind for one in check_directions([in_s], DirectionSet([opposite], "0"))] == ["flipped"]


# Sets of several origins


def test_directions_of_several_origins_make_one_set(tmp_path: Path) -> None:
    able = drawing_generator()
    origins = []
    for origin, names in {"directions-a": ("age", "smile"), "b": ("age",), "c": ("age",), "d": ("my_beard",)}.items():
        (tmp_path / origin).mkdir()
        for name in names:
            save_torch(tmp_path / origin / f"{name}.pt", unit({"b": 1}.get(origin, 0), 7))
        load_directions(tmp_path / origin).save(tmp_path / f"{origin}.safetensors")
        origins.append((origin, tmp_path / f"{origin}.safetensors"))
    found = paired_directions(origins, able)
    assert found.names() == ("age", "smile", "age-b", "beard")  # c's age is a's
    assert found.fingerprint == able.fingerprint
    assert all(tuple(one.vector.shape) == (able.num_ws, 7) for one in found)
    save_torch(tmp_path / "wide.pt", unit(0, 9))
    with pytest.warns(DirectionWarning, match="'wide' are left out: .* made for another generator"):
        assert paired_directions([*origins, ("wide", tmp_path / "wide.pt")], able).names() == found.names()
