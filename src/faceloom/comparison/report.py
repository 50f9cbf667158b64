"""What the comparison found: a table, a plot, and whether it holds what is hoped for, in Markdown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from faceloom.comparison.contenders import CONTENDERS, Contender
from faceloom.comparison.curve import PLACES
from faceloom.comparison.measuring import Record, unpacked
from faceloom.comparison.plot import Point, scatter
from faceloom.metrics.frechet import frechet_distance
from faceloom.types import Pixels

REFERENCE = "encoder"
"""The method whose edits are the measure of the others'."""
PIVOTAL = "pivotal"
SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class Results:
    """All records, by method and photo.

    Attributes:
        by_method: the records of each method, by photo, in the order of the contenders.
    """

    by_method: dict[str, dict[str, Record]]

    @classmethod
    def of(cls, records: Iterable[Record], photos: Sequence[str]) -> Results:
        """From records, those of these photos alone."""
        wanted = set(photos)
        found: dict[str, dict[str, Record]] = {one.name: {} for one in CONTENDERS}
        for record in records:
            if record.photo in wanted and record.method in found:
                found[record.method][record.photo] = record
        return cls({name: rows for name, rows in found.items() if rows})

    def mean(self, method: str, value: Callable[[Record], float | None], photos: Iterable[str] | None = None) -> float:
        """Mean of a value over a method's photos, or over some of them; not a number where there is none."""
        rows = self.by_method.get(method, {})
        chosen = rows.values() if photos is None else [rows[name] for name in photos if name in rows]
        values = [found for record in chosen if (found := value(record)) is not None]
        return sum(values) / len(values) if values else math.nan

    def deviation(self, method: str, value: Callable[[Record], float], photos: Sequence[str]) -> float:
        """Standard deviation of a value over photos."""
        values = torch.tensor([value(self.by_method[method][name]) for name in photos], dtype=torch.float64)
        return float(values.std()) if len(values) > 1 else 0.0

    def effect(self, method: str, photos: Iterable[str] | None = None) -> float:
        """How strong the edits are, as a share of the encoder's on the same photos, mean over the trials."""
        shares = list(self.effects(method, photos).values())
        return sum(shares) / len(shares) if shares else math.nan

    def effects(self, method: str, photos: Iterable[str] | None = None) -> dict[str, float]:
        """The same for each trial."""
        rows = self.by_method.get(method, {})
        names = [name for name in (rows if photos is None else photos) if name in self.by_method.get(REFERENCE, {})]
        names = [name for name in names if name in rows]
        if not names:
            return {}
        found = {}
        for trial in rows[names[0]].effects:
            own, usual = (
                self.mean(one, lambda record, t=trial: record.effects.get(t), names)  # type: ignore[misc]
                for one in (method, REFERENCE)
            )
            found[trial] = own / usual if usual else math.nan
        return found

    def frechet(self, method: str, photos: Sequence[str]) -> float:
        """Fréchet distance of the edited pictures from the photos; all methods over the same photos."""
        rows = [self.by_method[method][name] for name in photos if name in self.by_method[method]]
        if len(rows) < 2 or len(rows) < len(photos):
            return math.nan
        edited = torch.stack([unpacked(one) for row in rows for one in row.features])
        return frechet_distance(edited, torch.stack([unpacked(row.photo_features) for row in rows]))

    def common(self, methods: Iterable[str]) -> list[str]:
        """The photos that all these methods have been run on."""
        sets = [set(self.by_method.get(method, {})) for method in methods]
        return sorted(set.intersection(*sets)) if sets else []


def table(results: Results) -> str:
    """One row for each method."""
    shared = results.common(results.by_method)
    lines = [
        "| method | photos | PSNR (dB) | MS-SSIM | perceptual | identity | edits (% of the encoder's) "
        "| identity, edited | Fréchet, edited | LEC | from W | rows | s | processor s | peak MB | stored kB |",
        "|---|---" + "|---" * 14 + "|",
    ]
    known = {one.name: one for one in CONTENDERS}
    for method in results.by_method:
        lines.append("| " + " | ".join([known[method].label, *_cells(results, method, shared)]) + " |")
    return "\n".join(lines)


def _cells(results: Results, method: str, shared: Sequence[str]) -> list[str]:
    def mean(value: Callable[[Record], float | None]) -> float:
        return results.mean(method, value)

    rows = results.by_method[method]
    peak = max((record.peak_bytes or 0 for record in rows.values()), default=0) / 2**20
    return [
        str(len(rows)),
        f"{mean(lambda r: r.psnr):.2f}",
        f"{mean(lambda r: r.ms_ssim):.3f}",
        f"{mean(lambda r: r.perceptual):.3f}",
        f"{mean(lambda r: r.identity):.3f}",
        _share(results.effect(method)),
        f"{mean(lambda r: r.edited_identity):.3f}",
        _or_dash(results.frechet(method, shared), ".1f"),
        _or_dash(mean(lambda r: r.consistency), ".2f"),
        f"{mean(lambda r: r.w_distance):.2f}",
        f"{mean(lambda r: r.row_deviation):.2f}",
        f"{mean(lambda r: r.seconds):.1f}",
        f"{mean(lambda r: r.cpu_seconds):.1f}",
        f"{peak:.0f}" if peak else "–",
        f"{mean(lambda r: r.stored_bytes) / 1000:.0f}",
    ]


def dial_table(results: Results) -> str:
    """The places on the dial, over the photos that all of them have: mean and standard deviation."""
    names = [f"dial-{fidelity:g}" for fidelity in PLACES if f"dial-{fidelity:g}" in results.by_method]
    photos = results.common(names)
    if len(names) < 2 or not photos:
        return "The dial was not measured at two places or more."
    lines = [
        f"Over the {len(photos)} photos that all places were measured on, mean ± standard deviation:",
        "",
        "| fidelity | PSNR (dB) | perceptual | identity | edits (% of the encoder's) | s |",
        "|---|---|---|---|---|---|",
    ]
    errors = []
    for name in names:
        cells = [
            f"{results.mean(name, value, photos):{spec}} ± {results.deviation(name, value, photos):{spec}}"
            for value, spec in (
                (lambda r: r.psnr, ".2f"),
                (lambda r: r.perceptual, ".3f"),
                (lambda r: r.identity, ".3f"),
            )
        ]
        cells += [_share(results.effect(name, photos)), f"{results.mean(name, lambda r: r.seconds, photos):.1f}"]
        lines.append(f"| {name.removeprefix('dial-')} | " + " | ".join(cells) + " |")
        errors.append(results.mean(name, lambda r: r.perceptual, photos))
    falls = all(after < before for before, after in itertools.pairwise(errors))
    lines += ["", "The mean error falls at each of them." if falls else "The mean error does not fall at each of them."]
    return "\n".join(lines)


def verdict(results: Results) -> str:
    """Whether the default is as faithful as pivotal tuning, edits as well as the encoder, and is quick."""
    default = next((one for one in CONTENDERS if one.is_default), None)
    if default is None or default.name not in results.by_method:
        return "The default was not measured."
    lines = [_against_pivotal(results, default)] if results.by_method.get(PIVOTAL) else []
    effect = results.effect(default.name)
    if math.isfinite(effect):
        identity, usual = (
            results.mean(name, lambda r: r.edited_identity, results.common([default.name, REFERENCE]))
            for name in (default.name, REFERENCE)
        )
        shares = ", ".join(f"{name} {share:.0%}" for name, share in results.effects(default.name).items())
        lines.append(
            f"- Its edits are {effect:.0%} as strong as the encoder's ({shares}), and the edited face is "
            f"{identity:.3f} from the photo's (the encoder's: {usual:.3f})."
        )
    seconds = results.mean(default.name, lambda r: r.seconds)
    word = "within" if seconds <= SECONDS else "beyond"
    processor = results.mean(default.name, lambda r: r.cpu_seconds)
    lines.append(f"- It takes {seconds:.1f} s a face, {word} {SECONDS:.0f} s ({processor:.1f} s of processor time).")
    return "\n".join(["The default place on the dial:", "", *lines])


def _against_pivotal(results: Results, default: Contender) -> str:
    photos = results.common([default.name, PIVOTAL])
    parts, wins = [], 0
    for word, value, better, spec in (
        ("PSNR", lambda r: r.psnr, 1.0, ".2f"),
        ("perceptual distance", lambda r: r.perceptual, -1.0, ".3f"),
        ("identity distance", lambda r: r.identity, -1.0, ".3f"),
    ):
        own, other = (results.mean(name, value, photos) for name in (default.name, PIVOTAL))
        wins += (own - other) * better >= 0
        parts.append(f"{word} {own:{spec}} against {other:{spec}}")
    words = {3: "it is at least as faithful", 0: "it is less faithful"}.get(wins, f"it is ahead in {wins} of 3")
    return f"- Against pivotal tuning after 350 steps, on the same {len(photos)} photos, {words}: {', '.join(parts)}."


def pareto(results: Results) -> Pixels | None:
    """Reconstruction against edits, over the photos that all methods have; None where the judges are not installed."""
    shared = results.common(results.by_method)
    points = []
    for one in CONTENDERS:
        if one.name not in results.by_method:
            continue
        effect = results.effect(one.name, shared)
        if not math.isfinite(effect):
            return None
        error = results.mean(one.name, lambda r: r.perceptual, shared)
        points.append(Point(error, 100 * effect, one.label, one.fidelity is not None))
    title = f"Reconstruction and edits, {len(shared)} photos"
    return scatter(points, "perceptual distance of the reconstruction (less is better)", "edits, % of encoder", title)


def _share(value: float) -> str:
    return f"{100 * value:.0f}" if math.isfinite(value) else "–"


def _or_dash(value: float, spec: str) -> str:
    return f"{value:{spec}}" if math.isfinite(value) else "–"
