"""Count the labels in looks.csv, and say how well the second annotator at some of the faces agrees with the first.

    python benchmarks/label_agreement.py

It prints two Markdown tables, those of docs/labels.md: how often each value was given, and for each column the share of
exactly equal values and Cohen's kappa of "0 or not 0" (J. Cohen, "A coefficient of agreement for nominal scales",
1960). A face that either pass left blank in a column does not count there.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

LABELS = Path(__file__).resolve().parents[1] / "src" / "faceloom" / "training"
VALUES = ("0", "1", "2", "")

Labels = dict[str, dict[str, str]]


def read_labels(path: Path) -> Labels:
    """The labels of each face by its name; "" where the annotator could not tell."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row.pop("name"): row for row in csv.DictReader(file)}


def kappa(first: list[bool], second: list[bool]) -> float | None:
    """Cohen's kappa of two passes; None where it is not defined, as both gave one and the same value to all."""
    count = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / count
    yes = sum(first) * sum(second) / count**2
    no = (count - sum(first)) * (count - sum(second)) / count**2
    expected = yes + no
    return None if expected == 1 else (observed - expected) / (1 - expected)


def count_table(labels: Labels) -> list[str]:
    lines = ["| column | 0 | 1 | 2 | blank |", "|---|---:|---:|---:|---:|"]
    for column in columns(labels):
        counts = Counter(row[column] for row in labels.values())
        lines.append(f"| {column} | " + " | ".join(str(counts[value]) for value in VALUES) + " |")
    return lines


def agreement_table(first: Labels, second: Labels) -> list[str]:
    lines = ["| column | faces | not 0, first | not 0, second | equal | kappa |", "|---|---:|---:|---:|---:|---:|"]
    for column in columns(second):
        pairs = [(first[name][column], row[column]) for name, row in second.items()]
        pairs = [(a, b) for a, b in pairs if a and b]
        one, two = [a != "0" for a, _ in pairs], [b != "0" for _, b in pairs]
        equal = sum(a == b for a, b in pairs) / len(pairs)
        score = kappa(one, two)
        shown = "–" if score is None else f"{score:.2f}"
        lines.append(f"| {column} | {len(pairs)} | {sum(one)} | {sum(two)} | {equal:.0%} | {shown} |")
    return lines


def columns(labels: Labels) -> list[str]:
    return list(next(iter(labels.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, default=LABELS / "looks.csv", help="labels of all faces")
    parser.add_argument("--second", type=Path, default=LABELS / "looks_second.csv", help="labels of some, given afresh")
    options = parser.parse_args()
    first, second = read_labels(options.first), read_labels(options.second)
    print("\n".join([*count_table(first), "", *agreement_table(first, second)]))


if __name__ == "__main__":
    main()
