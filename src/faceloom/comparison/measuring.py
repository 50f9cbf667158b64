"""One method on one face: what came of it, as a line of JSON."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom.comparison.memory import peak_memory, reset_peak
from faceloom.comparison.trials import Panel, choose_trials, draw_edits
from faceloom.encoders.features import EfficientNetFeatures
from faceloom.errors import UsageError
from faceloom.imaging.convert import resized, to_images, to_pixels
from faceloom.inversion.protocol import Inverter, fitted
from faceloom.inversion.wspace import measure_w
from faceloom.metrics.editability import latent_editing_consistency, row_deviation
from faceloom.metrics.identity import IdentityJudge, distance
from faceloom.metrics.reconstruction import ms_ssim, perceptual_distance, psnr
from faceloom.model import Model
from faceloom.types import Crop, Face, Pixels

VERSION = 2
"""Of the records: raised when what they hold changes its meaning, so that old ones are measured anew."""
VIEW = 256
"""Side at which structure and identity are compared, whatever the generator's."""


@dataclass(frozen=True)
class Record:
    """What one method did to one face.

    Attributes:
        photo, method: which.
        psnr: decibels, at the generator's size.
        ms_ssim: at 256 px, both pictures brought there from the generator's size.
        perceptual: distance in frozen features, at the generator's size.
        identity: dlib's distance between the photo and the reconstruction.
        effects: for each trial, how far the judges' score moved the right way.
        edited_identity: dlib's distance between the photo and the edited pictures, mean over trials.
        consistency: latent editing consistency of the first trial; None where it was not measured.
        w_distance, row_deviation: how far the code is from W; see `WSpace.distance` and `row_deviation`.
        seconds: wall time of the inversion of this face alone.
        cpu_seconds: processor time of it.
        peak_bytes: the program's largest memory while inverting; None where it could not be told.
        steps: how many the method took.
        stored_bytes: what a file of the result takes.
        features: pooled features of each edited picture, 16-bit, in base 64.
        photo_features: the same of the photo.
    """

    photo: str
    method: str
    psnr: float
    ms_ssim: float
    perceptual: float
    identity: float
    effects: dict[str, float]
    edited_identity: float
    consistency: float | None
    w_distance: float
    row_deviation: float
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    steps: int
    stored_bytes: int
    features: list[str] = field(default_factory=list)
    photo_features: str = ""

    def to_json(self, key: str) -> str:
        """One line; `key` says what it depends on besides, so that no other model is taken for this one."""
        return json.dumps({"version": VERSION, "key": key, **asdict(self)})


def begin_line(path: Path) -> None:
    """Have what is added to a file of JSON lines begin a line, also where the last one was torn off.

    Raises:
        UsageError: if nothing can be added to it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            end = file.seek(0, 2)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")
    except OSError as error:
        raise UsageError(f"cannot keep results in {str(path)!r} ({error.strerror or error}); choose another") from error


def read_records(path: Path, key: str) -> list[Record]:
    """The records of a file of JSON lines that have this key; none where there is no file. Torn lines are left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            data: dict[str, Any] = json.loads(line)
            if data.pop("version") == VERSION and data.pop("key") == key:
                found.append(Record(**data))
        except (ValueError, KeyError, TypeError):
            continue
    return found


class Bench:
    """The networks that measure, loaded once, and a model to be measured."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.trials = choose_trials(model.directions)
        self.panel = Panel()
        self.identity = IdentityJudge()
        self.features = EfficientNetFeatures(pooled=True)
        self.space = measure_w(model.generator)

    def measure(self, photo: str, method: str, crop: Crop, inverter: Inverter, *, consistency: bool) -> Record:
        """Invert one face and measure what came of it.

        Args:
            photo: name of the photo, for the record.
            method: name of the method, for the record.
            crop: the aligned face.
            inverter: the method.
            consistency: whether to invert an edited picture, too, which takes as long again.
        """
        images = to_images(crop.pixels)
        cleared = reset_peak()
        wall, processor = time.perf_counter(), time.process_time()
        found = inverter.invert(images)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        peak = peak_memory() if cleared else None
        generator, target = self.model.generator, fitted(images, self.model.generator)
        drawn = found.render(generator).clamp(-1.0, 1.0)
        scores = self.panel.score(torch.cat([drawn, target]))
        signs = [
            -1.0 if trial.away and trial.score in scores and float(scores[trial.score][1]) > 0 else 1.0
            for trial in self.trials
        ]
        edits = [trial.edit(sign) for trial, sign in zip(self.trials, signs, strict=True)]
        edited = draw_edits(generator, self.model.directions, found, edits)
        pictures = torch.cat([picture for _, picture in edited])
        after = self.panel.score(pictures)
        effects = {
            trial.direction: signs[i] * float(after[trial.score][i] - scores[trial.score][0])
            for i, trial in enumerate(self.trials)
            if trial.score in after
        }
        who = _embedder(self.identity, crop)
        known, seen = who(images), who(drawn)
        others = [who(picture) for _, picture in edited]
        again = None
        if consistency:
            codes = inverter.invert(edited[0][1]).codes
            move = (self.model.directions.move(found.codes, edits[:1]) - found.codes)[0]  # what the picture shows
            again = float(latent_editing_consistency(found.codes, codes, move, self.model.spread))
        with torch.no_grad():
            pooled = self.features.pooled(torch.cat([target, pictures]))
            apart = float(perceptual_distance(drawn, target, self.features))
        return Record(
            photo=photo,
            method=method,
            psnr=float(psnr(drawn, target)),
            ms_ssim=float(ms_ssim(resized(drawn, VIEW), resized(target, VIEW))),
            perceptual=apart,
            identity=distance(known, seen),
            effects=effects,
            edited_identity=float(np.mean([distance(known, other) for other in others])),
            consistency=again,
            w_distance=float(self.space.distance(found.codes)),
            row_deviation=float(row_deviation(found.codes, self.model.spread)),
            seconds=wall,
            cpu_seconds=processor,
            peak_bytes=peak,
            steps=found.steps,
            stored_bytes=sum(tensor.numel() * tensor.element_size() for tensor in found.tensors().values()),
            features=[_packed(row) for row in pooled[1:]],
            photo_features=_packed(pooled[0]),
        )


def _embedder(judge: IdentityJudge, crop: Crop) -> Any:
    """Embeds aligned pictures of the face, all by the landmarks of the photo."""
    corners = crop.from_photo(VIEW)
    points = np.column_stack([crop.face.landmarks, np.ones(len(crop.face.landmarks))]) @ corners.T
    face = Face((0.0, 0.0, float(VIEW), float(VIEW)), points[:, :2], crop.face.score)

    def embed(image: Tensor) -> NDArray[np.float64]:
        pixels: Pixels = to_pixels(resized(image, VIEW))[0]
        return judge.embed(pixels, face)

    return embed


def _packed(row: Tensor) -> str:
    return base64.b64encode(row.half().numpy().tobytes()).decode("ascii")


def unpacked(text: str) -> Tensor:
    """The inverse of how a record keeps features: (1280,) float32."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.float16).astype(np.float32))
