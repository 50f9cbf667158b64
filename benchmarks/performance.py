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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import torch
from performance_report import Findings, page, runs_of_size
from performance_tasks import ROOT, measure_photo, measure_work, peak_gflops, peak_memory, start_times, tasks_of_size

from faceloom.settings import WAITING, keep_memory


def serve_size(size: int) -> None:
    """Run what standard input names, one line each, and answer with the seconds; facts about the size come first."""
    tasks, facts = tasks_of_size(size)
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name = line.strip()
        print(json.dumps(peak_gflops() if name == "peak" else second_seconds(tasks[name])), flush=True)


def second_seconds(task: Callable[[], object]) -> float:
    """How long it takes the second time: whoever has waited for others begins slowly."""
    task()
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def measure_size(size: int, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Medians of two processes, one whose allocator keeps memory and one as it comes, that take turns."""
    children = [
        subprocess.Popen(
            command(f"size:{size}", options, keep=keep), stdin=PIPE, stdout=PIPE, text=True, env=environment(keep=keep)
        )
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
    rounds = runs_of_size(size, options.runs)
    for number in range(rounds + 1):
        for name in found[0]["tasks"]:
            for facts, child in zip(found, children, strict=True):
                if "step" in name and number > max(1, rounds // 2):
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


def command(part: str, options: argparse.Namespace, *, keep: bool) -> list[str]:
    """What measures a part in a process of its own, whose allocator keeps memory or not."""
    line = [sys.executable, __file__, "--part", part, "--runs", str(options.runs), "--threads", str(options.threads)]
    return [*line, *(["--keep"] if keep else [])]


def environment(*, keep: bool) -> dict[str, str]:
    """Of a process that measures: as our programs have it where it keeps memory, else as it comes."""
    return {**WAITING, **os.environ} if keep else dict(os.environ)


def in_process(part: str, options: argparse.Namespace) -> Any:
    """What such a process found, with an allocator that keeps memory."""
    line = command(part, options, keep=True)
    done = subprocess.run(line, stdout=PIPE, text=True, check=True, env=environment(keep=True))
    return json.loads(done.stdout)


def run_part(options: argparse.Namespace) -> None:
    """Be one of the processes that measure."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.keep:
        keep_memory()
    kind, _, size = options.part.partition(":")
    if kind == "size":
        serve_size(int(size))
    else:
        json.dump(measure_work(options.runs) if kind == "work" else measure_photo(options.runs), sys.stdout)


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def measure(options: argparse.Namespace) -> Findings:
    """Everything, one after the other."""
    before = load()
    kept, bare = {}, {}
    for size in options.sizes:
        kept[size], bare[size] = measure_size(size, options)
        print(f"{size} px is done", file=sys.stderr)
    return Findings(
        kept=kept,
        bare=bare,
        work=in_process("work", options),
        photo=in_process("photo", options),
        memory=peak_memory(max(options.sizes), options.threads) if Path("/proc/self/clear_refs").exists() else {},
        starts=start_times(options.runs),
        loads=(before, load()),
    )


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
    text = page(options, measure(options))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
