"""A model on another device: what a GPU would refuse, a stand-in refuses, too.

The stand-in computes on the CPU, so that its results can be compared, and is as strict as a GPU about whose tensors
meet: whatever forgets to bring a tensor to the model's device, or back from it, fails here as it would there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from click import Command
from click.testing import CliRunner
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from faceloom.avatar import Avatar
from faceloom.cli.animate import animate
from faceloom.cli.edit import edit
from faceloom.cli.invert import invert
from faceloom.cli.render import render
from faceloom.cli.sample import sample
from faceloom.directions.components import sample_codes
from faceloom.directions.drawing import synthesize_along
from faceloom.editor import Editor, make_inverter
from faceloom.errors import UsageError
from faceloom.generators.backends import use_backend
from faceloom.imaging.convert import resized
from faceloom.inversion.dial import inverter_at
from faceloom.inversion.methods import METHODS, MethodName
from faceloom.inversion.pivotal import PivotalTuner
from faceloom.model import Model, load_model
from faceloom.recipe import Recipe
from faceloom.server.studio import Studio, StudioSettings

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "portrait.jpg"
EDITED = Recipe().with_edit("age", 1.5).with_edit("smile", 1.0)

DEVICE = torch.device("lazy")
"""Its name: one that every build of PyTorch knows, and that computes nothing by itself."""
_CROSSING = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}
"""What is there may be indexed by what is not, and only that."""
_MISSING = {torch.ops.aten._upsample_bilinear2d_aa.default, torch.ops.aten._upsample_bilinear2d_aa_backward.default}
"""What MPS cannot do, at least not with gradients."""


class ElsewhereTensor(torch.Tensor):
    """Says that it is on the device; its values are in `held`, on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> ElsewhereTensor:
        """Wrap a tensor."""
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=DEVICE, requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[Any, Any] | None = None,
    ) -> Any:
        """Compute there."""
        return _computed(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, tensors can be brought to the device, and made there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[Any, Any] | None = None,
    ) -> Any:
        """Compute where the arguments say."""
        return _computed(func, args, kwargs or {})


def _computed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, ElsewhereTensor)]
    wanted = kwargs.get("device")
    if there and func in _MISSING:
        raise NotImplementedError(f"{func} on {DEVICE}")
    if func in _INDEXING:
        tensors = [one for position, one in enumerate(args) if isinstance(one, Tensor) and position != 1]
    if there and func not in _CROSSING:
        strangers = [one for one in tensors if one.dim() and not isinstance(one, ElsewhereTensor)]
        if strangers:
            shape = tuple(strangers[0].shape)
            raise RuntimeError(f"{func}: expected all tensors on {DEVICE}, but one {shape} is on the CPU")
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    plain = [tree_map(_held, part) for part in (args, kwargs)]
    result = func(*plain[0], **plain[1])
    for one in tree_flatten(result)[0]:
        if isinstance(one, Tensor) and one.dtype == torch.float64 and (there or _is_there(wanted)):
            raise TypeError(f"{func}: {DEVICE} has no numbers of 64 bits")
    stays = bool(there) if wanted is None else _is_there(wanted)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    mutated = [one for one in there if any(_held(one) is part for part in tree_flatten(result)[0])]
    if mutated:
        return mutated[0]
    return tree_map(lambda one: ElsewhereTensor(one) if isinstance(one, Tensor) else one, result) if stays else result


def _held(value: Any) -> Any:
    return value.held if isinstance(value, ElsewhereTensor) else value


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


@pytest.fixture
def there() -> Iterator[Model]:
    with use_backend("plain"), Elsewhere():
        yield load_model().on(DEVICE)


def test_the_stand_in_for_a_gpu_is_strict() -> None:
    with Elsewhere():
        one = torch.ones(3, device=DEVICE)
        assert isinstance(one, ElsewhereTensor)
        assert float((one + 1).sum().cpu()) == 6.0
        with pytest.raises(RuntimeError, match="is on the CPU"):
            one + torch.ones(3)
        with pytest.raises(TypeError, match="64 bits"):
            one.double()
        with pytest.raises(RuntimeError):
            one.numpy()


def test_pictures_are_resized_there_as_here() -> None:
    pictures = torch.randn(2, 3, 40, 56)
    with Elsewhere():
        for side in (17, 32, 90):
            found = resized(pictures.to(DEVICE), side)
            assert found.device == DEVICE
            assert torch.allclose(found.cpu(), resized(pictures, side), atol=1e-5)
            gradients = []
            for device in (DEVICE, torch.device("cpu")):
                leaf = pictures.to(device).requires_grad_()
                (gradient,) = torch.autograd.grad(resized(leaf, side).square().sum(), leaf)
                gradients.append(gradient.cpu())
            assert torch.allclose(gradients[0], gradients[1], atol=1e-4)


def test_a_model_moves_as_a_whole(there: Model) -> None:
    assert there.device == DEVICE
    assert there.spread.device == DEVICE
    assert there.on(DEVICE) is there
    home = load_model()
    assert home.device.type == "cpu"
    assert there.generator.fingerprint == home.generator.fingerprint
    again = there.on(torch.device("cpu"))
    assert again.device.type == "cpu"


@pytest.mark.parametrize("inverter", [None, *METHODS])
def test_a_photo_is_opened_and_edited_there(there: Model, inverter: str | None) -> None:
    method: object = inverter
    if inverter is None:  # the dial, shortened
        model = there
        method = inverter_at(0.1, model.generator, model.encoder, model.spread, moves=model.directions.moves())
    elif inverter == "pivotal":  # its codes take hundreds of steps
        method = PivotalTuner(there.generator, make_inverter("w", there, steps=2), steps=2)
    elif inverter != "encoder":
        method = make_inverter(cast(MethodName, inverter), there, steps=2)
    editor = Editor.open(EXAMPLE, model=there, inverter=method)  # type: ignore[arg-type]
    assert editor.faces[0].latent.codes.device.type == "cpu"
    assert type(editor.faces[0].latent.codes) is torch.Tensor
    edited = editor.render(EDITED).photo.pixels
    again = editor.inversion.render(there.generator)
    assert again.device == DEVICE
    # The same codes, drawn at home.
    plain = Editor(editor.photo, editor.faces, load_model())
    assert np.abs(edited.astype(int) - plain.render(EDITED).photo.pixels).max() <= 1


def test_a_tuned_face_and_a_twin_are_drawn_there(there: Model, tmp_path: Path) -> None:
    dial = inverter_at(0.26, there.generator, there.encoder, there.spread, moves=there.directions.moves())
    dial.steps = 2  # type: ignore[attr-defined]
    editor = Editor.open(EXAMPLE, model=there, inverter=dial)
    face = editor.faces[0]
    assert face.tuning is not None
    assert all(type(one) is torch.Tensor for one in face.tuning.tensors.values())
    assert len(repr(face)) < 1000  # for whoever looks at it in a notebook
    home = Editor(editor.photo, editor.faces, load_model())
    for recipe in (EDITED, replace(EDITED, twin="toon", degree=0.8)):
        drawn, wanted = (one.render(recipe).photo.pixels.astype(int) for one in (editor, home))
        assert np.abs(drawn - wanted).max() <= 2
    small = editor.scaled(200).render(EDITED)
    assert max(small.photo.size) == 200
    Avatar.of(editor).save(tmp_path / "me.avatar")
    kept = Avatar.load(tmp_path / "me.avatar").open(there, None)
    assert np.abs(kept.render(EDITED).after[0].astype(int) - editor.render(EDITED).after[0]).mean() < 2


def test_directions_are_drawn_there(there: Model) -> None:
    codes = sample_codes(there.generator, 10, seed=1)[:2].unsqueeze(1).expand(-1, there.generator.num_ws, -1)
    pictures = synthesize_along(there.generator, codes.to(DEVICE), there.directions["age"], 1.0)
    assert pictures.device == DEVICE


def test_a_verb_takes_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "cuda" if not torch.cuda.is_available() else "cuda:99"
    words = [str(EXAMPLE), "--age", "1", "-o", str(tmp_path / "a.png"), "--device", absent]
    with pytest.raises(UsageError, match=f"no device '{absent}'"):
        CliRunner().invoke(edit, words, catch_exceptions=False)
    monkeypatch.setenv("FACELOOM_DEVICE", "nonsense")
    with pytest.raises(UsageError, match="no device 'nonsense'"):
        CliRunner().invoke(sample, ["-o", str(tmp_path / "b.png")], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("verb", "output"), [(invert, "x.avatar"), (render, "x.png"), (animate, "x.webp")])
def test_other_verbs_take_one_too(verb: Command, output: str, tmp_path: Path) -> None:
    inputs = tmp_path / "me.avatar" if verb is render else EXAMPLE
    if verb is render:
        editor = Editor.open(EXAMPLE, inverter="encoder")
        Avatar.of(editor).save(inputs)
    more = ["--edit", "smile"] if verb is animate else []
    result = CliRunner().invoke(verb, [str(inputs), "-o", str(tmp_path / output), "--device", "cuda:99", *more])
    assert isinstance(result.exception, UsageError)
    assert "no device" in str(result.exception)


def test_a_studio_names_a_wrong_device_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no device 'cuda:99'"):
        Studio(StudioSettings(tmp_path / "data", device="cuda:99"))
    assert not (tmp_path / "data").exists()
