"""Inversion by tuning the generator around a code.

Source: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images", section 3 (equations 2 to 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from faceloom.errors import UsageError
from faceloom.generators.protocol import Generator
from faceloom.inversion.abreast import aside
from faceloom.inversion.descent import Schedule, descend
from faceloom.inversion.losses import Loss, default_loss, face_weight
from faceloom.inversion.protocol import Inversion, Inverter, ProgressReport, fitted
from faceloom.inversion.tuning import Tuning, biases, changed, filters, put, sharing_copy
from faceloom.inversion.wspace import WSpace, measure_w

FARTHEST = 2.0
"""How far along an edit, in deviations, locality is asked for."""
LEAST_RESPONSE = 0.5
"""Of a tuning; edits are stretched to twice their length at most."""
_BATCH = 8  # codes at 256 px; fewer of larger pictures


class PivotalTuner:
    """A code by another method, the pivot, then the generator's own weights, one copy for each face.

    Locality: near the pivot, at codes on the way to random ones, the tuned generator must go on drawing what the
    untuned one does (equations 4 and 5), so that edits keep their meaning. That is asked for in every `interval`-th
    step, as often as it pays (lazy regularisation: Karras et al. 2020, appendix B). Its gradient counts one step later
    than it is taken, so that another core has the time to work it out (`aside`); the last step asks for none.

    Where the edits that will be asked for are known, locality is asked for along them instead, and in another sense: an
    edit must change the photo as it changed the untuned picture. So the likeness carries over to the edited face, which
    the paper's term pulls back to the untuned one.

    Args:
        generator: draws the codes; its weights are left alone.
        pivot: the method that gives the codes; the paper takes W's (`Projector`).
        steps: at most; the paper takes 350.
        rate: Adam's step; the paper's.
        locality: weight of the locality term; 0 for none. The paper's is 0.1, on one sample a step.
        reach: how far from the pivot locality is asked for, in deviations of W (the paper's alpha).
        interval: in every which step.
        moves: (K, num_ws, w_dim) edits, each by one standard deviation; None for the paper's locality.
        loss: of the pictures.
        seed: of the samples.
    """

    def __init__(
        self,
        generator: Generator,
        pivot: Inverter,
        *,
        steps: int = 350,
        rate: float = 3e-4,
        locality: float = 0.1,
        reach: float = 1.0,
        interval: int = 4,
        moves: Tensor | None = None,
        loss: Loss | None = None,
        seed: int = 0,
    ) -> None:
        if interval < 1:
            raise UsageError(f"locality is asked for in every step or more rarely, not every {interval}th")
        if moves is not None and (moves.ndim != 3 or not len(moves) or moves.shape[1] != generator.num_ws):
            raise UsageError(f"moves have the shape (1 or more, {generator.num_ws}, w_dim), not {tuple(moves.shape)}")
        self.moves = moves
        self.generator, self.pivot, self.locality, self.reach = generator, pivot, locality, reach
        self.interval, self.seed = interval, seed
        self.schedule = Schedule(steps, rate, warm=0.0, cool=0.0, betas=(0.9, 0.999))
        self.loss = default_loss() if loss is None else loss

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`. With `start`, its codes are the pivots; where it has tunings, they are tuned further."""
        steps, count = self.schedule.steps, len(images)
        first = self.pivot.invert(images, _scaled(progress, count * steps)) if start is None else start
        before, tunings = first.steps, []
        images = fitted(images, self.generator)
        for index, (image, ws) in enumerate(zip(images, first.codes, strict=True)):
            done = before + index * steps
            report = _scaled(progress, (count - 1 - index) * steps)
            tuning = first.tunings[index] if start is not None and first.tunings else None
            tunings.append(self._tune(image[None], ws[None], tuning, report, done))
        taken = max((number for _, number in tunings), default=0)
        return Inversion(first.codes, tuple(one for one, _ in tunings), before + taken)

    def _tune(
        self, image: Tensor, pivot: Tensor, tuning: Tuning | None, progress: ProgressReport | None, done: int
    ) -> tuple[Tuning, int]:
        """Tune for one face: image (1, 3, R, R), pivot (1, num_ws, w_dim)."""
        module, beside = (sharing_copy(self.generator) for _ in range(2))
        originals = {**filters(module), **biases(module)}
        compare, example = self.loss.against(image), self._examples(image, pivot)
        variables = self._variables(originals)
        for name, value in (tuning.tensors if tuning is not None else {}).items():
            if name not in variables or variables[name].shape != value.shape:
                raise UsageError("this tuning was made by another method or rank; tune from its codes instead")
            variables[name] = value.to(variables[name].device, torch.float32, copy=True)

        draw, draw_aside = _drawing(module, originals), _drawing(beside, originals)
        pending: list[Callable[[], list[Tensor]]] = []

        def locality(values: dict[str, Tensor]) -> list[Tensor]:
            """The gradient of the locality term for each variable, at the next example."""
            near, wanted = example()
            leaves = {name: value.requires_grad_(True) for name, value in values.items()}
            drift = self.loss.against(wanted)(draw_aside(leaves, near)).sum()
            weighted = self.locality * self.interval * drift
            return list(torch.autograd.grad(weighted, list(leaves.values()), materialize_grads=True))

        def losses(number: int) -> tuple[Tensor, Tensor]:
            late = pending.pop() if pending else None
            if self.locality and number % self.interval == 0 and number < self.schedule.steps:
                if late is not None:
                    late()  # one at a time: they share a copy of the generator
                values = {name: value.detach().clone() for name, value in variables.items()}
                pending.append(aside(partial(locality, values)))
            distance = compare(draw(variables, pivot))
            if late is None:
                return distance, distance
            # Linear in the variables, so that its gradient is the one that was worked out.
            terms = [(value * slope).sum() for value, slope in zip(variables.values(), late(), strict=True)]
            return distance + torch.stack(terms).sum(), distance

        def picture() -> Tensor:
            with torch.no_grad():
                return draw(variables, pivot)

        leaves = list(variables.values())
        found, taken = descend(leaves, losses, 1, self.schedule, progress=progress, picture=picture, done=done)
        variables.update(zip(variables, found, strict=True))
        tensors = {name: value.to("cpu") for name, value in variables.items()}
        return Tuning(tensors, self.generator.fingerprint, self._response(pivot, partial(draw, variables))), taken

    def _variables(self, originals: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is tuned, at its start: here, a change of every filter and bias."""
        return {name: torch.zeros_like(tensor) for name, tensor in originals.items()}

    @torch.no_grad()
    def _examples(self, image: Tensor, pivot: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """Gives codes near the pivot, and what the tuned generator should draw there, one pair a call."""
        random = torch.Generator("cpu").manual_seed(self.seed)
        draw, moves = self.generator.synthesize, self.moves
        if moves is None:
            space = measure_w(self.generator)

            @torch.no_grad()
            def towards_samples() -> tuple[Tensor, Tensor]:
                near = self._nearby(pivot, space, random)
                return near, draw(near)

            return towards_samples
        moves, plain = moves.to(pivot), draw(pivot)

        @torch.no_grad()
        def along_edits() -> tuple[Tensor, Tensor]:
            which = int(torch.randint(len(moves), (1,), generator=random))
            amount = FARTHEST * (2.0 * float(torch.rand(1, generator=random)) - 1.0)
            near = pivot + amount * moves[which]
            return near, (image + draw(near) - plain).clamp(-1.0, 1.0)

        return along_edits

    def _response(self, pivot: Tensor, draw: Callable[[Tensor], Tensor]) -> float:
        """How far all edits together move what `draw` shows, of how far they move what the generator does.

        The share of the generator's own changes, in the face, that is found again in the tuned ones: the regression of
        the one on the other, over every edit by one standard deviation.
        """
        if self.moves is None:
            return 1.0
        moves = self.moves.to(pivot)
        weight = face_weight(self.generator.resolution, background=0.0).to(pivot.device)
        shared = own = 0.0
        for part in torch.split(moves, max(1, _BATCH * 256**2 // self.generator.resolution**2)):
            untuned = aside(partial(_changes, self.generator.synthesize, pivot, part))
            after = _changes(draw, pivot, part)
            before = untuned()
            shared += float((before * after * weight).sum())
            own += float((before.square() * weight).sum())
        return min(1.0, max(LEAST_RESPONSE, shared / max(own, 1e-12)))

    def _nearby(self, pivot: Tensor, space: WSpace, random: torch.Generator) -> Tensor:
        """A code at `reach` from the pivot (1, num_ws, w_dim), on the way to one of the mapping network's."""
        other = space.w.color(torch.randn(1, 1, pivot.shape[2], generator=random).to(pivot.device))
        way = other - pivot
        return pivot + way * (self.reach * space.deviation / way.square().sum(dim=2, keepdim=True).sqrt())


def _drawing(module: nn.Module, originals: dict[str, Tensor]) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """A function that draws codes with a tuning's tensors, on a copy of the generator that is its own."""

    def draw(tensors: dict[str, Tensor], ws: Tensor) -> Tensor:
        for name, tensor in changed(originals, tensors).items():
            put(module, name, tensor)
        picture: Tensor = module.synthesize(ws)  # type: ignore[operator]
        return picture

    return draw


@torch.no_grad()
def _changes(draw: Callable[[Tensor], Tensor], pivot: Tensor, moves: Tensor) -> Tensor:
    """What moves (K, num_ws, w_dim) change of the picture of a pivot (1, num_ws, w_dim), (K, 3, R, R)."""
    pictures = draw(torch.cat([pivot, pivot + moves]))
    return pictures[1:] - pictures[:1]


def _scaled(progress: ProgressReport | None, more: int) -> ProgressReport | None:
    """Reports of a part of the work, told as parts of all of it."""
    if progress is None:
        return None
    return lambda step: progress(replace(step, total=step.total + more))
