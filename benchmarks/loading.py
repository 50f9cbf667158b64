"""How long it takes, and how much memory, to load a 1024-px generator from a foreign pickle and from our own file.

Usage: python benchmarks/loading.py [GOLDEN_FOLDER] [--runs N]

The weights are those of the full-size golden, filled by the rule in its README. They are written the way NVIDIA writes
its network pickles, with G_ema alone and with G, D and G_ema as in the published files (D is stood in for by a third
copy), and the way PTI and Faceloom do. Every load runs in a fresh process, with the file in the system's cache. Memory
is the peak above what the process used before. The first pair of figures is for `load_generator`; the second is for
reading every weight once after it, since safetensors maps the file into memory and fetches nothing before.
"""

from __future__ import annotations

import argparse
import json
import pickle
import runpy
import statistics
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
CHILD = """
import json, sys, time
from pathlib import Path
import torch
from faceloom.checkpoints import load_generator
torch.set_num_threads(1)
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))
Path("/proc/self/clear_refs").write_text("5")
before, started = status("VmRSS"), time.perf_counter()
generator = load_generator(sys.argv[1])
loaded = time.perf_counter() - started, status("VmHWM") - before
sum(float(tensor.sum()) for tensor in generator.state_dict().values())
touched = time.perf_counter() - started, status("VmHWM") - before
print(json.dumps({"loaded": loaded, "touched": touched, "fingerprint": generator.fingerprint}))
"""


def write_files(golden: Path, folder: Path) -> dict[str, Path]:
    """Write the same generator in every way, and give the paths by what they are."""
    from faceloom.checkpoints import load_generator, native
    from faceloom.generators.stylegan2 import StyleGAN2

    foreign = runpy.run_path(str(ROOT / "tests" / "checkpoints" / "conftest.py"))
    names = json.loads((golden / "stylegan2ada_full_1024.names.json").read_text())
    weights = {name: torch.from_numpy(foreign["_fill_one"](name, tuple(shape))) for name, shape in names.items()}
    module: Any = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None: ...

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules["torch_utils"], sys.modules[module.__name__] = types.ModuleType("torch_utils"), module

    def network() -> Any:
        return foreign["_nest"]("Generator", {name: tensor.clone() for name, tensor in weights.items()})

    paths = {
        "NVIDIA pickle, G_ema alone": folder / "alone.pkl",
        "NVIDIA pickle, G, D and G_ema": folder / "full.pkl",
        "torch.save of the whole module (PTI)": folder / "pti.pt",
        "Faceloom safetensors": folder / "native.safetensors",
    }
    alone, full, pti, ours = paths.values()
    alone.write_bytes(pickle.dumps({"G_ema": network()}))
    full.write_bytes(pickle.dumps({key: network() for key in ("G", "D", "G_ema")}))
    torch.save(network(), pti)
    generator = load_generator(alone)
    assert isinstance(generator, StyleGAN2)
    native.save_generator(ours, generator)
    return paths


def measure(path: Path) -> dict[str, Any]:
    """Load a file in a process of its own."""
    environment = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("golden", nargs="?", type=Path, default=ROOT.parent / "shared" / "golden")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(options.golden, Path(folder))
        print(f"{'file':38} {'MB':>5} {'load s':>8} {'peak MB':>8} {'read s':>8} {'peak MB':>8}")
        fingerprints = set()
        for name, path in paths.items():
            runs = [measure(path) for _ in range(options.runs)]
            fingerprints |= {run["fingerprint"] for run in runs}
            row = f"{name:38} {path.stat().st_size / 1e6:5.0f}"
            for stage in ("loaded", "touched"):
                seconds = statistics.median(run[stage][0] for run in runs)
                row += f" {seconds:8.3f} {max(run[stage][1] for run in runs) / 1e6:8.0f}"
            print(row)
    print("all of them give the same generator" if len(fingerprints) == 1 else "THEY DIFFER")


if __name__ == "__main__":
    main()
