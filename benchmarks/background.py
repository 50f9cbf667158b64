"""How much the background of photos changes with edits of the person: with the person mask, and without it.

    python benchmarks/background.py                  # 24 photos

Background is what is far from where the person mask sees anybody in the unedited photo, inside the aligned crop. Prints
the mean change of its pixels, in levels of 0 to 255, for edits near the end of their sliders. Some of it is meant: hair
that grows, a face that widens, and all of what `background-light` does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from faceloom.editor import Editor
from faceloom.errors import FaceError
from faceloom.faces.person import person_in
from faceloom.faces.transfer import apply_change, measure_change
from faceloom.faces.warp import crop_to_roi
from faceloom.model import load_model
from faceloom.recipe import Recipe
from faceloom.types import Mask

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
EDITS = {
    "age": 2.0,
    "grey-hair": 2.0,
    "gender": 2.0,
    "hair-length, shorter": -1.5,
    "hair-length, longer": 2.0,
    "weight": 2.0,
    "background-light": 2.0,
}
FAR = 0.02  # sides of the crop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--inversion", default=None, help="the dial's method where left out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("default")
    paths = sorted(options.photos.glob("*.jpg"))
    changes: dict[str, list[tuple[float, float]]] = {name: [] for name in EDITS}
    for index in np.linspace(0, len(paths) - 1, min(options.count, len(paths))):
        path = paths[round(index)]
        try:
            editor = Editor.open(path, model=model, inverter=options.inversion)
        except FaceError as error:
            print(f"{path.name}: {error}")
            continue
        behind = background(editor)
        if behind.mean() < 0.01:  # hair fills the crop
            continue
        for name, value in EDITS.items():
            recipe = Recipe(model=model.id).with_edit(name.partition(",")[0], value)
            changes[name].append(changed(editor, recipe, behind))
    print(f"{len(changes['age'])} photos, generator {model.generator.fingerprint}")
    print("| edit | without the mask | with it |\n|---|---|---|")
    for name, pairs in changes.items():
        without, with_it = np.mean(pairs, axis=0)
        print(f"| {name} {EDITS[name]:+g} | {without:.1f} | {with_it:.1f} |")


def background(editor: Editor) -> Mask:
    """What of the photo is background and inside the crop: (H, W), 0 or 1."""
    face = editor.faces[0]
    person = person_in(face.crop)
    size = editor.photo.size
    whole = np.zeros((size[1], size[0]), np.float32)
    if person is not None:
        reach = 2 * round(FAR * len(person.mask)) + 1
        roi, away = crop_to_roi(
            1.0 - ndimage.maximum_filter(person.mask, reach)[..., None], face.crop, size, "bilinear"
        )
        whole[roi] = away[..., 0] > 0.95
    return whole


def changed(editor: Editor, recipe: Recipe, behind: Mask) -> tuple[float, float]:
    """Mean change of the background, without the mask and with it."""
    face = editor.faces[0]
    change = measure_change(face.before, editor.preview(recipe)[0], face.motion)
    means = []
    for one in (replace(change, seen=None), change):
        edited, _ = apply_change(editor.photo, face.crop, one, face.mask)
        moved = np.abs(edited.pixels.astype(np.float32) - editor.photo.pixels).mean(axis=2)
        means.append(float((moved * behind).sum() / behind.sum()))
    return means[0], means[1]


if __name__ == "__main__":
    main()
