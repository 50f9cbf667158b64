"""The loop that every optimising method runs: Adam, a ramp, the best that was met, and an early stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faceloom.errors import UsageError
from faceloom.inversion.protocol import ProgressReport, Step

Losses = Callable[[int], tuple[Tensor, Tensor]]
"""Step number, from 1, to what is minimised (N,), and what says which step was best (N,)."""


@dataclass(frozen=True)
class Schedule:
    """How long to go, and how fast.

    Attributes:
        steps: at most; 0 for none.
        rate: Adam's step at full speed.
        warm: share of the steps in which the rate rises linearly.
        cool: share of the steps, at the end, in which it falls along a cosine (Karras et al. 2020, appendix D).
        betas: Adam's decays.
        patience: over how many steps improvement is watched; 0 to never stop early.
        gain: the share of its loss that a face must have lost over that time to go on.
    """

    steps: int
    rate: float
    warm: float = 0.05
    cool: float = 0.25
    betas: tuple[float, float] = (0.9, 0.99)
    patience: int = 40
    gain: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise UsageError(f"the number of steps cannot be negative, as {self.steps}")
        if not self.rate > 0.0:
            raise UsageError(f"the rate must be positive, not {self.rate}")

    def rate_at(self, number: int) -> float:
        """The rate of a step, from 1."""
        done = number / self.steps
        up = min(1.0, done / self.warm) if self.warm else 1.0
        down = min(1.0, (1.0 - done) / self.cool) if self.cool else 1.0
        return self.rate * up * (0.5 - 0.5 * math.cos(math.pi * down))


class _Watch:
    """Tells, face by face, when the loss has stopped falling."""

    def __init__(self, patience: int, gain: float, faces: int) -> None:
        self.patience, self.gain = patience, gain
        self.history: list[Tensor] = []
        self.stalled = torch.zeros(faces, dtype=torch.bool)

    def look(self, values: Tensor) -> None:
        self.history.append(values)
        if not self.patience or len(self.history) < 2 * self.patience:
            return
        recent = torch.stack(self.history[-self.patience :]).mean(dim=0)
        before = torch.stack(self.history[-2 * self.patience : -self.patience]).mean(dim=0)
        self.stalled |= ~(recent < (1.0 - self.gain) * before)


class _Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), in place; variables without a gradient stay as they are.

    PyTorch's own takes longer for a step of many small variables than all of this, and the first one of a process loads
    PyTorch's compiler, which takes seconds.
    """

    def __init__(self, variables: Sequence[Tensor], betas: tuple[float, float], epsilon: float = 1e-8) -> None:
        self.variables, self.betas, self.epsilon = variables, betas, epsilon
        self.means = [torch.zeros_like(variable) for variable in variables]
        self.squares = [torch.zeros_like(variable) for variable in variables]
        self.taken = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], rate: float) -> None:
        """Move the variables by one step."""
        self.taken += 1
        first, second = (1.0 - beta**self.taken for beta in self.betas)
        for variable, mean, square, gradient in zip(self.variables, self.means, self.squares, gradients, strict=True):
            if gradient is not None:
                mean.lerp_(gradient, 1.0 - self.betas[0])
                square.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1.0 - self.betas[1])
                size = square.sqrt().div_(math.sqrt(second)).add_(self.epsilon)
                variable.addcdiv_(mean, size, value=-rate / first)


def descend(
    variables: Sequence[Tensor],
    losses: Losses,
    faces: int,
    schedule: Schedule,
    *,
    keep: str = "best",
    progress: ProgressReport | None = None,
    picture: Callable[[], Tensor] | None = None,
    done: int = 0,
) -> tuple[list[Tensor], int]:
    """Minimise the losses of all faces at once, none of which touches another's.

    A face that has stopped improving keeps what it had, so that it gets the same result alone and in a batch.

    Args:
        variables: leaves, of leading dimension `faces`; of any shape where that is 1.
        losses: computes them with gradients.
        faces: how many.
        schedule: when to stop, how fast to go.
        keep: "best" for the values with the lowest loss of each face, "last" for those of the last step.
        progress: called after every step.
        picture: draws what the variables give now.
        done: steps done before, for `progress`.

    Returns:
        the variables' values, without gradients, and the number of steps.
    """
    kept = [variable.detach().clone() for variable in variables]
    if not schedule.steps or not variables:
        return kept, 0
    for variable in variables:
        variable.requires_grad_(True)
    adam = _Adam(variables, schedule.betas)
    lowest = torch.full((faces,), math.inf)
    watch = _Watch(schedule.patience, schedule.gain, faces)
    number = 0
    while number < schedule.steps and not bool(watch.stalled.all()):
        number += 1
        wanted, judged = losses(number)
        values = judged.detach().to("cpu")
        better = ((values < lowest) | (keep == "last")) & ~watch.stalled
        for store, variable in zip(kept, variables, strict=True):
            _remember(store, variable, better)
        lowest = torch.where(better, values, lowest)
        gradients = torch.autograd.grad(wanted.sum(), list(variables), allow_unused=True)
        adam.step(gradients, schedule.rate_at(number))
        watch.look(values)
        if progress is not None:
            progress(Step(done + number, done + schedule.steps, float(values.mean()), picture))
    for variable in variables:
        variable.requires_grad_(False)
    return kept, number


def _remember(store: Tensor, variable: Tensor, rows: Tensor) -> None:
    values = variable.detach()
    if len(rows) == 1:
        if bool(rows[0]):
            store.copy_(values)
    elif bool(rows.any()):
        chosen = rows.to(store.device)
        store[chosen] = values[chosen]
