from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceloom.directions.composing import balanced
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.directions.drawing import style_sizes, synthesize_moved
from faceloom.errors import CheckpointError, DirectionError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.recipe import Edit

AMOUNTS = st.floats(-3, 3)


def move(name: str, *values: float, space: str = "w+") -> Direction:
    vector = torch.tensor(values)
    return Direction(
        name,
        vector.expand(2, -1).clone() if space == "w+" else vector,
        (0, 2),
        (-2, 2),
        "a",
        "b",
        space=space,  # type: ignore[arg-type]
    )


@pytest.fixture
def generator() -> StyleGAN2:
    torch.manual_seed(5)
    return StyleGAN2(StyleGAN2Config(8, (6, 4), z_dim=4, w_dim=4, mapping_layers=1)).eval().requires_grad_(False)


def test_bad_words_and_ranges_are_refused() -> None:
    for wrong in ({"name": ""}, {"name": "\x1b[31mred"}, {"low": "a\nb"}, {"range": (float("nan"), 1.0)}):
        with pytest.raises(DirectionError):
            replace(move("x", 1, 0), **wrong)


def test_bad_vectors_are_refused() -> None:
    with pytest.raises(DirectionError, match="'x' is zero everywhere"):
        move("x", 0.0, 0.0)
    with pytest.raises(DirectionError, match="'x' must be finite"):
        move("x", float("nan"), 1.0)
    with pytest.raises(DirectionError, match=r"of the shape \(channels,\)"):
        Direction("x", torch.ones(2, 3), (0, 2), (-1, 1), "a", "b", space="s")
    with pytest.raises(DirectionError, match='a move is in "w\\+" or "s"'):
        Direction("x", torch.ones(2, 3), (0, 2), (-1, 1), "a", "b", space="z")  # type: ignore[arg-type]


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    rough = Direction("rough", torch.ones(3), (1, 2), (-1, 2), "lo", "hi", "s", "one step", "rough: soft")
    probe = Probe("age", torch.tensor([1.0, 2.0]), 0.5)
    effects = {"age": {"age": 1.0, "rough": 0.25}}
    DirectionSet([move("age", 1, 2), rough], "f", {"a": 1}, probes=[probe], effects=effects).save(tmp_path / "d")
    again = DirectionSet.load(tmp_path / "d")
    assert again.names() == ("age", "rough")
    assert torch.equal(again["rough"].vector, rough.vector)
    for field in ("layers", "range", "low", "high", "space", "unit", "note"):
        assert getattr(again["rough"], field) == getattr(rough, field)
    assert again.effects == effects
    assert again.probes["age"].read(torch.tensor([[1.0, 1.0]])).item() == 3.5
    assert again.probes["age"].read(torch.tensor([[[1.0, 1.0], [3.0, 1.0]]])).item() == 4.5


def test_an_older_file_without_the_new_entries_loads() -> None:
    bundled = Path(__file__).parents[2] / "src/faceloom/assets/default/directions.safetensors"
    assert all(one.space == "w+" for one in DirectionSet.load(bundled))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot read"):
        DirectionSet.load(tmp_path / "x")


def test_moves_in_s_and_w_do_not_mix() -> None:
    both = DirectionSet([move("w", 1, 2), move("s", 3, 4, 5, space="s")], "f")
    edits = [Edit("s", 2.0), Edit("w", 1.0), Edit("s", -0.5)]
    assert torch.equal(both.move(torch.zeros(2, 2), edits), torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    offset = both.style_offset(edits)
    assert offset is not None
    assert offset.tolist() == [4.5, 6.0, 7.5]
    assert both.style_offset([Edit("w", 1.0), Edit("s", 0.0)]) is None


def test_a_style_offset_moves_one_layer(generator: StyleGAN2) -> None:
    codes = torch.randn(2, generator.num_ws, 4)
    sizes = style_sizes(generator)
    assert sizes == [one.shape[1] for one in generator.styles(codes)]
    offset = torch.zeros(sum(sizes))
    plain = generator.synthesize(codes)
    assert torch.equal(synthesize_moved(generator, codes, offset), plain)
    offset[-1] = 5.0  # a channel of the last toRGB: the picture changes
    assert not torch.allclose(synthesize_moved(generator, codes, offset), plain)
    styles = generator.styles(codes)
    styles[-1] = styles[-1] + torch.nn.functional.pad(torch.tensor([5.0]), (sizes[-1] - 1, 0))
    assert torch.allclose(synthesize_moved(generator, codes, offset), generator.synthesize_styles(styles))
    with pytest.raises(DirectionError, match="made for another generator"):
        synthesize_moved(generator, codes, offset[:-1])


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_order_of_edits_does_not_matter(a: float, b: float, c: float) -> None:
    three = DirectionSet([move("x", 1, 0, 0.3), move("y", 0.5, 1, 0), move("z", 0, 0.2, 1)], "f")
    edits = (Edit("x", a), Edit("y", b), Edit("z", c))
    one, other = three.move(torch.zeros(2, 3), edits), three.move(torch.zeros(2, 3), edits[::-1])
    assert torch.allclose(one, other, atol=1e-5)
    forth, back = three.balanced(edits), three.balanced(edits[::-1])
    assert {edit.direction: pytest.approx(edit.amount, abs=1e-6) for edit in forth} == {
        edit.direction: edit.amount for edit in back
    }


@given(AMOUNTS)
def test_balance_keeps_what_is_held(amount: float) -> None:
    two = DirectionSet([move("beard", 1, 0.5), move("gender", 0, 1)], "f")
    edits = two.balanced((Edit("beard", amount), Edit("gender", 0.0)))
    moved = two.move(torch.zeros(2, 2), edits)
    assert torch.allclose(moved[:, 1], torch.zeros(2), atol=1e-5)
    kept = DirectionSet(
        list(two), "f", effects={"beard": {"beard": 2, "gender": 1}, "gender": {"beard": 0, "gender": 4}}
    )
    amounts = {edit.direction: edit.amount for edit in kept.balanced((Edit("beard", amount), Edit("gender", 0.0)))}
    assert amounts["beard"] == pytest.approx(amount, abs=1e-6)
    assert amounts["gender"] == pytest.approx(-amount / 4, abs=1e-6)


def test_how_long_directions_are_changes_nothing_in_what_is_kept() -> None:
    for length in (0.1, 1.0, 5.0, 10.0):
        two = DirectionSet([move("age", 1, 0), move("smile", 0.2 * length, (1 - 0.04) ** 0.5 * length)], "f")
        age, smile = two.balanced((Edit("age", 1.0), Edit("smile", 0.0)))
        assert age.amount == pytest.approx(1.0 / 0.96, abs=1e-4)
        assert smile.amount == pytest.approx(-0.2 / 0.96 / length, abs=1e-4)


def test_directions_that_cannot_be_told_apart_do_not_explode() -> None:
    table = {"x": {"x": 1.0, "y": 0.999}, "y": {"x": 0.999, "y": 1.0}}
    amounts = [edit.amount for edit in balanced((Edit("x", 2.0), Edit("y", 0.0)), table)]
    assert max(map(abs, amounts)) <= 2.0
    assert balanced((), table) == ()


def test_sets_join_and_names_are_unique() -> None:
    one = DirectionSet([move("x", 1, 0)], "f")
    assert one.joined([move("y", 0, 1)]).names() == ("x", "y")
    with pytest.raises(DirectionError, match="same name"):
        one.joined([move("x", 0, 1)])
    with pytest.raises(UsageError, match="did you mean 'x'"):
        _ = one["xx"]
    with pytest.raises(DirectionError, match="made for the generator f, not g"):
        one.check_generator("g")
    flipped = move("x", 1, 2).renamed("z", "c", "d", flip=True)
    assert flipped.vector[0].tolist() == [-1.0, -2.0]


def bent(name: str, vector: list[float], bend: list[float]) -> Direction:
    return replace(move(name, *vector), bend=torch.tensor(bend).expand(2, -1).clone())


def test_edits_of_one_bent_direction_add_up() -> None:
    one = DirectionSet([bent("x", [1.0, 0.0], [0.0, 0.5])], "f")
    codes = torch.zeros(1, 2, 2)
    assert torch.equal(one.move(codes, [Edit("x", 2.0), Edit("x", -2.0)]), codes)
    assert torch.equal(one.move(codes, [Edit("x", 2.0), Edit("x", -0.5)]), one.move(codes, [Edit("x", 1.5)]))


def test_a_bent_path_parts_at_its_middle(tmp_path: Path) -> None:
    one = bent("x", [1.0, 0.0], [0.0, 0.5])
    assert one.step(2.0)[0].tolist() == [2.0, 1.0]
    assert one.step(-2.0)[0].tolist() == [-2.0, 1.0]
    assert one.scaled(0.5).step(-2.0)[0].tolist() == [-1.0, 0.5]
    flipped = one.renamed("y", "b", "a", flip=True)
    assert torch.equal(flipped.step(1.5), one.step(-1.5))
    codes = torch.zeros(3, 2, 2)
    moved = DirectionSet([one], "f").move(codes, [Edit("x", -1.0)])
    assert torch.equal(moved, one.step(-1.0).expand(3, -1, -1))
    DirectionSet([one, move("straight", 1.0, 1.0)], "f").save(tmp_path / "d.safetensors")
    loaded = DirectionSet.load(tmp_path / "d.safetensors")
    assert loaded["x"].follows(one)
    assert loaded["straight"].bend is None
    assert not one.follows(move("x", 1.0, 0.0))
    assert not one.follows(move("x", 1.0, 0.0, space="s"))


def test_a_bad_bend_is_refused() -> None:
    with pytest.raises(DirectionError, match="bend of the direction 'x' must be finite, of the shape"):
        replace(move("x", 1.0, 0.0), bend=torch.zeros(1, 2))
    with pytest.raises(DirectionError, match="bend of the direction 'x' must be finite"):
        bent("x", [1.0, 0.0], [0.0, float("nan")])
