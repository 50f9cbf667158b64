"""The page that `performance.py` writes, from what it found."""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from performance_tasks import BACKENDS, PHOTO, Times

from faceloom.generators.backends import backend


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        kept, bare: by size, what the processes found whose allocator keeps memory, and has none of it.
        work: cost against batch.
        photo: stages of one photo.
        memory: bytes at the peak of a render; empty where that cannot be measured.
        starts: seconds of whole processes.
        loads: of the computer, before and after.
    """

    kept: dict[int, Any]
    bare: dict[int, Any]
    work: dict[str, Any]
    photo: dict[str, Any]
    memory: dict[str, int]
    starts: Times
    loads: tuple[str, str]


GOALS: dict[str, dict[int, tuple[float, ...]]] = {
    "synthesis": {1024: (4.5, 2.2), 512: (3.3, 2.2), 256: (2.6, 2.2)},
    "floor": {1024: (0.75,), 512: (0.8,), 256: (0.8,)},
    "plain": {1024: (2.0,), 512: (1.6,), 256: (1.4,)},
    "step": {1024: (5.5, 2.5), 512: (4.2, 2.5), 256: (3.7, 2.5)},
    "last": {1024: (0.27,), 512: (0.27,), 256: (0.30,)},
    "preview": {1024: (0.21,), 512: (0.25,), 256: (0.35,)},
}


def runs_of_size(size: int, runs: int) -> int:
    """As many more runs as pictures are smaller: what takes a moment is disturbed most, and costs least to repeat."""
    return runs * max(1, 1024 // size)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def ratio(text: float, bound: float, *, at_least: bool) -> str:
    if not bound:
        return f"{text:.2f}"
    return f"{text:.2f} ({'≥' if at_least else '≤'} {bound:g}{'' if (text >= bound) == at_least else ', missed'})"


def goals_table(sizes: list[int], kept: dict[int, Any], bare: dict[int, Any]) -> str:
    def goal(kind: str, size: int) -> tuple[float, ...]:
        return GOALS[kind].get(size, (0.0, 0.0))

    rows: list[list[str]] = [[] for _ in range(10)]
    rows[0] = ["synthesis: reference as published / fused"]
    rows[1] = ["synthesis: reference with the allocator fix / fused"]
    rows[2] = ["fused / floor of direct convolution"]
    rows[3] = ["synthesis: reference as published / plain"]
    rows[4] = ["inversion step: reference as published / fused"]
    rows[5] = ["inversion step: reference with the allocator fix / fused"]
    rows[6] = ["last-block edit / full render"]
    rows[7] = ["64-px preview / full render"]
    rows[8] = ["last-block edit, another each time / full render"]
    rows[9] = ["tuning step, gradients for filters: plain / fused"]
    for size in sizes:
        ours, theirs = kept[size]["seconds"], bare[size]["seconds"]
        fused, step = ours["synthesis: fused"], ours["step: fused"]
        published_, textbook = theirs["synthesis: reference"], ours["synthesis: reference"]
        floor = kept[size]["gflop"] / kept[size]["peak"]
        rows[0].append(ratio(published_ / fused, goal("synthesis", size)[0], at_least=True))
        rows[1].append(ratio(textbook / fused, goal("synthesis", size)[1], at_least=True))
        rows[2].append(ratio(fused / floor, goal("floor", size)[0], at_least=False))
        rows[3].append(ratio(published_ / ours["synthesis: plain"], goal("plain", size)[0], at_least=True))
        rows[4].append(ratio(theirs["step: reference"] / step, goal("step", size)[0], at_least=True))
        rows[5].append(ratio(ours["step: reference"] / step, goal("step", size)[1], at_least=True))
        rows[6].append(ratio(ours["last-block edit"] / fused, goal("last", size)[0], at_least=False))
        rows[8].append(ratio(ours["last-block edit, another each time"] / fused, 0.0, at_least=False))
        rows[9].append(ratio(ours["tuning step: plain"] / ours["tuning step: fused"], 0.0, at_least=True))
        rows[7].append(ratio(ours["64-px preview"] / fused, goal("preview", size)[0], at_least=False))
    return table(["ratio (goal)", *(f"{size} px" for size in sizes)], rows)


def seconds_table(sizes: list[int], kept: dict[int, Any], bare: dict[int, Any]) -> str:
    rows = []
    for name in kept[sizes[0]]["seconds"]:
        for found, how in ((bare, "as it comes"), (kept, "keeps memory")):
            rows.append([name, how, *(f"{found[size]['seconds'][name]:.3f}" for size in sizes)])
    rows.append(["direct operations, GFLOP", "", *(f"{kept[size]['gflop']:.1f}" for size in sizes)])
    rows.append(["matrix products here, GFLOP/s", "", *(f"{kept[size]['peak']:.0f}" for size in sizes)])
    for place, what in enumerate(("the last block", "blocks up to 64 px")):
        rows.append([f"share of {what} in the products of fused", ""])
        rows[-1] += [f"{kept[size]['shares'][place]:.2f}" for size in sizes]
    for name in BACKENDS:
        rows.append([f"largest difference to the reference: {name}", ""])
        rows[-1] += [f"{kept[size]['difference'][name]:.1e}" for size in sizes]
    return table(["seconds", "allocator", *(f"{size} px" for size in sizes)], rows)


def page(options: argparse.Namespace, found: Findings) -> str:
    """The whole page, in Markdown."""
    sizes: list[int] = options.sizes
    kept, bare, photo = found.kept, found.bare, found.photo
    megabytes = ", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in found.memory.items())
    stages = table(["stage", "seconds"], [[name, f"{value:.3f}"] for name, value in photo["stages"].items()])
    batch = table(["images at a time", "seconds an image"], [[n, f"{s:.3f}"] for n, s in found.work["batch"].items()])
    columns = ("open", "render", "batch", "batch, processor", "abreast", "abreast, processor")
    crowds = table(
        ["faces", "open", "render, 1 edit", "inversion as one batch", "processor", "inversion abreast", "processor"],
        [[n, *(f"{one[column]:.2f}" for column in columns)] for n, one in photo["faces"].items()],
    )
    begin = table(["process", "seconds"], [[name, f"{value:.2f}"] for name, value in found.starts.items()])
    chosen = backend()
    counts = ", ".join(f"{runs_of_size(size, options.runs)} at {size} px" for size in sizes)
    return f"""# Performance

Written by `python benchmarks/performance.py --threads {options.threads} --runs {options.runs}`; don't edit.

{processor()}, {options.threads} threads, PyTorch {torch.__version__}, back end in use: {chosen.name} ({chosen.reason}).
Medians of runs in turns: {counts} (inversion steps: half as many).
The second of two runs in a row counts, up to "Cost against work": whoever has waited for others begins slowly.
Load before {found.loads[0]}, after {found.loads[1]}.

The reference is a textbook StyleGAN2 (`benchmarks/reference_stylegan2.py`), "as published" with the allocator as it
comes. "Keeps memory" is glibc told to keep what was freed (`settings.keep_memory`), and threads to wait
asleep (`settings.wait_asleep`), as our programs do.
No package that we know provides a StyleGAN2 for PyTorch today, so there is no peer to run beside it.

## Goals

{goals_table(sizes, kept, bare)}

The floor is what direct convolution needs at the speed of matrix products here; fast algorithms go below it.
A preview can hardly take a smaller part of the time of a full render than it has of the products, which the table below
gives, nor can an edit of the last block to another code each time. A slider can: it moves styles along a line, on which
the block's first convolution is known after four moves (`faceloom.generators.style_lines`). "Last-block edit" is that.
"In small pages" shows what pages of 2 MiB bring (`faceloom.generators.fused.pages`).

## Seconds

{seconds_table(sizes, kept, bare)}

Peak memory of one {max(sizes)}-px render, weights included: {megabytes or "not measured here"}.
Packed filters are most of what the fused back end adds; they stay for the next render.

## Cost against work

Batch, 256 px, fused:

{batch}

One photo ({PHOTO.name}) with the embedded model ({photo["resolution"]} px, loaded in {photo["load model"]:.2f} s):

{stages}

The same with more faces, copies side by side, in seconds. A small generator gains nothing from a second core, so each
face has one to itself, and one that no face has helps another's with what it puts aside (`faceloom.inversion.abreast`);
beside it, all faces as one batch on all cores:

{crowds}

## Starting

{begin}

Loading checkpoints: `python benchmarks/loading.py`.
"""
