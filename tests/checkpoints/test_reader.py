"""What honest files hold is read as it is, and nothing of it is run."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import pickle
import pickletools
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from faceloom.checkpoints import read_checkpoint
from faceloom.checkpoints.inert import Inert
from faceloom.checkpoints.instructions import _BY_NAME
from faceloom.checkpoints.reader import read_tree, reading
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import Storage, StoredTensor, stored_tensor
from faceloom.checkpoints.torch_files import read_pickle
from faceloom.errors import CheckpointError

_SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=300)
_KEYS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=20) | st.binary(max_size=20)
_TREES = st.recursive(
    _SCALARS | st.binary(max_size=300) | st.frozensets(_KEYS, max_size=4) | st.sets(_KEYS, max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


def _round_trip(value: Any, protocol: int) -> Any:
    return read_pickle(Span.of_bytes(pickle.dumps(value, protocol=protocol)))


@given(tree=_TREES, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_come_back_in_every_protocol(tree: Any, protocol: int) -> None:
    assert _round_trip(tree, protocol) == tree


def test_shared_and_circular_structures_come_back() -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    shared = {"a": 1}
    tree = _round_trip({"circle": circle, "twice": [shared, shared]}, 4)
    assert tree["circle"][1] is tree["circle"]
    assert tree["twice"][0] is tree["twice"][1]


def test_every_instruction_of_the_format_is_known() -> None:
    assert {opcode.name for opcode in pickletools.opcodes} - {"STOP"} == set(_BY_NAME)


@pytest.mark.parametrize("text", [b"S'it\\'s'\np0\n.", b"T\x04\x00\x00\x00it's.", b"U\x04it's.", b"Vit's\n."])
def test_texts_of_python_2_are_read(text: bytes) -> None:
    assert read_pickle(Span.of_bytes(text)) == "it's"


# Tensors


_TENSORS = {
    "whole": torch.arange(24.0).reshape(2, 3, 4),
    "transposed": torch.arange(24.0).reshape(4, 6).t(),
    "slice": torch.arange(24.0).reshape(4, 6)[1:3, ::2],
    "expanded": torch.arange(5.0).expand(3, 5),
    "scalar": torch.tensor(7.0),
    "empty": torch.zeros(0, 3),
    "half": torch.linspace(-1, 1, 7).half(),
    "bfloat16": torch.linspace(-1, 1, 7).bfloat16(),
    "double": torch.linspace(-1, 1, 7).double(),
    "long": torch.tensor([-(2**40), 3]),
    "bool": torch.tensor([True, False, True]),
    "complex": torch.tensor([1 + 2j, -3j]),
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "parameter": torch.nn.Parameter(torch.ones(2, 2)),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_torch_save_come_back(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "tensors.pt"
    torch.save(OrderedDict(_TENSORS), path, _use_new_zipfile_serialization=zipped)
    _assert_same_tensors(read_checkpoint(path))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_in_a_plain_pickle_come_back(dump: Callable[..., Path], protocol: int) -> None:
    _assert_same_tensors(read_checkpoint(dump(_TENSORS, protocol)))


def _assert_same_tensors(found: dict[str, StoredTensor]) -> None:
    assert found.keys() == _TENSORS.keys()
    for name, tensor in _TENSORS.items():
        values = found[name].read()
        assert values.dtype == tensor.dtype
        assert values.shape == tensor.shape
        assert values.is_contiguous()
        assert torch.equal(values, tensor.detach())


def test_safetensors_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "x.safetensors")
    found = read_checkpoint(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name].read(), tensor) for name, tensor in tensors.items())


def test_tensors_of_an_absent_device_land_on_the_cpu(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(3.0)}, tmp_path / "x.pt")
    data = (tmp_path / "x.pt").read_bytes()
    assert b"X\x03\x00\x00\x00cpu" in data
    # Same length, so that nothing else in the archive moves.
    (tmp_path / "x.pt").write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00xpu"))
    assert read_checkpoint(tmp_path / "x.pt")["w"].read().tolist() == [0, 1, 2]


def test_a_direction_saved_on_a_gpu_is_read(shared_folder: Path) -> None:
    pose = read_checkpoint(shared_folder / "data" / "directions" / "e4e_pose.pt")
    assert pose.shape == (1, 18, 512)
    assert torch.allclose(pose.read().norm(dim=2), torch.ones(1, 18), atol=1e-5)


def test_untyped_storages_are_read(tmp_path: Path) -> None:
    # Newer versions of PyTorch write some tensors this way: bytes, and the type of the elements beside them.
    path = tmp_path / "x.pt"
    torch.save(torch.arange(3.0), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(name for name in entries if name.endswith("data.pkl"))
    data = (
        entries[root].replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3").replace(b"FloatStorage", b"UntypedStorage")
    )
    data = data.replace(b"K\x03tq", b"K\x0ctq", 1)  # 12 bytes in place of 3 elements
    end = data.rindex(b"tq")
    entries[root] = data[:end] + b"ctorch\nfloat32\n" + data[end:]
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in entries.items():
            archive.writestr(name, contents)
    assert read_checkpoint(path).read().tolist() == [0, 1, 2]


def test_values_are_read_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.zeros(1 << 16)}, path)
    stored = read_checkpoint(path)["w"]
    data = bytearray(path.read_bytes())
    at = data.find(bytes(4096))
    data[at : at + 4096] = torch.ones(1024).numpy().tobytes()
    path.write_bytes(data)
    assert stored.read().sum() > 0


# NumPy


_ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "doubles": np.linspace(0, 1, 12).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">f4"),
    "little": np.arange(5, dtype="<i2"),
    "bool": np.array([True, False]),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 2), np.float32),
    "large": np.arange(5000, dtype=np.float64),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_in_a_pickle_come_back(dump: Callable[..., Path], protocol: int) -> None:
    tree = read_checkpoint(dump({**_ARRAYS, "number": np.float64(2.5), "count": np.int64(7)}, protocol))
    assert tree.pop("number") == 2.5
    assert tree.pop("count") == 7
    _assert_same_arrays(tree)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_npz_come_back(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "x.npz", **_ARRAYS)
    _assert_same_arrays(read_checkpoint(tmp_path / "x.npz"))


@pytest.mark.parametrize("name", _ARRAYS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_of_npy_come_back(tmp_path: Path, name: str, version: tuple[int, int]) -> None:
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, _ARRAYS[name], version=version)
    found = read_checkpoint(tmp_path / "x.npy")
    assert np.array_equal(found.read().numpy(), _ARRAYS[name])


def _assert_same_arrays(found: dict[str, StoredTensor]) -> None:
    assert found.keys() == _ARRAYS.keys()
    for name, array in _ARRAYS.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].read().numpy(), array)


def test_names_of_numpy_1_and_2_are_the_same(dump: Callable[..., Path]) -> None:
    path = dump(np.arange(3.0), 3)
    data = path.read_bytes()
    for old, new in ((b"numpy.core.", b"numpy._core."), (b"numpy._core.", b"numpy.core.")):
        path.write_bytes(data.replace(old, new))
        assert read_checkpoint(path).read().tolist() == [0, 1, 2]


def test_arrays_of_objects_are_refused_with_a_reason(tmp_path: Path, dump: Callable[..., Path]) -> None:
    array = np.array([{"a": 1}, None], dtype=object)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", a=array)
    for path in (tmp_path / "x.npy", tmp_path / "x.npz", dump(array)):
        with pytest.raises(CheckpointError, match="array of Python objects"):
            read_checkpoint(path)


def test_arrays_of_texts_do_no_harm(tmp_path: Path, dump: Callable[..., Path]) -> None:
    arrays = {"names": np.array(["smile", "age"]), "w": np.ones(3)}
    np.savez(tmp_path / "x.npz", names=arrays["names"], w=arrays["w"])
    for path in (tmp_path / "x.npz", dump(arrays)):
        assert read_checkpoint(path)["w"].read().tolist() == [1, 1, 1]
    with pytest.raises(CheckpointError, match="not in the file"):
        read_checkpoint(dump(arrays))["names"].read()


# Objects


class Unknown:
    """Stands for any class of another project."""

    def __init__(self, value: int) -> None:
        self.value = value


class UnknownList(list[int]):
    """A list with a class of its own."""


@pytest.mark.parametrize("protocol", range(6))
def test_objects_of_unknown_classes_become_data(dump: Callable[..., Path], protocol: int) -> None:
    found = read_checkpoint(dump({"object": Unknown(3), "list": UnknownList([1, 2])}, protocol))
    assert isinstance(found["object"], Inert)
    assert found["object"].name == "Unknown"
    assert found["object"].attributes == {"value": 3}
    assert isinstance(found["list"], Inert)


@pytest.mark.parametrize("protocol", range(6))
def test_namespaces_and_easydicts_become_dictionaries(
    dump: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    class EasyDict(dict[str, Any]):
        pass

    module = types.ModuleType("dnnlib.util")
    EasyDict.__module__, EasyDict.__qualname__ = module.__name__, "EasyDict"
    module.EasyDict = EasyDict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dnnlib", types.ModuleType("dnnlib"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    tree = read_checkpoint(dump({"opts": argparse.Namespace(size=1024, lr=0.1), "args": EasyDict(a=1)}, protocol))
    assert tree == {"opts": {"size": 1024, "lr": 0.1}, "args": {"a": 1}}


def test_small_values_of_pytorch_become_plain(dump: Callable[..., Path]) -> None:
    tree = {"size": torch.Size([1, 2]), "device": torch.device("cuda:0"), "ordered": OrderedDict(a=1)}
    assert read_checkpoint(dump(tree)) == {"size": (1, 2), "device": "cuda:0", "ordered": {"a": 1}}


def test_source_within_nvidia_objects_is_dropped(golden_folder: Path) -> None:
    tree = read_checkpoint(golden_folder / "stylegan2ada_skip_32.pkl")
    assert set(tree) >= {"G", "D", "G_ema", "training_set_kwargs", "augment_pipe"}
    generator = tree["G_ema"]
    assert (generator.name, generator.attributes["img_resolution"]) == ("Generator", 32)
    assert generator.attributes["_init_kwargs"]["z_dim"] == 64
    assert not hasattr(generator, "module_src")
    assert "module_src" not in generator.attributes


def test_the_parts_of_a_tensorflow_pickle_are_there(golden_folder: Path) -> None:
    networks = read_checkpoint(golden_folder / "stylegan2_tensorflow_32.pkl")
    assert [network.name for network in networks] == ["Network"] * 3
    assert set(networks[2].attributes["components"]) == {"mapping", "synthesis"}


# Refusals


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "web page"),
        (b"\n\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89PNG\r\n", "picture"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"\x00" * 100, "no checkpoint of a known format"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, contents: bytes, message: str) -> None:
    path = tmp_path / "ffhq.pkl"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith("ffhq.pkl: ")
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pkl")
    with pytest.raises(CheckpointError, match="no file"):
        read_checkpoint(tmp_path)


def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", b"N.")
        archive.writestr("x/constants.pkl", b").")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "x.pt")


def test_a_tensor_must_lie_within_its_storage() -> None:
    storage = Storage(torch.float32, 6)
    assert stored_tensor(storage, (2, 3)).stride == (3, 1)
    for shape, stride, offset in [
        ((7,), None, 0),
        ((2, 3), (3, 1), 1),
        ((2,), (6,), 0),
        ((-1,), (1,), 0),
        ((2,), (-1,), 3),
        ((2, 3), (1,), 0),
        ((True,), (1,), 0),
        ((1 << 40,), (0,), 0),
        ((2.0,), (1,), 0),
    ]:
        with pytest.raises(CheckpointError):
            stored_tensor(storage, shape, stride, offset)


@given(st.binary(max_size=200))
def test_random_bytes_never_give_another_error(data: bytes) -> None:
    for start in (b"", b"\x80\x04", b"PK\3\4", b"\x93NUMPY\x01\x00", len(data).to_bytes(8, "little") + b"{"):
        with contextlib.suppress(CheckpointError), reading(Path("x")):
            read_tree(Span.of_bytes(start + data))


def test_nothing_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(3)}, path)
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files")
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        assert math.isclose(float(read_checkpoint(path)["w"].read().sum()), 3)
    assert len(list(descriptors.iterdir())) <= before


def test_long_lines_and_payloads_cross_the_window() -> None:
    text = "ä" * 40_000
    for protocol in range(6):
        buffer = io.BytesIO()
        pickle.Pickler(buffer, protocol).dump([text, 1])
        assert read_pickle(Span.of_bytes(buffer.getvalue())) == [text, 1]
