"""Where Faceloom keeps its files, and what it computes on."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import platformdirs

from faceloom.errors import UsageError

if TYPE_CHECKING:
    import torch

APP_NAME = "faceloom"
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "float16", "bfloat16")
BackendName = Literal["auto", "plain", "fused"]

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def data_folder() -> Path:
    """The folder of what people make or fetch to keep (models, recipes): $FACELOOM_DATA, or the system's place."""
    chosen = os.environ.get("FACELOOM_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path(APP_NAME, appauthor=False)


def cache_folder() -> Path:
    """The folder of what can be made again at any time: $FACELOOM_CACHE, or the system's place."""
    chosen = os.environ.get("FACELOOM_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path(APP_NAME, appauthor=False)


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
    return torch.device(kind, int(index)) if index else torch.device(kind)


def choose_dtype(name: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """The number format of the networks: "auto" is float32; CPUs crawl on the 16-bit ones, which are for CUDA and MPS.

    Raises:
        UsageError: the name is unknown, or the device is a CPU and the format has 16 bits.
    """
    import torch

    formats = {"auto": torch.float32, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in formats:
        raise UsageError(f"there is no number format {name!r}; choose one of {', '.join(DTYPES)}")
    dtype = formats[name]
    if dtype is not torch.float32 and (device is None or device.type == "cpu"):
        raise UsageError(f"{name} is far slower than float32 on a CPU; choose float32, or another device")
    return dtype


def backend_name() -> BackendName:
    """The arithmetic that draws on a CPU: $FACELOOM_BACKEND, "auto" (the fastest there is), "plain" or "fused".

    Raises:
        UsageError: there is no such back end.
    """
    name = os.environ.get("FACELOOM_BACKEND") or "auto"
    if name not in get_args(BackendName):
        raise UsageError(f"there is no back end {name!r} (FACELOOM_BACKEND); choose auto, plain or fused")
    return cast(BackendName, name)


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
