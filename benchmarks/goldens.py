"""How far our networks are from the reference implementations: the table of docs/goldens.md.

Usage: python benchmarks/goldens.py [GOLDEN_FOLDER] [--slow] [--write]

Every golden is loaded as a user would load it, and everything that it says of the reference's results is computed and
compared. Those without weights inside are filled by the rule in the folder's README; the large ones only with --slow.
Exits with 1 where a difference is beyond the tolerance.
"""

from __future__ import annotations

import argparse
import json
import math
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from faceloom import load_encoder, load_generator
from faceloom.generators.protocol import Generator
from faceloom.generators.stylegan3 import StyleGAN3

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "goldens.md"
LARGE = 40_000_000
"""Numbers from which a filled network is slow."""
SAME_WEIGHTS = {"stylegan2_tensorflow_32": "stylegan2ada_skip_32"}
"""Checkpoints whose results lie beside another one of the same weights."""
KINDS = {"e4e": "Encoder4Editing", "psp": "GradualStyleEncoder"}
Values = dict[str, Tensor]


def values(path: Path) -> Values:
    """The arrays of an npz."""
    with np.load(path) as arrays:
        return {name: torch.from_numpy(np.atleast_1d(arrays[name])) for name in arrays}


def filled(folder: Path, name: str, golden: Values, target: Path) -> None:
    """Write the checkpoint of a golden without weights, in the way of its project."""
    shapes: dict[str, list[int]] = json.loads((folder / f"{name}.names.json").read_text())
    rules = runpy.run_path(str(ROOT / "tests" / "checkpoints" / "psp_files.py"))
    if "input_layer.0.weight" in shapes:
        state = {f"encoder.{key}": rules["filled"](key, tuple(shape)) for key, shape in shapes.items()}
        opts = {"encoder_type": KINDS[name.partition("_")[0]]}
        torch.save({"state_dict": state, "latent_avg": torch.zeros(18, 512), "opts": opts}, target)
        return
    fill = rules["_GENERATORS"]["_fill_one"]
    weights = {key: torch.from_numpy(fill(key, tuple(shape))) for key, shape in shapes.items()}
    if "latent_avg" in golden:
        torch.save({"g_ema": weights, "latent_avg": golden["latent_avg"]}, target)
    else:
        torch.save({"G_ema": weights}, target)


def generated(generator: Generator, golden: Values) -> Iterator[tuple[str, Tensor]]:
    """What the golden holds, as our generator gives it."""
    psi = float(golden["psi"]) if "psi" in golden else 1.0
    labels = golden["c"] if "c" in golden and golden["c"].shape[1] else None
    whole = any(key.endswith("centre_16") for key in golden)
    if whole:
        truncated = generator.map(golden["z"], truncation=psi)
        w = generator.map(golden["z"])[:, 0] if golden["w"].ndim == 2 else truncated[:, :1]
        image = generator.synthesize(truncated)
        size, prefix = image.shape[-1], "image_truncated" if "latent_avg" in golden else "image"
        centre = slice(size // 2 - 8, size // 2 + 8)
        yield "w", w
        yield f"{prefix}_mean_pooled_32", functional.avg_pool2d(image, size // 32)
        yield f"{prefix}_centre_16", image[:, :, centre, centre]
        return
    yield "w", generator.map(golden["z"], labels)
    yield "image", generator.synthesize(golden["w"])
    if "w_truncated" in golden:
        yield "w_truncated", generator.map(golden["z"], labels, truncation=psi)
        yield "image_truncated", generator.synthesize(golden["w_truncated"])
        yield "image_no_noise", generator.synthesize(golden["w"], noise="none")
    if "image_transformed" in golden and isinstance(generator, StyleGAN3):
        yield "image_transformed", generator.synthesize(golden["w"], transform=golden["transform"].float())


@torch.no_grad()
def compared(folder: Path, name: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name of a result, what we give, what the reference gave."""
    golden = values(folder / f"{SAME_WEIGHTS.get(name, name)}.npz")
    with tempfile.TemporaryDirectory() as place:
        path = folder / f"{name}.pkl"
        if not path.is_file():
            path = Path(place) / "filled.pt"
            filled(folder, name, golden, path)
        if "codes" in golden:
            yield "codes", load_encoder(path)(golden["image"].float()), golden["codes"]
            return
        for what, found in generated(load_generator(path), golden):
            yield what, found, golden[what]


def goldens(folder: Path, *, slow: bool) -> list[str]:
    """Their names; those that take minutes where `slow`."""
    names = []
    for path in sorted({*folder.glob("*.pkl"), *folder.glob("*.names.json")}):
        name = path.name.partition(".")[0]
        large = path.suffix == ".json" and sum(map(math.prod, json.loads(path.read_text()).values())) > LARGE
        if slow or not large:
            names.append(name)
    return names


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared" / "golden")
    parser.add_argument("--slow", action="store_true", help="also the large ones, which take minutes and 4 GB")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| golden | result | largest difference | largest value | tolerance | |", "|---|---|---|---|---|---|"]
    beyond = 0
    for name in goldens(options.folder, slow=options.slow):
        tolerance = 1e-4 if name.startswith("stylegan3") else 1e-3
        for what, found, wanted in compared(options.folder, name):
            same = found.shape == wanted.shape
            difference = float((found - wanted).abs().max()) if same else math.inf
            beyond += not difference < tolerance
            verdict = "ok" if difference < tolerance else "BEYOND"
            lines.append(
                f"| {name} | {what} | {difference:.1e} | {float(wanted.abs().max()):.3g} | {tolerance:g} | {verdict} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    table = "\n".join(lines)
    if options.write:
        command = "python benchmarks/goldens.py" + (" --slow" if options.slow else "") + " --write"
        PAGE.write_text(
            "# How far our networks are from the reference's\n\n"
            "Largest absolute difference between what our generators and encoders compute from a checkpoint, and\n"
            "what the reference implementations computed from it, both in float32 on a CPU. The weights are made up;\n"
            "names, shapes and arithmetic are those of the published networks.\n\n"
            f"Made by `{command}`, PyTorch {torch.__version__.partition('+')[0]}.\n\n{table}\n"
        )
    else:
        print(table)
    sys.exit(1 if beyond else 0)


if __name__ == "__main__":
    main()
