"""How fast a GPU draws: kernel by kernel, and by recorded blocks as the studio does; in 32 bits and in 16.

    python benchmarks/gpu.py [--device cuda] [--sizes 256 512 1024] [--runs 30]

Prints one table. "Full" is a picture of another person, drawn by the generator; "recorded" is the same by a
`PrefixCache`, "last block" a move of the last block's styles by it. Generators have the published sizes and random
weights. Differences are to 32 bits on the CPU, as shares of the largest value; NVIDIA's convolutions may use TF32, as
PyTorch has it unless told otherwise. "MB" is the most that was in use. A device without recordings ("cpu") runs the
same, as a rehearsal.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from faceloom.generators.backends import use_backend
from faceloom.generators.cache import PrefixCache
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config, default_channels
from faceloom.settings import choose_device

_WARM_UPS = 4  # recordings are made at the second picture


def milliseconds(draw: Callable[[Tensor], Tensor], codes: Tensor, device: torch.device) -> float:
    """The median time to draw one of these codes (N, num_ws, w_dim) after the other, without the first few."""
    times = []
    for ws in codes.split(1):
        started = time.perf_counter()
        draw(ws)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[_WARM_UPS:])


def rows(size: int, device: torch.device, runs: int) -> list[str]:
    """The rows of the table for pictures of this size."""
    torch.manual_seed(0)
    config = StyleGAN2Config(resolution=size, channels=default_channels(size, 32768, 512))
    generator = StyleGAN2(config).eval().requires_grad_(False)
    codes = generator.map(torch.randn(_WARM_UPS + runs, generator.z_dim))
    moved = codes[:1].repeat(_WARM_UPS + runs, 1, 1)
    moved[:, -3:] += torch.randn(_WARM_UPS + runs, 3, generator.w_dim)
    exact = generator.synthesize(codes[:1])
    generator, codes, moved = generator.to(device), codes.to(device), moved.to(device)
    found = []
    names: tuple[Literal["plain", "half"], ...] = ("plain", "half")
    for name in names:
        draw, cached = generator.synthesize, PrefixCache(generator).synthesize
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with use_backend(name), torch.inference_mode():
            full = milliseconds(draw, codes, device)
            recorded = milliseconds(cached, codes, device)
            last = milliseconds(cached, moved, device)
            off = [
                float((picture.cpu() - exact).abs().max() / exact.abs().max())
                for picture in (draw(codes[:1]), cached(codes[:1]))
            ]
        used = f"{torch.cuda.max_memory_allocated(device) / 1e6:.0f}" if device.type == "cuda" else ""
        numbers = f"{full:.2f} | {recorded:.2f} | {last:.2f} | {off[0]:.1e} | {off[1]:.1e}"
        found.append(f"| {size} | {name} | {numbers} | {used} |")
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    device = choose_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{name}, PyTorch {torch.__version__}; milliseconds, medians of {options.runs}\n")
    print("| px | back end | full | recorded | last block | difference, full | recorded | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        print("\n".join(rows(size, device, options.runs)), flush=True)


if __name__ == "__main__":
    main()
