"""docs/inversion.md: what the comparison found, as a page."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path

import torch

from faceloom.comparison.report import Results, dial_table, pareto, table, verdict
from faceloom.comparison.run import CONSISTENCY_PHOTOS, Plan
from faceloom.comparison.trials import Panel, choose_trials
from faceloom.files import replacing
from faceloom.imaging.photos import save_photo
from faceloom.inversion.dial import DEFAULT_FIDELITY
from faceloom.model import Model
from faceloom.types import Photo

_PAGE = """# Inversion, measured

Written by `{command}` on {date}: {photos} photos,
generator {fingerprint} ({resolution} px), {threads} thread(s) of {machine}, PyTorch {torch}. Do not edit; run the
command again.

## All methods

{table}

{plot}

- *photos*: how many. Slow methods run on the first {few}, or twice as many, of the same shuffled list; a sentence below
  that compares two methods uses the photos that both have.
- *PSNR*, *perceptual*: at the generator's size, perceptual in frozen features of EfficientNet-Lite0, which the losses
  look through, too. *MS-SSIM*: at 256 px. *identity*: dlib's distance from the photo, of which no loss knows; below 0.6
  is the same person.
- *edits*: {trials}. {judges}
  *identity, edited*: dlib's distance between the photo and the edited picture. *Fréchet,
  edited*: between the edited pictures and the photos, over the photos that all methods have; few pictures bias it
  upwards, all alike.
- *LEC*: latent editing consistency (Tov et al. 2021), in spreads of W, on the first {consistency} photos. *from W*: 1
  for codes of the mapping network. *rows*: how much the rows of a code differ, in spreads.
- *s*, *processor s*: of one face alone, on a machine that may have been busy. *peak MB*: of the whole process, the
  networks included. *stored*: the code, and where there is one the tuning.

## The default

{verdict}

The dial's default is {default:g}.

How it came about: code optimisation alone draws somebody of the same kind, however long it goes on; the likeness is in
the tuning. A tuning makes the generator stiffer, so that every edit shows less. More locality, locality along several
edits at once, and asking for more of an edit than wanted cost time or likeness, and hardly helped. What helps is to
measure how stiff each face's tuning is, and to stretch its edits by that (`Tuning.response`).

## The dial

{dial}
"""


def write_page(out: Path, results: Results, plan: Plan, model: Model, command: str) -> None:
    """Write the page, and the plot beside it.

    Args:
        out: the Markdown file; the plot has the same name, with .png.
        results: what was found.
        plan: on what.
        model: that was compared with.
        command: that the page says it was written by.

    Raises:
        UsageError: if a file cannot be written.
    """
    picture = pareto(results)
    plot = out.with_suffix(".png")
    if picture is not None:
        save_photo(Photo(picture), plot, note=None)
    panel = Panel()
    trials = choose_trials(model.directions)
    words = ", ".join(f"{one.direction} {'±' if one.away else '+'}{one.amount:g}" for one in trials)
    judged = "How far they move the judges' scores, the encoder's edits being 100."
    page = _PAGE.format(
        command=command,
        date=datetime.date.today().isoformat(),
        photos=len(plan.photos),
        fingerprint=model.generator.fingerprint,
        resolution=model.generator.resolution,
        threads=plan.threads,
        machine=_machine(),
        torch=torch.__version__.partition("+")[0],
        table=table(results),
        plot=f"![Reconstruction against edits]({plot.name})"
        if picture is not None
        else "No plot: no judges, or not the encoder to compare with.",
        few=min(plan.few, len(plan.photos)),
        consistency=min(CONSISTENCY_PHOTOS, len(plan.photos)),
        trials=words,
        judges=judged if not panel.missing else f"Not measured: {panel.missing}",
        verdict=verdict(results),
        default=DEFAULT_FIDELITY,
        dial=dial_table(results),
    )
    with replacing(out) as file:
        file.write(page.encode())


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
