from __future__ import annotations

import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from faceloom.directions import packs
from faceloom.directions.anchors import DirectionWarning
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.packs import (
    install,
    installed_packs,
    make_pack,
    own_directions,
    pack_folder,
    read_pack,
    remove,
    with_own,
    word_of,
)
from faceloom.errors import CheckpointError, DirectionError, UsageError
from faceloom.generators.protocol import Generator


def found(fingerprint: str = "f00d") -> DirectionSet:
    moves = [
        Direction("pc0", torch.ones(2, 3), (0, 2), (-1, 2), "less", "more"),
        Direction("pc1", torch.eye(3)[:2], (0, 1), (-3, 3), "flat", "full", unit="a step", note="rough: soft"),
    ]
    return DirectionSet(moves, fingerprint)


def test_a_pack_says_what_it_is(tmp_path: Path) -> None:
    made = make_pack(found(), ["pc1"], "Big Hair!", author="A. Person", licence="CC0", examples=["pc1 2"])
    made.save(tmp_path / "x.pack.safetensors")
    pack = read_pack(tmp_path / "x.pack.safetensors")
    assert (pack.name, pack.author, pack.licence, pack.examples) == ("big-hair", "A. Person", "CC0", ("pc1 2",))
    assert pack.directions.names() == ("pc1",)
    assert pack.directions.fingerprint == "f00d"
    one = pack.directions["pc1"]
    assert (one.unit, one.range, one.layers, one.note) == ("a step", (-3, 3), (0, 1), "rough: soft")
    with pytest.raises(UsageError, match="at least one direction"):
        make_pack(found(), [], "x")
    with pytest.raises(UsageError, match="there is no direction 'pc9'"):
        make_pack(found(), ["pc9"], "x")


def test_a_file_of_directions_is_a_pack_without_words(tmp_path: Path) -> None:
    found().save(tmp_path / "Mine.pack.safetensors")
    pack = read_pack(tmp_path / "Mine.pack.safetensors")
    assert (pack.name, pack.author, len(pack.directions)) == ("mine", "", 2)


def test_install_use_and_remove() -> None:
    path = install(make_pack(found(), ["pc0", "pc1"], "two"), "f00d", ["age"])
    assert path.parent == pack_folder("f00d")
    assert [pack.name for pack in installed_packs("f00d")] == ["two"]
    assert [one.name for one in own_directions("f00d", ["age"])] == ["pc0", "pc1"]
    assert own_directions("beef", []) == []
    model = DirectionSet([Direction("age", torch.ones(2, 3), (0, 2), (-1, 1), "a", "b")], "f00d")
    generator = cast(Generator, SimpleNamespace(fingerprint="f00d", num_ws=2, w_dim=3))
    assert with_own(model, generator).names() == ("age", "pc0", "pc1")
    other = cast(Generator, SimpleNamespace(fingerprint="f00d", num_ws=4, w_dim=3))
    with pytest.raises(DirectionError, match=r"directions remove pc0"):
        with_own(model, other)
    remove("pc0", "f00d")
    assert [one.name for one in own_directions("f00d", [])] == ["pc1"]
    remove("two", "f00d")
    assert installed_packs("f00d") == []
    assert with_own(model, generator) is model
    with pytest.raises(UsageError, match="no pack or direction 'two' is installed"):
        remove("two", "f00d")


def test_what_does_not_fit_is_refused() -> None:
    pack = make_pack(found(), ["pc0"], "one")
    with pytest.raises(DirectionError, match="made for the generator f00d, not beef"):
        install(pack, "beef", [])
    with pytest.raises(DirectionError, match="already has a direction 'pc0'"):
        install(pack, "f00d", ["pc0"])
    assert installed_packs("f00d") == []


def test_a_damaged_pack_says_how_to_get_rid_of_it() -> None:
    install(make_pack(found(), ["pc0"], "one"), "f00d", []).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="faceloom directions remove one"):
        own_directions("f00d", [])
    remove("one", "f00d")
    assert own_directions("f00d", []) == []


def test_a_clash_is_told() -> None:
    install(make_pack(found(), ["pc0"], "one"), "f00d", [])
    with pytest.warns(DirectionWarning, match="'pc0' of the pack 'one' is left out"):
        assert own_directions("f00d", ["pc0"]) == []


def test_names_are_words() -> None:
    assert word_of("  Hair Volume (2) ") == "hair-volume-2"
    assert "/" not in word_of("../../etc/passwd")
    with pytest.raises(UsageError, match="cannot name a direction"):
        word_of("…")


def plugin(name: str) -> EntryPoint:
    return EntryPoint(name, f"{__name__}:{name}", packs.PLUGINS)


def given_set() -> DirectionSet:
    return found()


def given_nonsense() -> int:
    return 3


def test_python_packages_bring_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [plugin("given_set")]
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.name])
    monkeypatch.setattr(packs, "entry_points", lambda group: points if group == packs.PLUGINS else [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [one.name for one in own_directions("f00d", [])] == ["pc0", "pc1"]
        assert own_directions("beef", []) == []
    points.append(plugin("given_nonsense"))
    with pytest.raises(DirectionError, match=r"the plugin 'given_nonsense' .* failed"):
        own_directions("f00d", [])


def test_a_model_without_directions_says_where_to_get_some() -> None:
    with pytest.raises(UsageError, match=r"'age', nor any other for this model.*models list"):
        DirectionSet([], "f00d")["age"]
