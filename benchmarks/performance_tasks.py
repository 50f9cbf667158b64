"""What `performance.py` measures: tasks for its processes to run, and figures that need no turns."""

from __future__ import annotations

import copy
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from reference_stylegan2 import ReferenceStyleGAN2, published
from torch import Tensor

from faceloom.generators.backends import use_backend
from faceloom.generators.cache import PrefixCache
from faceloom.generators.fused import pages, threads
from faceloom.generators.fused.few import MOST_PIXELS
from faceloom.generators.stylegan2 import StyledConvolution, StyleGAN2
from faceloom.settings import BackendName
from faceloom.types import Photo

ROOT = Path(__file__).resolve().parents[1]
BACKENDS: tuple[BackendName, ...] = ("plain", "fused")
PHOTO = ROOT / "examples" / "portrait.jpg"
Times = dict[str, float]
Tasks = dict[str, Callable[[], object]]


def in_turns(tasks: Tasks, runs: int) -> Times:
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


def tuning(generator: StyleGAN2, ws: Tensor, name: BackendName) -> Callable[[], None]:
    """One step of a pivotal tuning: gradients of a loss for all filters, which are new in each step."""
    generator = copy.deepcopy(generator)  # what others keep of the filters should last
    filters = [parameter for parameter in generator.parameters() if parameter.ndim == 4]

    def step() -> None:
        for one in filters:
            one.mul_(1.0)  # as far as anybody can tell, they are others now
            one.requires_grad_()
        with use_backend(name):
            torch.autograd.grad(generator.synthesize(ws).square().mean(), filters)
        for one in filters:
            one.requires_grad_(False)

    return step


@torch.no_grad()
def slider(generator: StyleGAN2, ws: Tensor, name: BackendName) -> Tasks:
    """Moving the last block's rows, with everything before kept, and a first look at 64 px.

    A slider moves them along a line, so that one convolution of its block is known (`faceloom.generators.style_lines`);
    its first four moves, and a picture of something else each time, have nothing of it.
    """

    def moving(step: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        cache, moved = PrefixCache(generator, 1 << 30), ws.clone()

        def move() -> None:
            moved[:, -3:] += step(moved[:, -3:])
            with use_backend(name):
                cache.synthesize(moved)

        for _ in range(5):
            move()
        return move

    preview, scattered = PrefixCache(generator, 0), PrefixCache(copy.deepcopy(generator), 0)

    def look(cache: PrefixCache = preview) -> None:
        with use_backend(name):
            cache.synthesize(ws, resolution=64)

    memory = threading.local()

    def look_in_small_pages() -> None:
        with patch.object(pages, "_LARGE", math.inf), patch.object(threads, "_local", memory):
            look(scattered)

    along, anywhere = (
        moving(lambda rows: torch.full_like(rows, 1e-3)),
        moving(lambda rows: 1e-3 * torch.randn_like(rows)),
    )
    return {
        "last-block edit": along,
        "last-block edit, another each time": anywhere,
        "64-px preview": look,
        "64-px preview, in small pages": look_in_small_pages,
    }


def tasks_of_size(size: int) -> tuple[Tasks, dict[str, Any]]:
    """What runs in turns for generators of a size, and facts about it."""
    generator = published(size)
    reference = ReferenceStyleGAN2(generator)
    ws = generator.map(torch.randn(1, generator.z_dim))

    @torch.no_grad()
    def textbook() -> Tensor:
        return reference.synthesize(ws)

    wanted = textbook()
    tasks: Tasks = {"synthesis: reference": textbook}
    tasks |= {f"synthesis: {name}": drawing(generator, ws, name) for name in BACKENDS}
    tasks |= slider(generator, ws, "fused")
    tasks["step: reference"] = stepping(reference.synthesize, ws, reference.noises, "plain")
    tasks |= {f"step: {name}": stepping(generator.synthesize, ws, noise_maps(generator), name) for name in BACKENDS}
    tasks |= {f"tuning step: {name}": tuning(generator, ws, name) for name in BACKENDS}
    return tasks, {
        "tasks": list(tasks),
        "difference": {name: float((drawing(generator, ws, name)() - wanted).abs().max()) for name in BACKENDS},
        "gflop": direct_gflop(generator),
        "shares": fused_shares(generator),
    }


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


def fused_shares(generator: StyleGAN2) -> tuple[float, float]:
    """Of the products that the fused back end makes: the last block's share, and that of blocks up to 64 px.

    F(4x4, 3x3) makes 36 of 144, the transposed algorithm 81 of 144; small maps and toRGB layers are computed directly.
    """
    by_block = []
    for index, block in enumerate(generator._blocks):
        total = 0.0
        for layer in block.modulated:
            side = (4 << index) >> (layer is block.up)
            fast = isinstance(layer, StyledConvolution) and side**2 > MOST_PIXELS
            part = (81 if layer is block.up else 36) / 144 if fast else 1.0
            total += part * layer.weight.numel() * side**2
        by_block.append(total)
    return by_block[-1] / sum(by_block), sum(by_block[:5]) / sum(by_block)


def measure_work(runs: int) -> dict[str, Any]:
    """Cost against batch, with the fused back end, at 256 px, seconds an image."""
    generator = published(256)
    tasks: Tasks = {}
    for count in (1, 2, 4):
        ws = generator.map(torch.randn(count, generator.z_dim))
        tasks[str(count)] = drawing(generator, ws, "fused")
    found = in_turns(tasks, runs)
    return {"batch": {count: seconds / int(count) for count, seconds in found.items()}}


def measure_photo(runs: int) -> dict[str, Any]:
    """One photo from the file to the edited file, with the embedded model."""
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
            editor.render(recipe)  # the first picture of a face also finds the person in it
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
        "faces": {count: measure_faces(photo, count, names[0]) for count in (1, 2, 4)},
    }


def measure_faces(photo: Photo, count: int, edit: str) -> dict[str, float]:
    """Seconds of a photo with so many faces, copies side by side: to open it, and to draw it edited.

    And of their inversion alone, with the processor's seconds: as one batch on all cores, and abreast, as it is done.
    """
    from faceloom import Recipe
    from faceloom.editor import Editor
    from faceloom.imaging.convert import to_images
    from faceloom.inversion.abreast import invert_abreast
    from faceloom.inversion.dial import DEFAULT_FIDELITY

    found: dict[str, float] = {}

    def timed(name: str, task: Callable[[], Any]) -> Any:
        started, worked = time.perf_counter(), time.process_time()
        result = task()
        found[name] = time.perf_counter() - started
        found[f"{name}, processor"] = time.process_time() - worked
        return result

    crowd = replace(photo, pixels=np.tile(photo.pixels, (1, count, 1)))
    editor = timed("open", partial(Editor.open, crowd, face="all"))
    if len(editor.faces) != count:
        raise RuntimeError(f"{len(editor.faces)} faces were found where there are {count}")
    timed("render", partial(editor.render, Recipe().with_edit(edit, 1.0)))
    images = to_images(np.stack([face.crop.pixels for face in editor.faces]))
    inverter = editor.model.inverter_at(DEFAULT_FIDELITY)
    timed("batch", partial(inverter.invert, images))
    timed("abreast", partial(invert_abreast, inverter, images))
    return found


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
    tasks: Tasks = {}
    for name, command in commands.items():
        line = ["-c", program, command[-1]] if command[0] == "-m" else command
        tasks[name] = partial(subprocess.run, [sys.executable, *line], env=environment, capture_output=True, check=True)
    return in_turns(tasks, runs)


MEMORY_CHILD = """
import ctypes, sys; sys.path.insert(0, {path!r})
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
with use_backend({name!r} if {name!r} != "reference" else "plain"), torch.no_grad():
    published(16).synthesize(ws[:, :6])  # what is compiled or loaded once
ctypes.CDLL(None).malloc_trim(0)  # or what that left would be used again, and not counted
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
