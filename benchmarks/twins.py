"""Draw photos with every twin into sheets, and measure that the drawings are of the same people.

    python benchmarks/twins.py                       # 12 photos into ./twins
    python benchmarks/twins.py --one-shot            # learn three styles from one picture each, into docs/pictures

The first writes TWIN.jpg for each twin (a row for each photo: the photo, degrees 0.3, 0.6 and 1, the same with a smile,
the twin's own picture and the sticker), and prints a table: how far landmarks of the twin's picture are from those of
the generator's, in shares of the distance between the eyes, and on how many photos a smile moves the mouth's landmarks
and the judge of expressions the right way on the twin. The judge's weights come with `npm ci --prefix
benchmarks/judges`; without them it is left out.

The second learns from a painting, the Mona Lisa, and from two pictures that it paints itself from photos of examples/,
prints the seconds of each, and writes docs/pictures/one-shot.jpg: for each reference a row of examples drawn so, and a
row of the twin's own pictures. Photos of --photos go into one-shot-photos.jpg in --out, where there are any.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from faceloom.domains.abstraction import in_steps, smooth
from faceloom.domains.brush import brushed
from faceloom.domains.colour import to_lab, to_rgb
from faceloom.domains.twin import SUFFIX, Twin, TwinShelf
from faceloom.editor import Editor
from faceloom.errors import FaceError
from faceloom.faces.landmarks import eye_distance
from faceloom.imaging.convert import to_images
from faceloom.imaging.photos import open_photo, save_photo
from faceloom.imaging.sheets import grid
from faceloom.metrics.judges import Judge, installed_judges
from faceloom.model import Model, load_model
from faceloom.recipe import Recipe
from faceloom.settings import keep_memory
from faceloom.training.oneshot import learn_style
from faceloom.training.twins import drawn_landmarks
from faceloom.types import Photo, Pixels, Points

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parents[1] / "shared" / "data" / "photos"
EXAMPLES = HERE.parent / "examples"
PAINTING = HERE / "paintings" / "mona-lisa.jpg"
SHEET = HERE.parent / "docs" / "pictures" / "one-shot.jpg"
DEGREES = (0.3, 0.6, 1.0)
SMILE = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("twins"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--inversion", default=None, help="the dial's method where left out")
    parser.add_argument("--one-shot", action="store_true", help="learn three styles instead, and draw with them")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    model = load_model(options.model)
    if options.one_shot:
        one_shot(model, options)
        return
    editors = open_some(options.photos, options.count, model, options.inversion)
    judge = expression_judge()
    print(f"{len(editors)} photos, generator {model.generator.fingerprint}")
    for name in model.twins:
        report(name, model, editors, judge, options.out)


def open_some(folder: Path, count: int, model: Model, inversion: str | None) -> list[Editor]:
    kinds = {".jpg", ".jpeg", ".png"}
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in kinds)
    editors: list[Editor] = []
    if not paths:
        return editors
    for index in np.linspace(0, len(paths) - 1, min(count, len(paths))):
        path = paths[round(index)]
        try:
            editors.append(Editor.open(path, model=model, inverter=inversion))  # type: ignore[arg-type]
        except FaceError as error:
            print(f"{path.name}: {error}")
    return editors


def expression_judge() -> Judge | None:
    judges, missing = installed_judges()
    if missing:
        print(f"no judge of expressions: {missing}")
    return next((one for one in judges if "xpression" in one.name), None)


def report(name: str, model: Model, editors: list[Editor], judge: Judge | None, out: Path) -> None:
    """The sheet of a twin, and its line of the table."""
    rows, distances, mouths, judged = [], {degree: [] for degree in DEGREES}, [], []  # type: ignore[var-annotated]
    started = time.monotonic()
    for editor in editors:
        row: list[Pixels] = [editor.photo.pixels]
        plain, smiling = Recipe(model=model.id, twin=name), Recipe(model=model.id, twin=name).with_edit("smile", SMILE)
        for recipe in (plain, smiling):
            row += [editor.render(replace(recipe, degree=degree)).photo.pixels for degree in DEGREES]
        before = drawn_landmarks(editor.faces[0].before)
        for degree in DEGREES:
            drawn = editor.render(replace(plain, degree=degree, paste="replace")).after[0]
            distances[degree].append(apart(before, drawn_landmarks(drawn)))
        still, smile = (editor.render(replace(one, paste="replace")).after[0] for one in (plain, smiling))
        mouths.append(mouth_width(drawn_landmarks(smile)) > mouth_width(drawn_landmarks(still)))
        if judge is not None:
            judged.append(happiness(judge, smile) > happiness(judge, still))
        rows.append([*row, still, smile, on_blue(editor.sticker(plain))])
    heads = ["photo", *(f"{degree:g}" for degree in DEGREES), *(f"smile, {degree:g}" for degree in DEGREES)]
    sheet = grid(rows, None, [*heads, "the twin's own", "and smiling", "sticker"], name, cell=224)
    save_photo(Photo(sheet), out / f"{name}.jpg")
    far = ", ".join(f"{np.mean(distances[degree]):.1%} at {degree:g}" for degree in DEGREES)
    by_judge = f"{np.mean(judged):.0%}" if judged else "no judge"
    print(
        f"{name}: landmarks {far} of the eyes' distance apart; smile right by mouth {np.mean(mouths):.0%}, "
        f"by judge {by_judge}; {(time.monotonic() - started) / len(editors):.1f} s a photo"
    )


def apart(first: Points, last: Points) -> float:
    """Mean distance of landmarks, in shares of the distance between the eyes."""
    return float(np.linalg.norm(first - last, axis=1).mean() / eye_distance(first))


def mouth_width(points: Points) -> float:
    return float(np.hypot(*(points[54] - points[48]))) / eye_distance(points)


def happiness(judge: Judge, picture: Pixels) -> float:
    return float(judge.score_aligned(to_images(picture))["happy_logit"][0])


def on_blue(sticker: np.ndarray) -> Pixels:
    opacity = sticker[..., 3:] / 255.0
    pixels: Pixels = np.rint(sticker[..., :3] * opacity + np.array([70, 130, 200]) * (1 - opacity)).astype(np.uint8)
    return pixels


def one_shot(model: Model, options: argparse.Namespace) -> None:
    """Learn from three references into a folder of their own, and draw with what was learned."""
    folder = options.out / "learned"
    folder.mkdir(exist_ok=True)
    pictures = references()
    for name, pixels in pictures.items():
        path = options.out / f"reference-{name}.png"
        save_photo(Photo(pixels), path)
        started, worked = time.monotonic(), time.process_time()
        twin: Twin = learn_style(model, path, name)
        seconds = time.monotonic() - started
        print(
            f"{name}: learned in {seconds:.0f} s, {time.process_time() - worked:.0f} s of one core's time", flush=True
        )
        twin.save(folder / f"{name}{SUFFIX}")
    learned = replace(model)
    learned.__dict__["twins"] = TwinShelf(model.generator.fingerprint, (folder,))
    drawn_on(learned, pictures, open_some(EXAMPLES, 9, learned, options.inversion), SHEET)
    photos = open_some(options.photos, min(options.count, 6), learned, options.inversion)
    if photos:
        drawn_on(learned, pictures, photos, options.out / "one-shot-photos.jpg")


def drawn_on(model: Model, pictures: dict[str, Pixels], editors: list[Editor], path: Path) -> None:
    """A sheet: the photos, and below a row for each reference, first the reference itself, then drawn photos."""
    blank: Pixels = np.full((64, 64, 3), 255, np.uint8)
    rows = [[blank, *(editor.photo.pixels for editor in editors)]]
    for name, reference in pictures.items():
        recipe = Recipe(model=model.id, twin=name)
        renders = [editor.render(recipe) for editor in editors]
        rows.append([reference, *(render.photo.pixels for render in renders)])
        rows.append([blank, *(render.after[0] for render in renders)])
    names = [text for name in pictures for text in (name, "its own picture")]
    save_photo(Photo(grid(rows, ["photo", *names], None, cell=256)), path)
    print(f"wrote {path}")


def references() -> dict[str, Pixels]:
    """A painting, and two pictures in styles that no illustrator has, painted here from public-domain portraits."""
    portrait, beard = (open_photo(EXAMPLES / name).pixels for name in ("portrait.jpg", "beard.jpg"))
    night = [[0.05, 0.06, 0.2], [0.1, 0.35, 0.5], [0.85, 0.35, 0.2], [1.0, 0.75, 0.35], [1.0, 0.96, 0.8]]
    moss = [[0.1, 0.08, 0.05], [0.2, 0.3, 0.15], [0.5, 0.55, 0.25], [0.85, 0.8, 0.5], [0.98, 0.95, 0.8]]
    return {
        "mona-lisa": open_photo(PAINTING).pixels,
        "poster": recoloured(portrait, night, 5),
        "moss-oil": recoloured(painted(beard), moss, 24),
    }


def painted(pixels: Pixels) -> Pixels:
    """A picture in broad brush strokes."""
    lab = brushed(to_lab(pixels.astype(np.float32) / 255.0), 0.006 * pixels.shape[1], rounds=3, sharpen=0.9)
    strokes: Pixels = np.rint(to_rgb(lab) * 255.0).clip(0, 255).astype(np.uint8)
    return strokes


def recoloured(pixels: Pixels, palette: list[list[float]], steps: int) -> Pixels:
    """A picture smoothed, its lightness in steps, each lightness with its colour of the palette."""
    light = smooth(pixels.astype(np.float32) / 255.0, 0.02 * pixels.shape[1], 0.25).mean(axis=2)
    low, high = np.percentile(light, [1, 98])
    light = in_steps(np.clip((light - low) / (high - low), 0.0, 1.0).astype(np.float32), steps, 8.0)
    stops = np.linspace(0.0, 1.0, len(palette))
    colours = [np.interp(light, stops, [colour[channel] for colour in palette]) for channel in range(3)]
    result: Pixels = np.rint(np.stack(colours, axis=2) * 255.0).clip(0, 255).astype(np.uint8)
    return result


if __name__ == "__main__":
    main()
