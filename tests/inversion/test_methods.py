from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from faceloom import load_generator
from faceloom.encoders.irse import IRSEConfig, IRSEEncoder, RefiningEncoder
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion.dial import DEFAULT_FIDELITY, inverter_at, setting
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.losses import PixelLoss, WeightedSum, pixel_distance
from faceloom.inversion.lowrank import LowRankTuner
from faceloom.inversion.methods import METHODS, make_method
from faceloom.inversion.pivotal import LEAST_RESPONSE, PivotalTuner
from faceloom.inversion.projector import Projector, regularity
from faceloom.inversion.protocol import Inverter, Step
from faceloom.inversion.refinement import RefinedEncoderInverter
from faceloom.inversion.regularized import RegularizedInverter
from faceloom.inversion.wplus import WPlusInverter
from faceloom.inversion.wspace import measure_w

Maker = Callable[[StyleGAN2, ResidualEncoder, PixelLoss], Inverter]
MAKERS: dict[str, Maker] = {
    "refined": lambda g, e, loss: RefinedEncoderInverter(g, e, loss=loss),
    "hybrid": lambda g, e, loss: HybridInverter(g, e, torch.ones(8), steps=60, closeness=0.0, rate=0.2, loss=loss),
    "w": lambda g, e, loss: Projector(g, steps=60, loss=loss),
    "w+": lambda g, e, loss: WPlusInverter(g, steps=60, rate=0.1, loss=loss),
    "gaussian": lambda g, e, loss: RegularizedInverter(g, coordinates="w", steps=60, rate=0.2, loss=loss),
    "pn+": lambda g, e, loss: RegularizedInverter(g, steps=60, rate=0.2, loss=loss),
    "pivotal": lambda g, e, loss: PivotalTuner(g, EncoderInverter(e), steps=40, rate=3e-2, loss=loss),
    "low-rank": lambda g, e, loss: LowRankTuner(g, EncoderInverter(e), steps=40, rank=4, rate=0.1, loss=loss),
}
each_method = pytest.mark.parametrize("name", list(MAKERS))


def error(generator: StyleGAN2, inverter: Inverter, images: Tensor) -> Tensor:
    return pixel_distance(inverter.invert(images).render(generator), images)


@each_method
def test_every_method_comes_nearer_than_the_encoder(
    name: str, generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    plain = error(generator, EncoderInverter(encoder), images)
    better = error(generator, MAKERS[name](generator, encoder, loss), images)
    share = 1.0 if name == "refined" else 0.8  # an untrained encoder refines nothing, and must do no harm
    assert bool((better <= share * plain).all())


@each_method
def test_every_method_is_seeded_and_leaves_the_generator_alone(
    name: str, generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    before = copy.deepcopy(generator.state_dict())
    steps: list[Step] = []
    first = MAKERS[name](generator, encoder, loss).invert(images, steps.append)
    second = MAKERS[name](generator, encoder, loss).invert(images)
    assert torch.equal(first.codes, second.codes)
    assert torch.equal(first.render(generator), second.render(generator))
    assert first.codes.shape == (2, 6, 8)
    assert not first.codes.requires_grad
    after = generator.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert steps
    assert steps[-1].number <= steps[-1].total
    assert steps[-1].picture is not None
    assert steps[-1].picture().shape[1:] == (3, 16, 16)


@each_method
def test_a_batch_is_inverted_as_its_faces_alone(
    name: str, generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    inverter = MAKERS[name](generator, encoder, loss)
    together = inverter.invert(images)
    alone = [inverter.invert(image[None]).render(generator) for image in images]
    # Rounding differs with the size of the batch, and hundreds of steps let it grow.
    assert float((together.render(generator) - torch.cat(alone)).abs().mean()) < 0.02


@pytest.mark.parametrize("name", ["hybrid", "w", "w+", "gaussian", "pn+", "low-rank", "pivotal"])
def test_every_method_goes_on_from_where_it_was(
    name: str, generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    inverter = MAKERS[name](generator, encoder, loss)
    once = inverter.invert(images)
    twice = inverter.invert(images, start=once)
    first, second = (pixel_distance(found.render(generator), images).mean() for found in (once, twice))
    # The projector shakes its code anew, and draws new noise maps.
    assert float(second) < float(first) * (1.3 if name == "w" else 1.02)


def test_the_projector_finds_what_its_generator_drew(generator: StyleGAN2, loss: PixelLoss) -> None:
    torch.manual_seed(5)
    target = generator.synthesize(generator.map(torch.randn(1, 8)))
    trail: list[Step] = []
    found = Projector(generator, steps=300, loss=loss, noise=False).invert(target, trail.append)
    drawn = found.render(generator)
    peak = float(target.max() - target.min())
    psnr = 10 * torch.log10(peak**2 / (drawn - target).square().mean())
    assert float(psnr) > 30.0
    assert trail[-1].loss < 0.1 * trail[0].loss
    assert torch.equal(found.codes[:, 0], found.codes[:, -1])


def test_noise_is_regular_and_a_gradient_is_not() -> None:
    torch.manual_seed(0)
    white = torch.randn(1, 1, 64, 64)
    slope = torch.linspace(-1.7, 1.7, 64).expand(1, 1, 64, 64)
    assert float(regularity([white], 1)) < 0.2
    assert float(regularity([slope], 1)) > 1.0


def test_low_rank_tunings_are_small_and_fit(
    generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    inverter = LowRankTuner(generator, EncoderInverter(encoder), steps=3, rank=2, loss=loss)
    small = inverter.invert(images)
    full = PivotalTuner(generator, EncoderInverter(encoder), steps=3, loss=loss).invert(images)
    assert len(small.tunings) == 2
    least, most = (sum(one.nbytes for one in found.tunings[0].stored().values()) for found in (small, full))
    assert least < 0.5 * most


def test_locality_keeps_pictures_of_other_codes(
    generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    def drift(weight: float) -> float:
        tuner = PivotalTuner(
            generator, EncoderInverter(encoder), steps=60, rate=1e-2, locality=weight, interval=1, loss=loss
        )
        found = tuner.invert(images[:1])
        torch.manual_seed(9)
        space = measure_w(generator)
        others = generator.map(torch.randn(16, 8))
        way = others - found.codes
        near = found.codes + way * (space.deviation / way.square().sum(dim=2, keepdim=True).sqrt())
        with torch.no_grad():
            moved = torch.cat([found.render(generator, one[None]) for one in near])
            return float(pixel_distance(moved, generator.synthesize(near)).mean())

    assert drift(3.0) < 0.8 * drift(0.0)


def test_edits_change_the_tuned_picture_as_they_changed_the_untuned_one(
    generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    torch.manual_seed(3)
    moves = 0.5 * torch.randn(2, generator.num_ws, generator.w_dim)

    def lost(weight: float) -> float:
        tuner = LowRankTuner(
            generator, EncoderInverter(encoder), steps=80, rank=4, locality=weight, interval=1, moves=moves, loss=loss
        )
        found = tuner.invert(images[:1])
        changes = []
        for amount in (-1.5, 1.0, 2.0):
            edited = found.codes + amount * moves[:1]
            with torch.no_grad():
                tuned = found.render(generator, edited) - found.render(generator)
                changes.append(tuned - (generator.synthesize(edited) - generator.synthesize(found.codes)))
        return float(torch.cat(changes).abs().mean())

    assert lost(3.0) < 0.8 * lost(0.0)
    with pytest.raises(UsageError, match="moves have the shape"):
        LowRankTuner(generator, EncoderInverter(encoder), moves=moves[0])


def test_edits_of_a_stiff_tuning_are_stretched_until_they_show(
    generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    torch.manual_seed(3)
    moves = 0.5 * torch.randn(3, generator.num_ws, generator.w_dim)
    flat = images[:1].mean(dim=(2, 3), keepdim=True).expand_as(images[:1])
    tuner = LowRankTuner(generator, EncoderInverter(encoder), steps=80, rank=4, locality=0.0, moves=moves, loss=loss)
    found = tuner.invert(flat)
    tuning = found.tunings[0]
    assert LEAST_RESPONSE <= tuning.response < 0.95, "a generator tuned to one flat picture answers edits less"

    def share(stretch: bool) -> float:
        kept = own = 0.0
        for move in moves[:, None]:
            edited = tuning.stretched(found.codes, found.codes + move) if stretch else found.codes + move
            with torch.no_grad():
                change = generator.synthesize(found.codes + move) - generator.synthesize(found.codes)
                kept += float((change * (found.render(generator, edited) - found.render(generator))).sum())
                own += float(change.square().sum())
        return kept / own

    assert abs(1.0 - share(True)) < 0.7 * abs(1.0 - share(False))


def test_codes_are_held_by_the_regularisation(generator: StyleGAN2, images: Tensor, loss: PixelLoss) -> None:
    space = measure_w(generator)
    for coordinates in ("w", "pn"):
        found = [
            space.distance(
                RegularizedInverter(
                    generator,
                    coordinates=coordinates,
                    weight=weight,
                    steps=80,
                    rate=0.2,
                    loss=loss,
                )
                .invert(images)
                .codes
            ).mean()
            for weight in (0.0, 1.0)
        ]
        assert found[1] < found[0]


def test_an_encoder_of_pairs_is_asked_as_restyle_does(generator: StyleGAN2, images: Tensor, loss: PixelLoss) -> None:
    torch.manual_seed(3)
    config = IRSEConfig(
        inputs=6, stages=((8, 1), (8, 1), (8, 1)), halvings=(1,) * 6, pyramid=False, offsets=False, stem=4, squeeze=2,
        w_dim=8, resolution=16,
    )  # fmt: skip
    encoder = RefiningEncoder(IRSEEncoder(config), generator, steps=1).eval().requires_grad_(False)
    found = RefinedEncoderInverter(generator, encoder, steps=3, loss=loss).invert(images)
    assert bool(
        (error(generator, EncoderInverter(encoder), images) >= pixel_distance(found.render(generator), images)).all()
    )


def test_improvement_that_stalls_ends_it(generator: StyleGAN2, encoder: ResidualEncoder, loss: PixelLoss) -> None:
    target = generator.synthesize(encoder(torch.zeros(1, 3, 16, 16)))
    done: list[Step] = []
    start = EncoderInverter(encoder).invert(torch.zeros(1, 3, 16, 16))
    WPlusInverter(generator, steps=500, rate=1e-6, loss=loss).invert(target, done.append, start)
    assert len(done) < 400


def test_every_method_can_be_made(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    for name in METHODS:
        assert hasattr(make_method(name, generator, encoder, torch.ones(8)), "invert")
    with pytest.raises(UsageError, match="there is no inversion method"):
        make_method("magic", generator, encoder, torch.ones(8))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs an encoder"):
        make_method("hybrid", generator, None, torch.ones(8))
    assert isinstance(make_method("w+", generator, None, torch.ones(8)), WPlusInverter)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_the_dial_is_monotone_in_effort(one: float, other: float) -> None:
    low, high = (setting(value) for value in sorted((one, other)))
    assert low.code_steps <= high.code_steps
    assert low.tuning_steps <= high.tuning_steps
    assert low.closeness >= high.closeness
    assert low.locality >= high.locality


def test_the_dial_is_monotone_in_likeness(
    generator: StyleGAN2, encoder: ResidualEncoder, images: Tensor, loss: PixelLoss
) -> None:
    errors = [
        float(error(generator, inverter_at(place, generator, encoder, torch.ones(8), loss=loss), images[:1]).mean())
        for place in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_the_ends_of_the_dial(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    assert isinstance(inverter_at(0.0, generator, encoder, torch.ones(8)), EncoderInverter)
    assert isinstance(inverter_at(0.0, generator, None, torch.ones(8)), RegularizedInverter)
    assert 0.0 < DEFAULT_FIDELITY < 1.0
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="fidelity goes from 0"):
            setting(wrong)


def test_losses_add_up_and_masks_weigh(images: Tensor) -> None:
    first, second = images[:1], images[1:]
    plain = PixelLoss().against(first)(second)
    double = WeightedSum((1.0, PixelLoss()), (1.0, PixelLoss()), (0.0, PixelLoss())).against(first)(second)
    assert torch.allclose(double, 2 * plain)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :] = 2.0
    upper = PixelLoss(mask).against(first)(second)
    assert torch.allclose(upper, (first - second)[..., :8, :].abs().mean(dim=(1, 2, 3)))


def test_settings_that_make_no_sense_are_refused(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    with pytest.raises(UsageError, match="rate must be positive"):
        WPlusInverter(generator, rate=0.0)
    with pytest.raises(UsageError, match="rank"):
        LowRankTuner(generator, EncoderInverter(encoder), rank=0)
    with pytest.raises(UsageError, match="every step or more rarely"):
        PivotalTuner(generator, EncoderInverter(encoder), interval=0)


@pytest.mark.slow
def test_the_projector_finds_what_a_real_generator_drew(shared_folder: Path) -> None:
    """The recipe with its own number of steps and rate, features included, on a network in NVIDIA's format."""
    golden = shared_folder / "golden" / "stylegan2ada_skip_32.pkl"
    if not golden.is_file():
        pytest.skip("the golden networks are not here")
    generator = load_generator(golden)
    torch.manual_seed(0)
    target = generator.synthesize(generator.map(torch.randn(1, generator.z_dim)))
    peak = float(target.max() - target.min())
    trail: list[Step] = []
    found = Projector(generator, noise=False).invert(target, trail.append)
    error = (found.render(generator) - target).square().mean()
    assert len(trail) == 1000
    assert trail[-1].loss < 0.05 * trail[0].loss
    assert float(10 * torch.log10(peak**2 / error)) > 30.0
