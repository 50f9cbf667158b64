"""The judges: layout of their weights always, their answers where the weights are installed.

The golden numbers are what the original JavaScript says of the same pixels.
"""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from faceloom.errors import CheckpointError, MissingExtraError
from faceloom.faces.networks import predict_landmarks
from faceloom.metrics import judges
from faceloom.metrics.judges import EXPRESSIONS, FaceApiAgeGender, FaceApiExpression, FaceRes, Judge, load_judges
from faceloom.metrics.nets import AgeGenderNet, ExpressionNet, FaceResNet, face_api_state, faceres_state
from faceloom.types import Face

GOLDEN_AGES = (14.26186752, 57.43318939)
GOLDEN_GENDERS = ((1.97814047, -1.94018525), (1.79519987, -1.14011145))
GOLDEN_EXPRESSIONS = (
    (-1.49643195, -2.99535441, -12.83483696, -2.47781253, -12.85841179, -3.77471161, -9.47554111),
    (-4.81041002, -4.88854408, -4.80014324, -7.70857954, -4.58949614, -4.49045753, -3.71863413),
)
GOLDEN_FACERES_MALE = (0.76676702, 0.57498389)
GOLDEN_FACERES_AGE = (37.92971797, 38.95289147)


@pytest.fixture(scope="module")
def weights() -> None:
    try:
        load_judges()
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def faces(shared_folder: Path) -> list[tuple[dict[str, str], Tensor]]:
    """Twelve women, twelve men, and twelve rated happy or not: labels and aligned images (1, 3, 256, 256)."""
    with zipfile.ZipFile(shared_folder / "data" / "faces256.zip") as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))
        plain = [row for row in rows if row["source"] == "plain"]
        rated = sorted((row for row in rows if row["happy"]), key=lambda row: float(row["happy"]))
        chosen = [
            row for gender in ("female", "male") for row in [r for r in plain if r["gender"] == gender][::100][:12]
        ]
        found = []
        for row in [*chosen, *rated[:6], *rated[-6:]]:
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB"))
            found.append((row, torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1))
    assert len(found) == 36
    return found


def two_patterns(size: int) -> Tensor:
    """A smooth and a busy picture, (2, 3, size, size) of whole numbers in 0..255."""
    y, x = np.mgrid[:size, :size]
    radius = (x - size // 2) ** 2 + (y - size // 2) ** 2
    smooth = np.stack([255 - radius * 255 // (size * size // 2), x * 255 // size, y * 255 // size])
    busy = np.stack([(7 * x + 13 * y + 29 * c + x * y) % 256 for c in range(3)])
    return torch.from_numpy(np.stack([smooth, busy])).float()


def tensorflow_layout(name: str, weight: Tensor) -> Tensor:
    if weight.ndim == 4:
        return weight.permute((2, 3, 0, 1) if "depthwise" in name or "_dw_" in name else (2, 3, 1, 0))
    return weight.T if weight.ndim == 2 else weight


def as_face_api_weights(net: torch.nn.Module) -> dict[str, Tensor]:
    """What a manifest of this network would hold."""
    found = {}
    for name, value in net.state_dict().items():
        *path, leaf = name.split(".")
        if path[-1] in ("depthwise", "pointwise"):
            leaf = "bias" if leaf == "bias" else f"{path[-1]}_filter"
            path = path[:-1]
        elif leaf == "weight":
            leaf = "filters" if value.ndim == 4 else "weights"
        found["/".join((*path, leaf))] = tensorflow_layout(leaf, value)
    return found


@pytest.mark.parametrize("kind", [AgeGenderNet, ExpressionNet])
def test_face_api_weights_land_in_their_places(kind: type[torch.nn.Module]) -> None:
    net, copy = kind(), kind()
    copy.load_state_dict(face_api_state(as_face_api_weights(net)))
    batch = two_patterns(112)
    with torch.no_grad():
        wanted, found = net(batch), copy(batch)
    pairs = zip(wanted, found, strict=True) if isinstance(wanted, tuple) else [(wanted, found)]
    assert all(torch.equal(a, b) for a, b in pairs)


def test_faceres_weights_land_in_their_places() -> None:
    net, copy = FaceResNet(), FaceResNet()
    weights: dict[str, Tensor] = {}
    for name, value in net.state_dict().items():
        *_, layer, leaf = name.split(".")
        if layer in ("feats", "gender_pred", "age_pred"):
            weights[f"{layer}/{'kernel' if leaf == 'weight' else leaf}"] = tensorflow_layout("", value)
        elif leaf == "bias":
            weights[f"{layer}_bn/batchnorm_1/sub"] = value
        elif "_dw_" in layer:
            weights[f"{layer}/depthwise_kernel"] = tensorflow_layout(layer, value / 2)
            weights[f"{layer}_bn/batchnorm_1/mul"] = torch.full((len(value),), 2.0)
        else:
            weights[f"{layer}/convolution/merged_input"] = tensorflow_layout(layer, value)
    copy.load_state_dict(faceres_state(weights))
    with torch.no_grad():
        assert torch.equal(net(two_patterns(224)).descriptor, copy(two_patterns(224)).descriptor)
    del weights["feats/bias"]
    with pytest.raises(CheckpointError, match="feats/bias"):
        faceres_state(weights)


def test_missing_weights_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_JUDGES", str(tmp_path))
    assert judges.judges_folder() == tmp_path
    assert judges.judges_folder(Path("other")) == Path("other")
    for make in (FaceApiAgeGender, FaceApiExpression, FaceRes):
        with pytest.raises(MissingExtraError, match="npm ci --prefix benchmarks/judges"):
            make()
    found, missing = judges.installed_judges()
    assert not found
    assert "npm ci --prefix benchmarks/judges" in missing


@pytest.mark.usefixtures("weights")
def test_nothing_is_missing_where_the_weights_are() -> None:
    found, missing = judges.installed_judges()
    assert ([one.name for one in found], missing) == ([one.name for one in load_judges()], "")


def test_checkout_holds_the_package_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACELOOM_JUDGES", raising=False)
    assert (judges.judges_folder() / "package-lock.json").is_file()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "node_modules" / "@vladmandic" / "face-api" / "model"
    model.mkdir(parents=True)
    (model / "face_expression_model-weights_manifest.json").write_text('[{"paths": [], "weights": []}]')
    with pytest.raises(CheckpointError, match="do not fit ExpressionNet"):
        FaceApiExpression(tmp_path)


@pytest.mark.usefixtures("weights")
def test_face_api_agrees_with_its_javascript() -> None:
    batch = two_patterns(112)
    with torch.no_grad():
        ages, genders = FaceApiAgeGender()._net(batch)
        expressions = FaceApiExpression()._net(batch)
    assert ages.tolist() == pytest.approx(GOLDEN_AGES, abs=1e-4)
    assert genders.numpy() == pytest.approx(np.array(GOLDEN_GENDERS), abs=1e-4)
    assert expressions.numpy() == pytest.approx(np.array(GOLDEN_EXPRESSIONS), abs=1e-4)


@pytest.mark.usefixtures("weights")
def test_faceres_agrees_with_its_javascript() -> None:
    with torch.no_grad():
        output = FaceRes()._net(two_patterns(224))
    assert output.gender.sigmoid().tolist() == pytest.approx(GOLDEN_FACERES_MALE, abs=1e-5)
    ages = (output.age.softmax(dim=1) * torch.arange(100)).sum(dim=1)
    assert ages.tolist() == pytest.approx(GOLDEN_FACERES_AGE, abs=1e-3)


@pytest.mark.usefixtures("weights")
def test_answers_are_consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "_BATCH", 1)
    images = two_patterns(256) / 127.5 - 1
    pixels = ((images[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    names = set()
    for judge in load_judges():
        names.add(judge.name)
        scores = judge.score_aligned(images)
        assert all(values.shape == (2,) and not values.requires_grad for values in scores.values())
        assert {name: tuple(values.shape) for name, values in judge.score_photos([]).items()} == dict.fromkeys(
            scores, (0,)
        )
        single = judge.score(pixels)
        assert single == pytest.approx({name: values[0].item() for name, values in scores.items()}, abs=1e-3)
        for name in (name for name in scores if f"{name}_logit" in scores):
            assert torch.logit(scores[name].double()).tolist() == pytest.approx(
                scores[f"{name}_logit"].tolist(), abs=0.05
            )
    assert len(names) == 3


@pytest.mark.usefixtures("weights")
def test_gender_and_smile_of_real_labels(faces: list[tuple[dict[str, str], Tensor]]) -> None:
    images = torch.cat([image for _, image in faces])
    for judge in (FaceApiAgeGender(), FaceRes()):
        logits = judge.score_aligned(images[:24])["male_logit"]
        right = sum((logit > 0) == (row["gender"] == "male") for logit, (row, _) in zip(logits, faces, strict=False))
        assert right >= 22
    smiles = FaceApiExpression().score_aligned(images[24:])
    assert smiles["happy_logit"][:6].max() < smiles["happy_logit"][6:].min()
    total = torch.stack([smiles[name] for name in EXPRESSIONS]).sum(dim=0)
    assert total.tolist() == pytest.approx([1.0] * 12, abs=1e-5)


@pytest.mark.usefixtures("weights")
def test_photo_and_aligned_crop_are_judged_alike(faces: list[tuple[dict[str, str], Tensor]]) -> None:
    row, image = faces[0]
    pixels = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    larger = np.zeros((400, 400, 3), dtype=np.uint8)
    larger[100:356, 60:316] = pixels
    landmarks = predict_landmarks(pixels, (128, 154), 148) + np.array([60, 100])
    face = Face((0, 0, 1, 1), landmarks, 1.0)
    both: list[Judge] = [FaceApiAgeGender(), FaceRes()]
    for judge in both:
        in_photo, aligned = judge.score(larger, face), judge.score(pixels)
        assert in_photo["male_logit"] == pytest.approx(aligned["male_logit"], abs=1.5)
        assert in_photo["age"] == pytest.approx(aligned["age"], abs=5)
    vectors = FaceRes().embed(larger, face), FaceRes().embed(pixels)
    assert [float(np.linalg.norm(vector)) for vector in vectors] == pytest.approx([1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.9
    assert row["gender"] == "female"
