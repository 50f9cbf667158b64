"""The largest memory that this process has held, where the system tells."""

from __future__ import annotations

import re
from pathlib import Path

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak() -> bool:
    """Start counting the peak anew; whether the system can (Linux does: proc(5), clear_refs)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int | None:
    """The largest resident memory since `reset_peak`, in bytes; None where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
