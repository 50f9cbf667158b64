from __future__ import annotations

import subprocess
import sys

import torch
from torch import Tensor

from faceloom.inversion.descent import Schedule, descend


def test_its_steps_are_those_of_pytorchs_adam() -> None:
    torch.manual_seed(0)
    starts = [torch.randn(1, 5), torch.randn(7, 3)]
    goals = [torch.randn(1, 5), torch.randn(7, 3)]
    schedule = Schedule(20, 0.1, warm=0.2, cool=0.5, betas=(0.9, 0.99), patience=0)

    def distance(variables: list[Tensor]) -> Tensor:
        parts = [(one - goal).abs().pow(1.5).sum() for one, goal in zip(variables, goals, strict=True)]
        return torch.stack(parts).sum().reshape(1)

    mine = [start.clone() for start in starts]
    found, taken = descend(mine, lambda number: (distance(mine), distance(mine)), 1, schedule, keep="last")
    assert taken == 20
    theirs = [start.clone().requires_grad_() for start in starts]
    optimizer = torch.optim.Adam(theirs, betas=schedule.betas)
    for number in range(1, 21):
        before = [one.detach().clone() for one in theirs]
        optimizer.param_groups[0]["lr"] = schedule.rate_at(number)
        optimizer.zero_grad()
        distance(theirs).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert all(torch.allclose(one, last, atol=1e-6) for one, last in zip(found, before, strict=True))


def test_a_variable_without_gradients_stays() -> None:
    used, idle = torch.ones(1, 2), torch.ones(1, 2)
    descend([used, idle], lambda number: (used.square().sum(dim=1), used.square().sum(dim=1)), 1, Schedule(3, 0.1))
    assert torch.equal(idle, torch.ones(1, 2))
    assert not torch.equal(used, idle)


def test_a_descent_does_not_load_the_compiler() -> None:
    program = """
import sys, torch
from faceloom.inversion.descent import Schedule, descend
x = torch.ones(1, 3)
descend([x], lambda number: (x.square().sum(dim=1), x.square().sum(dim=1)), 1, Schedule(2, 0.1))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
