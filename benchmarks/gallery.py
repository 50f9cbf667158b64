"""Edit photos into contact sheets, and let independent networks say what the edits did.

    python benchmarks/gallery.py                                  # 24 photos into ./gallery
    python benchmarks/gallery.py --photos FOLDER --count 60 --paste replace

It writes sheet-N.jpg (one row for each photo) and prints a table: for each edit the share of photos on which its judge
moved the right way, by how much on average, and on how many dlib still sees the same person. The judges' weights come
with `npm ci --prefix benchmarks/judges`.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from faceloom.editor import Editor
from faceloom.effects import face_picture
from faceloom.errors import FaceError
from faceloom.imaging.photos import open_photo, save_photo
from faceloom.imaging.sheets import grid
from faceloom.metrics.identity import SAME_PERSON, IdentityJudge, distance
from faceloom.metrics.judges import load_judges
from faceloom.model import load_model
from faceloom.recipe import Recipe
from faceloom.settings import keep_memory
from faceloom.types import Photo, Pixels

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parents[1] / "shared" / "data" / "photos"
ROWS_PER_SHEET = 8


@dataclass(frozen=True)
class Trial:
    """One edit, and the score that should follow it; "" where no judge knows the attribute."""

    direction: str
    amount: float
    score: str = ""

    @property
    def label(self) -> str:
        return f"{self.direction} {self.amount:+g}"


TRIALS = (
    Trial("age", 2, "age"),
    Trial("age", -2, "age"),
    Trial("gender", 2, "male_logit"),
    Trial("gender", -2, "male_logit"),
    Trial("smile", 2, "happy_logit"),
    Trial("smile", -2, "happy_logit"),
    Trial("hair-length", 2),
    Trial("hair-length", -2),
    Trial("hair-colour", 2),
    Trial("hair-colour", -2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path("gallery"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--paste", choices=["transfer", "replace"], default="transfer")
    parser.add_argument("--fidelity", type=float, help="place on the dial; the default's where left out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model)
    panel = Panel()
    rows: list[list[Pixels]] = []
    names: list[str] = []
    started = time.monotonic()
    for path in spread(sorted(options.photos.iterdir()), options.count):
        try:
            editor = Editor.open(open_photo(path), model=model, fidelity=options.fidelity)
        except FaceError as error:
            print(f"{path.name}: {error}")
            continue
        rows.append(one_photo(editor, Recipe(model=model.id, paste=options.paste), panel))
        names.append(path.stem)
    for start in range(0, len(rows), ROWS_PER_SHEET):
        part = slice(start, start + ROWS_PER_SHEET)
        heads = ["photo", "drawn", *(trial.label for trial in TRIALS)]
        sheet = Photo(grid(rows[part], names[part], heads, cell=160))
        save_photo(sheet, options.out / f"sheet-{start // ROWS_PER_SHEET + 1}.jpg")
    place = "as it comes" if options.fidelity is None else f"{options.fidelity:g}"
    print(
        f"{len(names)} photos, paste {options.paste}, fidelity {place}, "
        f"generator {model.generator.fingerprint}, {time.monotonic() - started:.0f} s"
    )
    panel.print_table()


def spread(paths: list[Path], count: int) -> list[Path]:
    """Some of the paths, evenly spread, the same ones every time."""
    if count >= len(paths):
        return paths
    return [paths[round(index)] for index in np.linspace(0, len(paths) - 1, count)]


def one_photo(editor: Editor, recipe: Recipe, panel: Panel) -> list[Pixels]:
    """A row of the sheet; the panel takes note of what each edit did."""
    face = editor.faces[0]
    row = [face_picture(editor.photo, face, 256), face.before]
    before = panel.look(editor.photo, editor)
    for trial in TRIALS:
        render = editor.render(recipe.with_edit(trial.direction, trial.amount))
        panel.note(trial, before, panel.look(render.photo, editor))
        row.append(face_picture(render.photo, face, 256))
    return row


@dataclass(frozen=True, eq=False)
class Look:
    """What the networks say of one picture: scores by judge and name, and the identity."""

    scores: dict[str, dict[str, float]]
    identity: np.ndarray


class Panel:
    """The judges, and what they noted: for each trial, (change of each judge's score, identity distance) by photo."""

    def __init__(self) -> None:
        self.judges = load_judges()
        self.identity = IdentityJudge()
        self.changes: dict[Trial, list[tuple[dict[str, float], float]]] = {trial: [] for trial in TRIALS}

    def look(self, photo: Photo, editor: Editor) -> Look:
        face = editor.faces[0].crop.face
        scores = {judge.name: judge.score(photo.pixels, face) for judge in self.judges}
        return Look(scores, self.identity.embed(photo.pixels, face))

    def note(self, trial: Trial, before: Look, after: Look) -> None:
        changes = {
            name: after.scores[name][trial.score] - scores[trial.score]
            for name, scores in before.scores.items()
            if trial.score in scores
        }
        self.changes[trial].append((changes, distance(before.identity, after.identity)))

    def print_table(self) -> None:
        print("| edit | judge | right way | mean change | same person (dlib < 0.6) | median distance |")
        print("|---|---|---|---|---|---|")
        for trial, notes in self.changes.items():
            distances = np.array([gap for _, gap in notes])
            kept = f"{np.mean(distances < SAME_PERSON):.0%} | {np.median(distances):.2f}"
            judges = list(notes[0][0]) if notes else []
            for judge in judges:
                moved = np.array([changes[judge] for changes, _ in notes])
                right = np.mean(np.sign(moved) == np.sign(trial.amount))
                print(f"| {trial.label} | {judge}: {trial.score} | {right:.0%} | {moved.mean():+.2f} | {kept} |")
            if not judges:
                print(f"| {trial.label} | – | – | – | {kept} |")


if __name__ == "__main__":
    main()
