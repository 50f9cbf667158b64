from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.mapping import Mapping, MappingConfig
from faceloom.generators.stylegan2 import Block, StyleGAN2
from faceloom.model import load_model
from faceloom.training.adversary import FeatureCritic, normal_codes
from faceloom.training.attributes import (
    MEASURES,
    Attribute,
    attribute_table,
    collection_indicators,
    read_attributes,
    unread_columns,
)
from faceloom.training.config import with_feature_maps
from faceloom.training.discriminator import Discriminator, FeatureDiscriminator, PatchDiscriminator
from faceloom.training.export import base_codes, export_model
from faceloom.training.growth import grow
from faceloom.training.images import Batches, FaceSet, load_faces, pictures
from faceloom.training.losses import discriminator_adversarial, generator_adversarial, r1_penalty
from faceloom.training.mapping import fit_mapping
from faceloom.training.processes import Processes
from faceloom.training.remapping import refit_mapping
from faceloom.training.trainer import PrincipalCodes, Trainer, TrainingConfig

TINY = TrainingConfig(
    resolution=16,
    channels=(16, 16, 8),
    encoder_widths=(8, 12, 16),
    w_dim=8,
    mapping_layers=2,
    minutes=1.0,
    batch=8,
    perceptual=0.0,
    ema_steps=10.0,
)


def blobs(count: int = 160, size: int = 16) -> FaceSet:
    """Pictures with three things that vary: where a disc is, its colour, and the ground's."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    pixels = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        disc = ((x - random.uniform(0.35, 0.65)) ** 2 + (y - 0.5) ** 2 < 0.07)[..., None]
        pixels[index] = np.where(disc, random.integers(100, 255, 3), random.integers(0, 120, 3))
    landmarks = random.uniform(0.2, 0.8, (count, 68, 2))
    return FaceSet(pixels, landmarks, tuple(f"blobs/{index}.png" for index in range(count)))


def run(config: TrainingConfig, out: Path, steps: int, faces: FaceSet | None = None) -> Trainer:
    trainer = Trainer(config, faces or blobs(), out)
    for number in range(steps):
        trainer.progress.seconds = 60.0 * number / steps
        trainer.step()
    trainer.progress.seconds = 60.0
    return trainer


def error(trainer: Trainer, faces: FaceSet) -> float:
    generator, encoder = trainer.averaged_networks()
    images = torch.from_numpy(faces.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    with torch.no_grad():
        return float((generator.synthesize(encoder(images), "none") - images).abs().mean())


def test_training_learns_to_reconstruct(tmp_path: Path) -> None:
    faces = blobs()
    before = error(Trainer(TINY, faces, tmp_path / "a"), faces)
    after = error(run(TINY, tmp_path / "b", 120, faces), faces)
    assert after < 0.7 * before


def start_of(trainer: Trainer) -> tuple[StyleGAN2, ResidualEncoder]:
    return trainer.averaged_networks()


def test_a_grown_generator_begins_with_the_small_ones_picture_enlarged(tmp_path: Path) -> None:
    small = run(TINY, tmp_path / "small", 30)
    config = replace(TINY, resolution=32, channels=(*TINY.channels, 8))
    grown = Trainer(config, blobs(size=32), tmp_path / "grown", start=start_of(small))
    generator, encoder = grown.averaged_networks()
    before, reader = small.averaged_networks()
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert torch.equal(encoder.split(images)[0], reader.split(images)[0])
        ws = reader(images)[:, :1].expand(-1, generator.num_ws, -1)
        fine, coarse = generator.synthesize(ws, "none"), before.synthesize(ws[:, : before.num_ws], "none")
        assert torch.allclose(generator.synthesize(ws, "none", resolution=16), coarse, atol=1e-5)
        assert torch.allclose(
            torch.nn.functional.avg_pool2d(fine, 2)[..., 2:-2, 2:-2], coarse[..., 2:-2, 2:-2], atol=0.3
        )
    assert grown.config.warm == 0.0
    grown.step()
    assert (generator.synthesize(ws, "none") - fine).abs().max() > 0.0


def test_a_widened_generator_begins_with_the_same_picture(tmp_path: Path) -> None:
    small = run(TINY, tmp_path / "small", 30)
    config = with_feature_maps(replace(TINY, resolution=32, channels=(*TINY.channels, 8)), channels=(16, 24, 12, 8))
    wide = Trainer(config, blobs(size=32), tmp_path / "wide", start=start_of(small))
    generator, before = wide.averaged_networks()[0], small.averaged_networks()[0]
    ws = torch.randn(4, generator.num_ws, generator.w_dim)
    with torch.no_grad():
        coarse = before.synthesize(ws[:, : before.num_ws], "none")
        assert torch.allclose(generator.synthesize(ws, "none", resolution=16), coarse, atol=1e-5)
    for _ in range(3):
        wide.step()
    trained, first = wide.generator.blocks[1], before.blocks[1]
    assert isinstance(trained, Block)
    assert isinstance(first, Block)
    heard = trained.conv.weight[: len(first.conv.weight), len(first.conv.weight) :]
    assert heard.abs().max() > 0.0, "new feature maps are listened to once there are gradients"
    with pytest.raises(TrainingError, match="the generator wants 4 numbers"):
        with_feature_maps(config, channels=(16, 24, 12))


def test_a_widened_encoder_begins_with_the_same_codes(tmp_path: Path) -> None:
    small = run(TINY, tmp_path / "small", 30)
    reader = small.averaged_networks()[1]
    more = tuple(width + 3 for width in TINY.encoder_widths)
    wide = Trainer(with_feature_maps(TINY, encoder_widths=more), blobs(), tmp_path / "wide", start=start_of(small))
    images = torch.rand(4, 3, TINY.resolution, TINY.resolution) * 2 - 1
    with torch.no_grad():
        for known, got in zip(reader.split(images), wide.averaged_networks()[1].split(images), strict=True):
            assert torch.allclose(known, got, atol=1e-5)
    assert reader.split(images)[1].abs().max() > 0.0
    for _ in range(3):
        wide.step()
    new = wide.encoder.features.weight[:, 16 * TINY.encoder_widths[-1] :]
    assert new.abs().max() > 0.0, "new feature maps are heard once there are gradients"
    with pytest.raises(TrainingError, match="the encoder wants"):
        with_feature_maps(TINY, encoder_widths=more[1:])
    with pytest.raises(TrainingError, match=r"cannot start from this model: its w_mean"):
        grow(reader, ResidualEncoder(replace(reader.config, w_dim=reader.config.w_dim + 1)))


def test_a_model_of_other_widths_cannot_be_started_from(tmp_path: Path) -> None:
    small = Trainer(TINY, blobs(), tmp_path / "small")
    with pytest.raises(TrainingError, match="cannot start from this model"):
        Trainer(replace(TINY, channels=(16, 8, 8)), blobs(), tmp_path / "other", start=start_of(small))
    with pytest.raises(TrainingError, match="more style layers"):
        grow(small.encoder, ResidualEncoder(replace(TINY.encoder(), num_ws=2)))


def test_the_patch_discriminator_pulls_on_fine_detail_only(tmp_path: Path) -> None:
    judge = PatchDiscriminator().eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(judge(images), judge(images + 0.3), atol=1e-4)
    assert not torch.allclose(judge(images), judge(images.flip(3)), atol=1e-4)
    config = replace(TINY, patches=0.2, adversarial_from=0.0, half=0.1, warm=0.05)
    trainer = run(config, tmp_path / "run", 120)
    values = trainer.step()
    assert {"patches", "discriminator"} <= set(values)
    assert error(trainer, blobs()) < 0.7 * error(Trainer(TINY, blobs(), tmp_path / "fresh"), blobs())
    trainer.save()
    again = Trainer(config, blobs(), tmp_path / "run")
    assert again.patches is not None
    for kept, now in zip(trainer._networks().parameters(), again._networks().parameters(), strict=True):
        assert torch.equal(kept, now)


def _pull_of_the_critic(trainer: Trainer) -> float:
    """The gradient of the generator's first filters from the critic alone."""
    real = next(trainer.batches)
    _, ws = trainer._codes(real)
    loss = trainer._criticised(trainer._draw(ws, 16), real)["features"]
    (gradient,) = torch.autograd.grad(loss, trainer.generator.const)
    return float(gradient.abs().sum())


def test_a_critic_of_features_learns_and_is_resumed(tmp_path: Path) -> None:
    config = replace(TINY, critic=0.3, perceptual=0.25, adversarial_from=0.0, half=0.1, warm=0.05)
    trainer = run(config, tmp_path / "run", 60)
    assert trainer.feature_critic is not None
    values = trainer.step()
    assert {"features", "discriminator", "perceptual", "pixel"} <= set(values)
    assert float(values["discriminator"]) < 1.9  # 2 is knowing nothing
    rates = [one.param_groups[0]["lr"] for one in (trainer.optimizer, trainer.feature_critic.optimizer)]
    assert rates[1] == pytest.approx(2.0 * rates[0])
    assert rates[0] < 0.2 * config.learning_rate  # at the end
    assert _pull_of_the_critic(trainer) > 0.0
    assert error(trainer, blobs()) < 0.8 * error(Trainer(TINY, blobs(), tmp_path / "fresh"), blobs())
    trainer.save()
    again = Trainer(config, blobs(), tmp_path / "run")
    assert again.features is not None
    assert float(again.features.weight) > 0.0
    kept, now = trainer._networks().state_dict(), again._networks().state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in kept.items())
    assert again.feature_critic is not None
    critics = (trainer.feature_critic, again.feature_critic)
    moments = [one.optimizer.state_dict()["state"][0]["exp_avg_sq"] for one in critics]
    assert torch.equal(*moments)
    alone = (replace(config, patches=0.2), replace(config, adversarial=1.0), replace(config, perceptual=0.0))
    for other in alone:
        with pytest.raises(TrainingError, match="the critic needs"):
            Trainer(other, blobs(), tmp_path / "other")


def test_beside_a_critic_detail_need_not_be_where_it_is_in_the_photo(tmp_path: Path) -> None:
    config = replace(TINY, critic=0.3, perceptual=0.25, adversarial_from=0.0, half=0.1, warm=0.05)
    fine = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).repeat(8, 8).expand(1, 3, 16, 16)
    grain = torch.zeros(1, 3, 16, 16) + fine
    for compared_at, costs in ((0, True), (8, False)):
        trainer = Trainer(replace(config, compared_at=compared_at), blobs(), tmp_path / str(compared_at))
        values = [trainer._criticised(one.requires_grad_(), 0.0 * grain)["pixel"] for one in (grain, 0.0 * grain)]
        assert (values[0].item() > 0.1) == costs
        assert values[1].item() == 0.0


def test_a_critic_pulls_as_hard_as_it_is_told() -> None:
    torch.manual_seed(0)
    critic = FeatureCritic(0.3, FeatureDiscriminator([3, 3], 4), 1e-3, Processes())
    images = torch.rand(6, 3, 32, 32, requires_grad=True)
    maps = [images, functional.avg_pool2d(images, 2)]
    critic.learn([one.detach() + 0.5 for one in maps], maps)
    others = images[:4].square().mean()
    loss = critic.fooled(images, maps, others)
    pulls = [torch.autograd.grad(one, images, retain_graph=True)[0].flatten(1).norm(dim=1) for one in (others, loss)]
    assert float(pulls[1][:4].mean() / pulls[0][:4].mean()) == pytest.approx(0.3, rel=0.02)
    assert float(pulls[1][4:].min()) > 0.0


def test_people_who_do_not_exist_are_spread_as_the_codes_are() -> None:
    torch.manual_seed(0)
    mixing = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 0.2], [0.0, 0.0, 1.0]])
    codes = torch.randn(3000, 7, 3) @ mixing + 3.0
    memory = FeatureDiscriminator([3], 3).memory
    drawn = torch.stack([normal_codes(memory, batch, step) for step, batch in enumerate(codes)])
    early, late = drawn[20:60].flatten(0, 1), drawn[500:].flatten(0, 1)  # before the memory is full, and after
    wanted = codes.flatten(0, 1)
    assert torch.allclose(early.mean(dim=0), wanted.mean(dim=0), atol=0.5)
    assert torch.allclose(torch.cov(early.T), torch.cov(wanted.T), rtol=0.5, atol=0.3)
    assert torch.allclose(late.mean(dim=0), wanted.mean(dim=0), atol=0.1)
    assert torch.allclose(torch.cov(late.T), torch.cov(wanted.T), rtol=0.1, atol=0.1)
    assert torch.equal(memory.sort(dim=0).values, wanted[-len(memory) :].sort(dim=0).values)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = run(TINY, tmp_path / "whole", 6)
    first = Trainer(TINY, blobs(), tmp_path / "parts")
    for number in range(6):
        if number == 3:
            first.save()
            first = Trainer(TINY, blobs(), tmp_path / "parts")
        first.progress.seconds = 10.0 * number
        first.step()
    for a, b in zip(whole.generator.parameters(), first.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.progress.images == whole.progress.images == 48


def test_a_run_of_other_settings_is_not_overwritten(tmp_path: Path) -> None:
    run(TINY, tmp_path, 1).save()
    with pytest.raises(TrainingError, match="other settings"):
        Trainer(replace(TINY, batch=4), blobs(), tmp_path)
    Trainer(replace(TINY, minutes=2.0), blobs(), tmp_path)  # a larger budget is the same run
    with pytest.raises(TrainingError, match="16 px, the model 32 px"):
        Trainer(TrainingConfig(resolution=32, channels=(8,) * 4, encoder_widths=(8,) * 4), blobs(), tmp_path / "x")


def test_the_adversarial_loss_takes_part(tmp_path: Path) -> None:
    trainer = Trainer(replace(TINY, adversarial=0.1, adversarial_from=0.3), blobs(), tmp_path)
    assert "adversarial" not in trainer.step()
    trainer.progress.seconds = 30.0
    assert trainer.discriminator is not None
    before = [parameter.clone() for parameter in trainer.discriminator.parameters()]
    values = trainer.step()
    assert values["discriminator"] > 0
    assert values["adversarial"] > 0
    moved = [not torch.equal(a, b) for a, b in zip(before, trainer.discriminator.parameters(), strict=True)]
    assert all(moved)


def test_the_perceptual_loss_takes_part(tmp_path: Path) -> None:
    assert Trainer(replace(TINY, perceptual=0.5), blobs(), tmp_path).step()["perceptual"] > 0


def test_adversarial_losses_at_known_scores() -> None:
    zero = torch.zeros(4, 1)
    assert generator_adversarial(zero).item() == pytest.approx(np.log(2))
    assert discriminator_adversarial(zero, zero).item() == pytest.approx(2 * np.log(2))
    real = torch.ones(2, 3, 4, 4, requires_grad=True)
    assert r1_penalty((real * 2.0).sum(dim=(1, 2, 3)).reshape(-1, 1), real).item() == pytest.approx(4.0 * 48)


def test_the_discriminator_scores_every_image() -> None:
    assert Discriminator((16, 16, 8))(torch.randn(6, 3, 16, 16)).shape == (6, 1)


def test_principal_codes_are_white() -> None:
    batches = Batches(blobs(), 64, 0)
    principal = PrincipalCodes(4, size=16)
    principal.fit(batches, 2048)
    codes = principal(torch.cat([next(batches) for _ in range(16)]))
    assert torch.allclose(torch.cov(codes.t()), torch.eye(4), atol=0.2)


@pytest.mark.parametrize("layers", [2, 3, 5])
def test_the_mapping_takes_the_statistics_of_the_codes(layers: int) -> None:
    torch.manual_seed(0)
    # One direction of W holds almost all of the variance, as in real generators; the others must be right as well.
    scales = torch.tensor([20.0, 1.0, 1.0, 0.5, 0.2, 0.1, 0.1, 0.05])
    codes = torch.randn(2000, 8) * scales @ torch.linalg.qr(torch.randn(8, 8)).Q + 1.0
    mapping = Mapping(MappingConfig(z_dim=16, w_dim=8, c_dim=0, layers=layers, dim=12, gain=0.1))
    fit_mapping(mapping, codes)
    drawn = mapping(torch.randn(8000, 16), None).detach()
    white = torch.linalg.solve(torch.linalg.cholesky(torch.cov(codes.t())), (drawn - codes.mean(dim=0)).t())
    assert white.mean(dim=1).abs().max() < 0.05
    assert torch.allclose(torch.cov(white), torch.eye(8), atol=0.1)


def test_a_mapping_that_cannot_hold_the_statistics_is_refused() -> None:
    narrow = Mapping(MappingConfig(z_dim=8, w_dim=8, c_dim=0, layers=2, dim=4, gain=1.0))
    with pytest.raises(TrainingError, match="hidden 4"):
        fit_mapping(narrow, torch.randn(100, 8))


def test_a_mapping_of_a_few_codes_draws_between_them() -> None:
    mapping = Mapping(MappingConfig(z_dim=8, w_dim=8, c_dim=0, layers=2, dim=8, gain=1.0))
    codes = torch.randn(2, 8)
    fit_mapping(mapping, codes)
    drawn = mapping(torch.randn(100, 8), None).detach() - codes.mean(dim=0)
    assert torch.linalg.matrix_rank(drawn, rtol=1e-3) == 1
    fit_mapping(mapping, codes[:1])
    assert torch.allclose(mapping(torch.randn(4, 8), None), codes[:1].expand(4, -1), atol=1e-5)


def test_batches_stay_in_range_and_repeat_with_the_seed() -> None:
    first, second = next(Batches(blobs(), 16, 3)), next(Batches(blobs(), 16, 3))
    assert torch.equal(first, second)
    assert first.shape == (16, 3, 16, 16)
    assert first.min() >= -1.0
    assert first.max() <= 1.0


def test_held_out_faces_are_few_and_always_the_same() -> None:
    faces = blobs(1000)
    assert 20 <= faces.held_out.sum() <= 60
    assert np.array_equal(faces.held_out, blobs(1000).held_out)


def test_a_face_set_survives_its_file(tmp_path: Path) -> None:
    faces = blobs(10)
    faces.save(tmp_path / "faces.npz")
    again = FaceSet.load(tmp_path / "faces.npz")
    assert np.array_equal(again.pixels, faces.pixels)
    assert np.array_equal(again.landmarks, faces.landmarks)
    assert again.names == faces.names


def test_sources_without_faces_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a picture")
    with pytest.raises(TrainingError, match=r"no usable face .* \(1 pictures read\)"):
        load_faces([tmp_path], 16)
    with pytest.raises(TrainingError, match="neither a folder of pictures nor a zip"):
        list(pictures(tmp_path / "a.jpg"))


def test_labels_come_from_the_table_and_the_landmarks(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir()
    text = "file,gender,age,gender,born,congress\n0.png,female,30,20,,\n1.png,,,,1950,110\n2.png,male,x,,,\n"
    (folder / "labels.csv").write_text(text)
    wanted = [
        Attribute("age", column="age"),
        Attribute("gender", column="gender", words={"male": 70.0}),
        Attribute("yaw", measure="yaw"),
    ]
    values = attribute_table(blobs(4), [folder], wanted)
    assert values["age"][:2].tolist() == [30.0, 57.0]
    assert np.isnan(values["age"][2:]).all()
    assert values["gender"][0] == 20.0
    assert values["gender"][2] == 70.0
    assert np.isnan(values["gender"][[1, 3]]).all()
    assert np.isfinite(values["yaw"]).all()


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir()
    (folder / "labels.csv").write_bytes("\ufefffile,age\n0.png,30\n\n1.png,40\n".encode())
    ages = attribute_table(blobs(2), [folder], [Attribute("age", column="age")])["age"]
    assert ages.tolist() == [30.0, 40.0]
    (folder / "labels.csv").write_text("picture,age\n0.png,30\n")
    with pytest.raises(TrainingError, match="a column 'file'"):
        attribute_table(blobs(2), [folder], [Attribute("age", column="age")])


def test_columns_that_nothing_reads_are_named(tmp_path: Path) -> None:
    lines = [f"{number}.png,{number},1950,{number / 2},{number if number < 9 else ''},x" for number in range(60)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,age,born,freckles,few,words", *lines]))
    assert unread_columns([tmp_path], [Attribute("age", column="age")]) == ["freckles"]
    assert unread_columns([tmp_path], [Attribute("freckles", column="freckles")]) == ["age"]


def test_measures_on_a_drawn_face() -> None:
    face = np.zeros((1, 68, 2))
    eye = np.array([(-0.05, 0.0), (-0.02, -0.01), (0.02, -0.01), (0.05, 0.0), (0.02, 0.01), (-0.02, 0.01)])
    face[0, 36:42], face[0, 42:48] = eye + np.array([0.35, 0.4]), eye + np.array([0.65, 0.4])
    face[0, 2:5], face[0, 12:15] = (0.25, 0.6), (0.75, 0.6)
    face[0, 17:27], face[0, 8] = (0.5, 0.3), (0.5, 0.9)
    face[0, 1], face[0, 15], face[0, 30] = (0.2, 0.5), (0.8, 0.5), (0.62, 0.55)
    face[0, 61:64], face[0, 65:68] = (0.5, 0.7), (0.5, 0.76)
    pixels = np.zeros((1, 50, 50, 3), np.uint8)
    pixels[:, :25] = (200, 100, 0)
    pixels[:, 25:, 25:] = 102
    drawn = FaceSet(pixels, face, ("drawn/0.png",))
    values = {name: float(measure(drawn)[0]) for name, measure in MEASURES.items()}
    assert values["yaw"] == pytest.approx(0.2)
    assert values["pitch"] == pytest.approx(0.5)
    assert values["mouth-open"] == pytest.approx(0.2)
    assert values["eyes-open"] == pytest.approx(0.2)
    assert values["face-width"] == pytest.approx(0.5 / 0.6)
    assert values["background-warmth"] == pytest.approx(200 / 255)
    assert values["background-tint"] == pytest.approx(0.0)
    assert values["side-light"] == pytest.approx(0.4)


def test_collections_are_told_apart() -> None:
    faces = blobs(180)
    names = (*(f"a/{index}" for index in range(100)), *(f"b/{index}" for index in range(78)), "c/0", "c/1")
    columns = collection_indicators(replace(faces, names=names))
    assert list(columns) == ["collection b"]
    assert columns["collection b"].sum() == 78


def test_the_attributes_of_the_default_model_are_well_formed(tmp_path: Path) -> None:
    names = [one.name for one in read_attributes() if one.offered]
    assert {"age", "gender", "smile", "hair-length", "hair-colour"} <= set(names)
    bad = tmp_path / "bad.toml"
    bad.write_text('[[attribute]]\nname = "x"\n')
    with pytest.raises(TrainingError, match="needs either a column, or a measure"):
        read_attributes(bad)
    bad.write_text("[[attribute")
    with pytest.raises(TrainingError, match="malformed"):
        read_attributes(bad)


def test_an_exported_run_is_a_model(tmp_path: Path) -> None:
    faces = blobs()
    trainer = run(TINY, tmp_path / "run", 60, faces)
    brightness = faces.pixels.mean(axis=(1, 2, 3)).astype(np.float64)
    wanted = [Attribute("light", column="light", low="dark", high="bright"), Attribute("none", column="none")]
    values = {"light": brightness, "none": np.full(len(faces), np.nan)}
    said: list[str] = []
    export_model(trainer, faces, values, wanted, tmp_path / "model", say=said.append)
    model = load_model(str(tmp_path / "model"))
    assert model.directions.names() == ("light",)
    assert model.directions.fingerprint == model.generator.fingerprint
    assert any("none: only 0 labels" in line for line in said)
    # Random people have the encoder's base codes, which is what training drew its W from.
    base = base_codes(trainer.averaged_networks()[1], faces.subset(~faces.held_out))
    torch.testing.assert_close(model.generator.w_mean, base.mean(dim=0), rtol=1e-2, atol=1e-2)
    drawn = model.generator.map(torch.randn(4000, 8))[:, 0]
    torch.testing.assert_close(drawn.mean(dim=0), base.mean(dim=0), rtol=0.1, atol=0.1)
    folder = Path(shutil.copytree(tmp_path / "model", tmp_path / "again"))
    mark = refit_mapping(folder, faces)
    again = load_model(str(folder))
    assert again.directions.fingerprint == again.generator.fingerprint == mark
    torch.testing.assert_close(again.generator.w_mean, model.generator.w_mean, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(again.spread, model.spread, rtol=1e-2, atol=1e-2)
    codes = model.generator.map(torch.randn(16, 8), truncation=0.5)
    step = model.directions["light"].vector
    with torch.no_grad():
        darker, brighter = (model.generator.synthesize(codes + side * step).mean().item() for side in (-1.0, 1.0))
    assert brighter > darker


def test_a_run_whose_weights_went_wrong_is_not_saved(tmp_path: Path) -> None:
    trainer = Trainer(TINY, blobs(), tmp_path / "run")
    values = trainer.step()
    with torch.no_grad():
        next(trainer.generator.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="a weight is not a number"):
        trainer._keep(values, lambda: None)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    sources = [tmp_path / year / "photos" for year in ("2020", "2021")]
    with pytest.raises(TrainingError, match="two sources are called 'photos'"):
        load_faces(sources, 32)
