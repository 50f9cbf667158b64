"""Where Faceloom keeps its files, and what it computes on."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import platformdirs

from faceloom.errors import UsageError

if TYPE_CHECKING:
    import torch

APP_NAME = "faceloom"
DEVICES = ("auto", "cpu", "cuda", "mps")
BackendName = Literal["auto", "plain", "fused", "half"]

WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""How long threads wait awake: turns of a loop in GNU's OpenMP, milliseconds in LLVM's and Intel's (200 if unsaid)."""

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def data_folder() -> Path:
    """The folder of what people make or fetch to keep (models, recipes): $FACELOOM_DATA, or the system's place."""
    return _chosen("FACELOOM_DATA") or platformdirs.user_data_path(APP_NAME, appauthor=False)


def cache_folder() -> Path:
    """The folder of what can be made again at any time: $FACELOOM_CACHE, or the system's place."""
    return _chosen("FACELOOM_CACHE") or platformdirs.user_cache_path(APP_NAME, appauthor=False)


def _chosen(variable: str) -> Path | None:
    path = os.environ.get(variable)
    try:
        return Path(path).expanduser() if path else None
    except RuntimeError as error:  # a home that nobody has
        raise UsageError(f"${variable} is {path!r}, of which there is no home folder; give a whole path") from error


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: "auto" (CUDA, else MPS, else CPU), "cpu", "mps", "cuda" or "cuda:N".

    Raises:
        UsageError: there is no such device, or not on this machine.
    """
    import torch

    if re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name) is None:
        raise UsageError(f"there is no device {name!r}; choose one of {', '.join(DEVICES)}, or cuda:N")
    kind, _, index = name.partition(":")
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind == "auto":
        kind = next(candidate for candidate in ("cuda", "mps", "cpu") if present[candidate])
    if present[kind] <= int(index or 0):
        raise UsageError(f"this machine has no device {name!r} that PyTorch can use; choose 'auto' or 'cpu'")
    return torch.device(kind, int(index or 0)) if kind == "cuda" else torch.device(kind)  # as tensors name it


def backend_name() -> BackendName:
    """The arithmetic that draws: $FACELOOM_BACKEND, "auto" (the fastest exact one), "plain", "fused" or "half".

    Raises:
        UsageError: there is no such back end.
    """
    name = os.environ.get("FACELOOM_BACKEND") or "auto"
    if name not in get_args(BackendName):
        raise UsageError(f"there is no back end {name!r} (FACELOOM_BACKEND); choose auto, plain, fused or half")
    return cast(BackendName, name)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Have PyTorch use one core in this thread for a while: small work gains nothing from a second.

    A thread that first uses PyTorch meanwhile keeps to one core, too.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def wait_asleep() -> None:
    """Let PyTorch's threads that wait for each other sleep after some microseconds, instead of milliseconds and more.

    While they wait awake, they take the cores that others need: every thread that computes with PyTorch has a team of
    its own. On two cores, some runs of the same work took many times as long as others. It works only before PyTorch is
    loaded; what the environment says already stays. Like `keep_memory`, it is for our own programs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in WAITING.items():
            os.environ.setdefault(name, value)


def keep_memory() -> bool:
    """Tell glibc's allocator to keep freed memory for reuse, which halves the time of large renders on a CPU.

    It changes the whole process and its footprint grows to its peak, so only our own programs call it, at their start.

    Returns:
        Whether the allocator took the settings; False where it is not glibc's.
    """
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return False
    if not hasattr(libc, "gnu_get_libc_version"):  # others may have a mallopt of another meaning
        return False
    libc.mallopt.argtypes, libc.mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
    accepted = [libc.mallopt(parameter, value) == 1 for parameter, value in wanted.items()]
    return all(accepted)
