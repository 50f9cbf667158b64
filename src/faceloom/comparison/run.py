"""Running the comparison: photos to aligned faces, each method over them, one line of JSON for each result."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from faceloom.comparison.contenders import FEW, FULL, Contender, choose_contenders
from faceloom.comparison.measuring import Bench, begin_line, read_records
from faceloom.comparison.trials import choose_trials
from faceloom.editor import CROP_SIZE
from faceloom.errors import FaceError, MissingExtraError, PhotoError, UsageError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.files import hash_file
from faceloom.generators.protocol import fingerprint_of
from faceloom.imaging.photos import open_photo, photos_in
from faceloom.model import Model, load_model
from faceloom.settings import keep_memory
from faceloom.types import Crop

Tell = Callable[[str], None]
CONSISTENCY_PHOTOS = 3
"""Latent editing consistency is measured on so many: it takes a second inversion."""


@dataclass(frozen=True)
class Plan:
    """What is compared on what.

    Attributes:
        photos: in the order in which they are taken.
        model: id or folder.
        results: file of JSON lines, continued where it exists.
        few: on how many photos the slow methods run.
        threads: of PyTorch.
    """

    photos: tuple[Path, ...]
    model: str
    results: Path
    few: int = 6
    threads: int = 1

    def share(self, contender: Contender) -> int:
        """On how many photos a method runs."""
        count = len(self.photos)
        if contender.share == FULL:
            return count
        return min(count, self.few if contender.share == FEW else 2 * self.few)


def choose_photos(folder: Path, limit: int | None) -> tuple[Path, ...]:
    """The photos of a folder with a face in them, in an order that makes any first few of them a fair sample.

    Args:
        folder: of pictures.
        limit: how many; all where None.

    Raises:
        UsageError: if there is no such folder, or no photo or no face in it.
    """
    paths = photos_in(folder)
    random.Random(0).shuffle(paths)
    found: list[Path] = []
    for path in paths:
        if limit is not None and len(found) >= limit:
            break
        if next(iter(aligned([path])), None) is not None:
            found.append(path)
    if not found:
        raise UsageError(f"no face was found in the photos of {str(folder)!r}; name a folder with photos of faces")
    return tuple(found)


def label_of(path: Path) -> str:
    """What tells a photo from others of its name."""
    return f"{path.name} {hash_file(path)[:12]}"


def key_of(model: Model, threads: int) -> str:
    """What results depend on besides the photo and the method: networks, directions, and the threads of PyTorch."""
    digest = hashlib.sha256(f"{model.generator.fingerprint} {threads}".encode())
    if model.encoder is not None:
        digest.update(fingerprint_of(cast(nn.Module, model.encoder)).encode())
    for one in choose_trials(model.directions):
        digest.update(
            f"{one.direction} {one.amount}".encode() + model.directions[one.direction].vector.numpy().tobytes()
        )
    return digest.hexdigest()[:16]


def aligned(paths: Sequence[Path], size: int = CROP_SIZE) -> Iterable[tuple[str, Crop]]:
    """The largest face of each photo, aligned; photos without one are left out."""
    for path in paths:
        try:
            photo = open_photo(path)
            yield label_of(path), align(photo, choose(detect(photo), None, photo), size)
        except (FaceError, PhotoError, MissingExtraError):
            continue


def compare(plan: Plan, contenders: Sequence[Contender], tell: Tell, *, isolated: bool = True) -> None:
    """Run what is not in the results yet.

    Args:
        plan: on what.
        contenders: what to compare.
        tell: is told in a line what is done.
        isolated: run each method in a process of its own, so that memory can be told apart.
    """
    model = load_model(plan.model)
    if not choose_trials(model.directions):
        raise UsageError(f"the model {plan.model!r} has no directions, and what edits do is half of the comparison")
    records = read_records(plan.results, key_of(model, plan.threads))
    done = {(record.photo, record.method) for record in records}
    labels = {path: label_of(path) for path in plan.photos}
    begin_line(plan.results)
    for contender in contenders:
        try:
            contender.make(model)
        except UsageError as error:  # it wants an encoder, or another kind of generator
            tell(f"{contender.name}: left out: {error}")
            continue
        every = plan.photos[: plan.share(contender)]
        wanted = [path for path in every if (labels[path], contender.name) not in done]
        if not wanted:
            tell(f"{contender.name}: done before")
            continue
        tell(f"{contender.name}: {len(wanted)} photos")
        if not isolated:
            run_one(plan, contender.name, wanted)
            continue
        process = multiprocessing.get_context("spawn").Process(target=run_one, args=(plan, contender.name, wanted))
        process.start()
        process.join()
        if process.exitcode:
            raise UsageError(f"the method {contender.name} ended with {process.exitcode}; what it said stands above")


def run_one(plan: Plan, name: str, photos: Sequence[Path]) -> None:
    """Run one method over photos, and add what came of it to the results line by line."""
    torch.set_num_threads(plan.threads)
    keep_memory()
    model = load_model(plan.model)
    (contender,) = choose_contenders(name)
    inverter, bench = contender.make(model), Bench(model)
    few = {label_of(path) for path in plan.photos[:CONSISTENCY_PHOTOS]}
    key = key_of(model, plan.threads)
    with plan.results.open("a", encoding="utf-8") as file:
        for photo, crop in aligned(photos):
            record = bench.measure(photo, name, crop, inverter, consistency=photo in few)
            file.write(record.to_json(key) + "\n")
            file.flush()
