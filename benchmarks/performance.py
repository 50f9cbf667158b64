"""How fast Faceloom is on this computer, against a textbook implementation; writes docs/performance.md.

    python benchmarks/performance.py --threads 2                  # everything; about half an hour on two quiet cores
    python benchmarks/performance.py --sizes 256 --runs 3 --out /tmp/performance.md

What is compared runs in turns, so that whatever else the computer does slows all of it alike; figures are medians, and
ratios are of medians. Two processes take part in the turns: one whose allocator keeps freed memory, as Faceloom's
programs have it, and one as it comes. Weights of the published sizes are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import torch
from reference_stylegan2 import ReferenceStyleGAN2, published
from torch import Tensor

from faceloom.generators.backends import backend, use_backend
from faceloom.generators.cache import PrefixCache
from faceloom.generators.stylegan2 import StyledConvolution, StyleGAN2
from faceloom.settings import BackendName, keep_memory

ROOT = Path(__file__).resolve().parents[1]
BACKENDS: tuple[BackendName, ...] = ("plain", "fused")
PHOTO = ROOT / "examples" / "portrait.jpg"
Times = dict[str, float]


def in_turns(tasks: dict[str, Callable[[], object]], runs: int) -> Times:
    """Median seconds of each task, all of them run in turns after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(runs + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if number:
                found[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in found.items()}


def drawing(generator: StyleGAN2, ws: Tensor, name: BackendName, resolution: int | None = None) -> Callable[[], Tensor]:
    @torch.no_grad()
    def draw() -> Tensor:
        with use_backend(name):
            return generator.synthesize(ws, resolution=resolution)

    return draw


def noise_maps(generator: StyleGAN2) -> list[Tensor]:
    return [module.noise for module in generator.modules() if isinstance(module, StyledConvolution)]


def stepping(
    draw: Callable[[Tensor], Tensor], ws: Tensor, noises: list[Tensor], name: BackendName
) -> Callable[[], None]:
    """One step of an inversion: gradients of a loss for the codes and all noise maps."""

    def step() -> None:
        codes = ws.clone().requires_grad_()
        for noise in noises:
            noise.requires_grad_().grad = None
        with use_backend(name):
            draw(codes).square().mean().backward()  # type: ignore[no-untyped-call]
        for noise in noises:
            noise.requires_grad_(False)

    return step


def peak_gflops() -> float:
    """The most that matrix products reach here, in 10⁹ operations a second."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * 2048**3 / min(seconds) / 1e9


def direct_gflop(generator: StyleGAN2) -> float:
    """Operations of one image if every convolution is computed directly, in 10⁹: a multiplication and an addition each.

    A layer that doubles the size has nine products for each sample that it takes.
    """
    total = 0
    for index, block in enumerate(generator._blocks):
        side = 4 << index
        for layer in block.modulated:
            samples = (side // 2) ** 2 if layer is block.up else side**2
            total += 2 * layer.weight.numel() * samples
    return total / 1e9


@torch.no_grad()
def slider(generator: StyleGAN2, ws: Tensor, name: BackendName) -> dict[str, Callable[[], object]]:
    """Moving the last block's rows, with everything before kept, and a first look at 64 px."""
    cache, moved = PrefixCache(generator, 1 << 30), ws.clone()

    def last_block() -> None:
        moved[:, -3:] += 1e-3
        with use_backend(name):
            cache.synthesize(moved)

    with use_backend(name):
        cache.synthesize(moved)
    preview = PrefixCache(generator, 0)

    def look() -> None:
        with use_backend(name):
            preview.synthesize(ws, resolution=64)

    return {"last-block edit": last_block, "64-px preview": look}


def serve_size(size: int) -> None:
    """Run what standard input names, one line each, and answer with the seconds; facts about the size come first."""
    generator = published(size)
    reference = ReferenceStyleGAN2(generator)
    ws = generator.map(torch.randn(1, generator.z_dim))

    @torch.no_grad()
    def textbook() -> Tensor:
        return reference.synthesize(ws)

    wanted = textbook()
    tasks: dict[str, Callable[[], object]] = {"synthesis: reference": textbook}
    tasks |= {f"synthesis: {name}": drawing(generator, ws, name) for name in BACKENDS}
    tasks |= slider(generator, ws, "fused")
    tasks["step: reference"] = stepping(reference.synthesize, ws, reference.noises, "plain")
    tasks |= {f"step: {name}": stepping(generator.synthesize, ws, noise_maps(generator), name) for name in BACKENDS}
    facts = {
        "tasks": list(tasks),
        "difference": {name: float((drawing(generator, ws, name)() - wanted).abs().max()) for name in BACKENDS},
        "gflop": direct_gflop(generator),
    }
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        started = time.perf_counter()
        result = peak_gflops() if name == "peak" else tasks[name]()
        print(json.dumps(result if name == "peak" else time.perf_counter() - started), flush=True)


def measure_size(size: int, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Medians of two processes, one whose allocator keeps memory and one as it comes, that take turns."""
    children = [
        subprocess.Popen(command(f"size:{size}", options, keep=keep), stdin=PIPE, stdout=PIPE, text=True)
        for keep in (True, False)
    ]

    def ask(child: subprocess.Popen[str], name: str | None) -> Any:
        assert child.stdin is not None
        assert child.stdout is not None
        if name is not None:
            child.stdin.write(name + "\n")
            child.stdin.flush()
        return json.loads(child.stdout.readline())

    found = [ask(child, None) for child in children]
    for number in range(options.runs + 1):
        for name in found[0]["tasks"]:
            for facts, child in zip(found, children, strict=True):
                if name.startswith("step") and number > max(1, options.runs // 2):
                    continue
                seconds = ask(child, name)
                if number:
                    facts.setdefault("all", {}).setdefault(name, []).append(seconds)
        for facts, child in zip(found, children, strict=True):
            facts["peak"] = max(facts.get("peak", 0.0), ask(child, "peak"))
    for facts, child in zip(found, children, strict=True):
        facts["seconds"] = {name: statistics.median(values) for name, values in facts.pop("all").items()}
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    return found[0], found[1]


def measure_work(runs: int) -> dict[str, Any]:
    """Cost against batch, with the fused back end, at 256 px, seconds an image."""
    generator = published(256)
    tasks: dict[str, Callable[[], object]] = {}
    for count in (1, 2, 4):
        ws = generator.map(torch.randn(count, generator.z_dim))
        tasks[str(count)] = drawing(generator, ws, "fused")
    found = in_turns(tasks, runs)
    return {"batch": {count: seconds / int(count) for count, seconds in found.items()}}


def measure_photo(runs: int) -> dict[str, Any]:
    """One photo from the file to the edited file, with the embedded model."""
    import tempfile

    from faceloom import Recipe
    from faceloom.editor import Editor
    from faceloom.imaging.photos import open_photo, save_photo
    from faceloom.model import load_model

    started = time.perf_counter()
    model = load_model()
    loading = time.perf_counter() - started
    names = [direction.name for direction in model.directions]
    photo = open_photo(PHOTO)
    stages: dict[str, list[float]] = {}

    def timed(stage: str, task: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = task()
        stages.setdefault(stage, []).append(time.perf_counter() - begun)
        return result

    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs + 1):
            editor = timed("open (find, align, invert)", partial(Editor.open, photo, model=model))
            recipe = Recipe(model=model.id).with_edit(names[0], 1.0)
            for count in (1, 4, 8):
                many = Recipe(model=model.id)
                for name in names[:count]:
                    many = many.with_edit(name, 0.5 + number / 100)
                timed(f"render, {min(count, len(names))} edits", partial(editor.render, many))
            render = timed("render again", partial(editor.render, recipe))
            timed("save", partial(save_photo, render.photo, Path(folder) / "out.jpg"))
    return {
        "load model": loading,
        "resolution": model.generator.resolution,
        "stages": {stage: statistics.median(values[1:]) for stage, values in stages.items()},
    }


def start_times(runs: int) -> Times:
    """Seconds of whole processes that do next to nothing."""
    commands = {
        "faceloom --version": ["-m", "faceloom.cli.main", "--version"],
        "faceloom --help": ["-m", "faceloom.cli.main", "--help"],
        "python -c pass": ["-c", "pass"],
        "import faceloom": ["-c", "import faceloom"],
        "import torch": ["-c", "import torch"],
    }
    program = "import sys; from faceloom.cli.main import main; sys.argv[0] = 'faceloom'; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    tasks: dict[str, Callable[[], object]] = {}
    for name, command in commands.items():
        line = ["-c", program, command[-1]] if command[0] == "-m" else command
        tasks[name] = partial(subprocess.run, [sys.executable, *line], env=environment, capture_output=True, check=True)
    return in_turns(tasks, runs)


MEMORY_CHILD = """
import sys; sys.path.insert(0, {path!r})
from pathlib import Path
import torch
torch.set_num_threads({threads})
from faceloom.settings import BackendName, keep_memory
keep_memory()
from reference_stylegan2 import ReferenceStyleGAN2, published
from faceloom.generators.backends import use_backend
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))
generator = published({size})
ws = torch.zeros(1, generator.num_ws, generator.w_dim)
if {name!r} != "reference":
    with use_backend({name!r}), torch.no_grad():
        published(16).synthesize(ws[:, :6])  # what is compiled or loaded once
before = status("VmRSS") - sum(t.nbytes for t in generator.state_dict().values())
Path("/proc/self/clear_refs").write_text("5")
with torch.no_grad():
    if {name!r} == "reference":
        ReferenceStyleGAN2(generator).synthesize(ws)
    else:
        with use_backend({name!r}):
            generator.synthesize(ws)
print(status("VmHWM") - before)
"""


def peak_memory(size: int, threads: int) -> dict[str, int]:
    """Bytes at the peak of one render, weights included, each in a process of its own; Linux only."""
    found = {}
    for name in ("reference", *BACKENDS):
        code = MEMORY_CHILD.format(path=str(ROOT / "benchmarks"), threads=threads, size=size, name=name)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[name] = int(done.stdout)
    return found


def command(part: str, options: argparse.Namespace, *, keep: bool) -> list[str]:
    """What measures a part in a process of its own, whose allocator keeps memory or not."""
    line = [sys.executable, __file__, "--part", part, "--runs", str(options.runs), "--threads", str(options.threads)]
    return [*line, *(["--keep"] if keep else [])]


def in_process(part: str, options: argparse.Namespace) -> Any:
    """What such a process found, with an allocator that keeps memory."""
    done = subprocess.run(command(part, options, keep=True), stdout=PIPE, text=True, check=True)
    return json.loads(done.stdout)


def run_part(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.keep:
        keep_memory()
    kind, _, size = options.part.partition(":")
    if kind == "size":
        serve_size(int(size))
        return
    parts: dict[str, Callable[[], Any]] = {
        "work": lambda: measure_work(options.runs),
        "photo": lambda: measure_photo(options.runs),
    }
    json.dump(parts[kind](), sys.stdout)


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


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


GOALS: dict[str, dict[int, tuple[float, ...]]] = {
    "synthesis": {1024: (4.5, 2.2), 512: (3.3, 2.2), 256: (2.6, 2.2)},
    "floor": {1024: (0.75,), 512: (0.8,), 256: (0.8,)},
    "plain": {1024: (2.0,), 512: (1.6,), 256: (1.4,)},
    "step": {1024: (5.5, 2.5), 512: (4.2, 2.5), 256: (3.7, 2.5)},
    "last": {1024: (0.27,), 512: (0.27,), 256: (0.30,)},
    "preview": {1024: (0.21,), 512: (0.25,), 256: (0.35,)},
}


def goals_table(sizes: list[int], kept: dict[int, Any], bare: dict[int, Any]) -> str:
    def goal(kind: str, size: int) -> tuple[float, ...]:
        return GOALS[kind].get(size, (0.0, 0.0))

    rows: list[list[str]] = [[] for _ in range(8)]
    rows[0] = ["synthesis: reference as published / fused"]
    rows[1] = ["synthesis: reference with the allocator fix / fused"]
    rows[2] = ["fused / floor of direct convolution"]
    rows[3] = ["synthesis: reference as published / plain"]
    rows[4] = ["inversion step: reference as published / fused"]
    rows[5] = ["inversion step: reference with the allocator fix / fused"]
    rows[6] = ["last-block edit / full render"]
    rows[7] = ["64-px preview / full render"]
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
        rows[7].append(ratio(ours["64-px preview"] / fused, goal("preview", size)[0], at_least=False))
    return table(["ratio (goal)", *(f"{size} px" for size in sizes)], rows)


def seconds_table(sizes: list[int], kept: dict[int, Any], bare: dict[int, Any]) -> str:
    rows = []
    for name in kept[sizes[0]]["seconds"]:
        for found, how in ((bare, "as it comes"), (kept, "keeps memory")):
            rows.append([name, how, *(f"{found[size]['seconds'][name]:.3f}" for size in sizes)])
    rows.append(["direct operations, GFLOP", "", *(f"{kept[size]['gflop']:.1f}" for size in sizes)])
    rows.append(["matrix products here, GFLOP/s", "", *(f"{kept[size]['peak']:.0f}" for size in sizes)])
    for name in BACKENDS:
        rows.append([f"largest difference to the reference: {name}", ""])
        rows[-1] += [f"{kept[size]['difference'][name]:.1e}" for size in sizes]
    return table(["seconds", "allocator", *(f"{size} px" for size in sizes)], rows)


def report(options: argparse.Namespace) -> str:
    before = load()
    sizes: list[int] = options.sizes
    kept, bare = {}, {}
    for size in sizes:
        kept[size], bare[size] = measure_size(size, options)
        print(f"{size} px is done", file=sys.stderr)
    work, photo = in_process("work", options), in_process("photo", options)
    memory = peak_memory(max(sizes), options.threads) if Path("/proc/self/clear_refs").exists() else {}
    starts = start_times(options.runs)
    megabytes = ", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in memory.items())
    stages = table(["stage", "seconds"], [[name, f"{value:.3f}"] for name, value in photo["stages"].items()])
    batch = table(["images at a time", "seconds an image"], [[n, f"{s:.3f}"] for n, s in work["batch"].items()])
    begin = table(["process", "seconds"], [[name, f"{value:.2f}"] for name, value in starts.items()])
    chosen = backend()
    return f"""# Performance

Written by `python benchmarks/performance.py --threads {options.threads} --runs {options.runs}`; don't edit.

{processor()}, {options.threads} threads, PyTorch {torch.__version__}, back end in use: {chosen.name} ({chosen.reason}).
Medians of {options.runs} runs in turns (inversion steps: {max(1, options.runs // 2)}).
Load before {before}, after {load()}.

The reference is a textbook StyleGAN2 (`benchmarks/reference_stylegan2.py`), "as published" with the allocator as it
comes. "Keeps memory" is glibc told to keep what was freed (`settings.keep_memory`), as our programs do.
No package that we know provides a StyleGAN2 for PyTorch today, so there is no peer to run beside it.

## Goals

{goals_table(sizes, kept, bare)}

The floor is what direct convolution needs at the speed of matrix products here; fast algorithms go below it.

## Seconds

{seconds_table(sizes, kept, bare)}

Peak memory of one {max(sizes)}-px render, weights included: {megabytes or "not measured here"}.
Packed filters are most of what the fused back end adds; they stay for the next render.

## Cost against work

Batch, 256 px, fused:

{batch}

One photo ({PHOTO.name}) with the embedded model ({photo["resolution"]} px, loaded in {photo["load model"]:.2f} s):

{stages}

## Starting

{begin}

Loading checkpoints: `python benchmarks/loading.py`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[1024, 512, 256])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options)
        return
    text = report(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
