"""`faceloom doctor`: what Faceloom finds on this machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

import click

import faceloom
from faceloom.settings import cache_folder, data_folder, keep_memory

_PACKAGES = ("torch", "numpy", "numba", "dlib-bin", "pillow", "safetensors", "c2pa-python")
_MARKS = {
    "credentials": "Content Credentials (C2PA), signed with this installation's own key, and metadata",
    "metadata": "metadata alone (XMP); for signed Content Credentials: pip install 'faceloom[provenance]'",
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what Faceloom finds on this machine: versions, what draws and on what, and folders."""
    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    rows = {
        "faceloom": found["faceloom"],
        "Python": f"{found['python']} on {found['system']}",
        "packages": versions,
        "draws on": _drawing(found),
        "draws with": f"{found['backend']['name']} ({found['backend']['reason']})",
        "allocator": found["allocator"],
        "provenance": found["provenance"],
        "data": found["data"],
        "cache": found["cache"],
    }
    for name, text in rows.items():
        click.echo(f"{name:<13} {text}")


def _drawing(found: dict[str, Any]) -> str:
    cores, device, best = f"{found['threads']} of {found['cores']} cores", found["device"], found["best_device"]
    chosen = f"the processor, {cores}" if device == "cpu" else device
    if best.partition(":")[0] == device.partition(":")[0]:
        return chosen
    return f"{chosen} (--device {best} of edit, studio, train and others takes the GPU)"


def examine() -> dict[str, Any]:
    """All that `faceloom doctor` tells, as plain data.

    Raises:
        UsageError: if the environment asks for a back end or a device that cannot be had.
    """
    import torch

    from faceloom.generators.backends import backend
    from faceloom.provenance.saving import mark_in_use
    from faceloom.settings import choose_device

    chosen = backend()
    kept = keep_memory()
    return {
        "faceloom": faceloom.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": str(choose_device(os.environ.get("FACELOOM_DEVICE") or "cpu")),
        "best_device": str(choose_device()),
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "backend": {"name": chosen.name, "reason": chosen.reason},
        "allocator": "keeps freed memory (glibc)" if kept else "the system's; only glibc's can be told to keep memory",
        "provenance": _MARKS[mark_in_use()],
        "data": str(data_folder()),
        "cache": str(cache_folder()),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
