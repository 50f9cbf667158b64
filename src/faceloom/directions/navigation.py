"""Directions shaped by what they show: descent on the step itself, through the pictures that it leads to.

A regression of codes on labels knows what faces' codes have in common, not what the generator draws on the way there.
So a found step is refined: faces are drawn at random amounts along it, and it descends on what is read from the
pictures: the wanted attribute moves by the amount, the held ones stay, and so does the person.

Source: Zhuang, Koyejo and Schwing 2021, "Enjoy Your Editing: Controllable GANs for Image Editing via Latent Space
Navigation", section 3 (equations 2 to 5): a linear step for each attribute, a regressor's loss and one of content.
Their discriminator's loss is replaced by a penalty on leaving the spread of known codes, row by row of W+. Where a
straight step does not do, the path may bend: a second step is found that is added to either side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.directions.density import shrunk_covariance
from faceloom.directions.reading import PictureReader
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator

Describe = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S) to what tells people apart, (N, K), differentiable; compared by cosine."""


@dataclass(frozen=True)
class Course:
    """How to descend.

    Attributes:
        steps: of the descent.
        batch: faces drawn in each, at least 2.
        rate: of Adam, in standard deviations of the codes.
        amounts: the least and the most that faces are moved by, to either side.
        side: weight of the effects on held attributes.
        person: weight of the change of who it is.
        faithful: weight of the distance from the step that was given, in standard deviations of the codes.
        looked_at: of a batch, how many faces are asked who they are: that network is the dearest.
        seed: of faces and amounts.
    """

    steps: int = 100
    batch: int = 4
    rate: float = 0.03
    amounts: tuple[float, float] = (0.75, 2.0)
    side: float = 4.0
    person: float = 1.0
    faithful: float = 0.3
    looked_at: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Leg:
    """What is known of faces before they move.

    Attributes:
        codes: (N, num_ws, w_dim).
        read: (N, A), from the reader.
        persons: (N, K), or None where nobody looks.
        roots: (w_dim, w_dim), a root of the covariance of the codes' mean rows: what whitens a step.
    """

    codes: Tensor
    read: Tensor
    persons: Tensor | None
    roots: Tensor = field(repr=False)

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, codes: Tensor, reader: PictureReader, describe: Describe | None = None) -> Leg:
        """Draw faces (N, num_ws, w_dim), at least a hundred, and read them."""
        if len(codes) <= 1:
            raise DirectionError("refining a direction needs many faces; give a larger set")
        read, persons = [], []
        for part in torch.split(codes, 16):
            images = generator.synthesize(part, "none").clamp(-1.0, 1.0)
            read.append(reader.read(images))
            if describe is not None:
                persons.append(describe(images))
        root = torch.linalg.cholesky(shrunk_covariance(codes.double().mean(dim=1))).float()
        return cls(codes, torch.cat(read), torch.cat(persons) if persons else None, root)


def navigate(
    generator: Generator,
    step: Tensor,
    wanted: str,
    leg: Leg,
    reader: PictureReader,
    describe: Describe | None = None,
    *,
    layers: tuple[int, int] | None = None,
    free: Collection[str] = (),
    course: Course = Course(),
    bend: Tensor | None = None,
    bent: bool = False,
    say: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Refine one unit of a direction through the pictures that it draws.

    Args:
        generator: that the step is of.
        step: (num_ws, w_dim), where to start from.
        wanted: the attribute, by its name in the reader.
        leg: faces to move.
        reader: of attributes.
        describe: who it is; not held where None.
        layers: rows that may change, from and to (exclusive); all where None.
        free: attributes that may change along.
        course: how to descend.
        bend: of the shape of `step`, what each unit adds to either side to start with; None for nothing.
        bent: find what each unit adds to either side, too; so it is wherever there is a bend already.
        say: told the number of steps done, and the parts of the loss.

    Returns:
        (num_ws, w_dim), one unit, and of the same shape what each unit adds to either side; None for nothing.

    Raises:
        DirectionError: if the reader does not read the attribute, or the step is not finite at the end.
    """
    if wanted not in reader.names:
        raise DirectionError(f"nothing reads {wanted!r} from pictures; it needs labels, or leave it as it was found")
    column = reader.names.index(wanted)
    held = [index for index, name in enumerate(reader.names) if name != wanted and name not in free]
    first, last = layers or (0, generator.num_ws)
    random = torch.Generator().manual_seed(course.seed)
    bent = bent or bend is not None
    start = torch.stack([step, torch.zeros_like(step) if bend is None else bend])[: 1 + bent]
    change = torch.zeros(1 + bent, last - first, generator.w_dim, requires_grad=True)

    def path(change: Tensor) -> Tensor:
        """(1 or 2, num_ws, w_dim): the step, and the bend."""
        inner = start[:, first:last] + change @ leg.roots.T
        return torch.cat([start[:, :first], inner, start[:, last:]], dim=1)

    optimiser = torch.optim.Adam([change], lr=course.rate, betas=(0.9, 0.99))
    average = torch.zeros_like(change)
    for number in range(1, course.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = course.rate * min(1.0, 2.0 * (1.0 - (number - 1) / course.steps))
        chosen = torch.randint(len(leg.codes), (course.batch,), generator=random)
        amounts = _amounts(course, random, number)
        shares = torch.stack([amounts, amounts.abs()], dim=1)[:, : 1 + bent]
        moved = leg.codes[chosen] + torch.einsum("nk,kld->nld", shares, path(change))
        images = generator.synthesize(moved, "none").clamp(-1.0, 1.0)
        shown = (reader.read(images) - leg.read[chosen]) / amounts[:, None]
        # Taken together, effects that are alike on both sides would cancel; a bend is there to take them away.
        sides = [shown[side::2, held] for side in (0, 1)] if bent else [shown[:, held]]
        parts = {
            "wanted": functional.smooth_l1_loss(shown[:, column], torch.ones(course.batch)),
            "held": course.side * torch.stack([one.mean(dim=0).square().mean() for one in sides]).mean()
            + 0.25 * course.side * shown[:, held].square().mean(),
            "faithful": course.faithful * change.square().sum() / (last - first) / max(1, generator.w_dim) * 10.0,
        }
        if describe is not None and leg.persons is not None and course.person > 0.0:
            some = slice(0, course.looked_at)
            alike = functional.cosine_similarity(describe(images[some]), leg.persons[chosen[some]])
            parts["person"] = course.person * ((1.0 - alike) / amounts[some].abs()).mean()
        optimiser.zero_grad()
        loss = torch.stack(list(parts.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # so it is in torch
        optimiser.step()
        with torch.no_grad():
            average += change if number > course.steps // 2 else 0.0
        if say is not None:
            say(number, {name: float(part.detach()) for name, part in parts.items()})
    found = path(average / (course.steps - course.steps // 2)).detach()
    if not bool(torch.isfinite(found).all()):
        raise DirectionError(f"{wanted!r} left all bounds while it was refined; lower the rate")
    return found[0], found[1] if bent else None


def _amounts(course: Course, random: torch.Generator, number: int) -> Tensor:
    """(batch,) amounts for a step of the descent, by turns to either side, the first one's side by turns, too."""
    low, high = course.amounts
    sizes = low + (high - low) * torch.rand(course.batch, generator=random)
    signs = 1.0 - 2.0 * ((torch.arange(course.batch) + number) % 2)
    return sizes * signs
