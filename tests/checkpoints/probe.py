"""Load every file of a folder in one process; print how each went, and what it cost, as JSON.

Usage: python probe.py FOLDER. Run by test_hostile.py, in a process of its own because the files are out to harm it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from pathlib import Path

import torch

from faceloom.checkpoints import load_generator
from faceloom.errors import CheckpointError

SPARE = 256 << 20


def status(field: str) -> int:
    """A figure of this process in bytes, out of /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def release() -> None:
    """Give memory back to the system, and forget the peak so far."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def main(folder: Path) -> None:
    """Print {"files": {name: outcome, bytes, seconds}, "imported": names of new modules that files name}."""
    torch.set_num_threads(1)
    results = {}
    gc.freeze()  # so that collecting after every file need not look at everything that PyTorch made
    modules = set(sys.modules)
    for path in sorted(folder.iterdir()):
        release()
        before, started = status("VmRSS"), time.monotonic()
        limit = status("VmSize") + 2 * path.stat().st_size + SPARE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        try:
            load_generator(path)
            outcome = "value"
        except CheckpointError as error:
            outcome = str(error)
        seconds = time.monotonic() - started
        results[path.name] = {"outcome": outcome, "bytes": status("VmHWM") - before, "seconds": seconds}
    imported = sorted(name for name in set(sys.modules) - modules if "canary" in name)
    print(json.dumps({"files": results, "imported": imported}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
