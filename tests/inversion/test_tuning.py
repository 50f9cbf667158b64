from __future__ import annotations

import copy

import pytest
import torch

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion.protocol import Inversion
from faceloom.inversion.tuning import LEFT, RIGHT, Tuning, biases, filters, noise_maps, recalled, tuned


def one_change(generator: StyleGAN2) -> Tuning:
    name = next(iter(filters(generator)))
    outputs, *rest = filters(generator)[name].shape
    torch.manual_seed(4)
    left, right = torch.randn(outputs, 2), torch.randn(2, rest[0] * rest[1] * rest[2])
    return Tuning({name + LEFT: left, name + RIGHT: right}, generator.fingerprint)


def test_a_tuned_generator_is_another_and_shares_the_rest(generator: StyleGAN2) -> None:
    tuning = one_change(generator)
    name = next(iter(tuning.tensors)).removesuffix(LEFT)
    before = copy.deepcopy(generator.state_dict())
    other = tuned(generator, tuning)
    codes = generator.map(torch.randn(1, 8))
    assert not torch.allclose(other.synthesize(codes), generator.synthesize(codes))
    assert all(torch.equal(before[key], value) for key, value in generator.state_dict().items())
    state = other.state_dict()
    assert state.keys() == before.keys()
    shared = [key for key in before if key != name]
    own = generator.state_dict()
    assert all(state[key].data_ptr() == own[key].data_ptr() for key in shared)
    product = tuning.tensors[name + LEFT] @ tuning.tensors[name + RIGHT]
    assert torch.allclose(state[name] - before[name], product.reshape(before[name].shape), atol=1e-5)
    assert other.fingerprint != generator.fingerprint
    assert recalled(generator, tuning) is recalled(generator, tuning)


def test_a_tuning_of_another_generator_is_refused(generator: StyleGAN2) -> None:
    tuning = one_change(generator)
    other = copy.deepcopy(generator)
    other.__dict__.pop("fingerprint", None)
    other.const.data += 1.0
    with pytest.raises(UsageError, match="made for the generator"):
        tuned(other, tuning)


def test_a_tuning_is_stored_with_its_response(generator: StyleGAN2) -> None:
    plain = one_change(generator)
    stiff = Tuning(plain.tensors, plain.fingerprint, 0.8)
    again = Tuning.restored(stiff.stored(), stiff.fingerprint)
    assert again.response == pytest.approx(0.8)
    assert again.tensors.keys() == plain.tensors.keys()
    assert Tuning.restored(plain.stored(), plain.fingerprint).response == 1.0
    codes, moved = torch.zeros(2, 3), torch.ones(2, 3)
    assert torch.allclose(again.stretched(codes, moved), 1.25 * moved)
    for wrong in (torch.tensor(0.0), torch.tensor(float("nan")), torch.ones(2)):
        with pytest.raises(CheckpointError, match="response is damaged"):
            Tuning.restored({**plain.stored(), "response": wrong}, plain.fingerprint)


def test_a_damaged_tuning_is_refused(generator: StyleGAN2) -> None:
    whole = one_change(generator).tensors
    left = next(name for name in whole if name.endswith(LEFT))
    bad = (
        {left: whole[left]},
        {"nowhere": torch.zeros(3)},
        {next(iter(biases(generator))): torch.zeros(5)},
        {**whole, left: torch.zeros(3, 7)},
    )
    for tensors in bad:
        with pytest.raises(CheckpointError):
            tuned(generator, Tuning(tensors, generator.fingerprint))


def test_inversions_survive_as_plain_tensors(generator: StyleGAN2) -> None:
    codes = torch.randn(2, 6, 8)
    tuning = one_change(generator)
    for tunings in ((), (tuning, tuning)):
        kept = Inversion(codes, tunings).tensors()
        back = Inversion.from_tensors(kept, generator.fingerprint)
        assert torch.equal(back.codes, codes)
        assert len(back.tunings) == len(tunings)
        drawn, exact = (one.render(generator) for one in (back, Inversion(codes, tunings)))
        assert torch.allclose(drawn, exact, atol=0.02 * float(exact.abs().max()))
    for broken in ({}, {"codes": codes, "x.y": codes}, {"codes": codes, "1.y": codes}):
        with pytest.raises(CheckpointError, match="no inversion"):
            Inversion.from_tensors(broken, generator.fingerprint)


def test_what_there_is_to_tune(generator: StyleGAN2) -> None:
    assert len(filters(generator)) == 8  # 5 styled convolutions, 3 to RGB
    assert len(biases(generator)) == 8
    assert len(noise_maps(generator)) == 5
