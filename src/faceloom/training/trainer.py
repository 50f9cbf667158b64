"""Training a generator and its encoder together, within a budget of time or images, resumable.

Stages, by the share of the budget that is used up:

1. *Warm start*, at half resolution: w is the whitened principal components of the image, so the generator learns from
   codes that mean something from the first step, and the encoder learns to predict them.
2. *Half resolution*: encoder and generator reconstruct together.
3. *Full resolution*: the same, with the last block. An adversarial loss on reconstructions and on random samples joins
   where it is asked for (Goodfellow et al. 2014; lazy R1 of Karras et al. 2020).

Half of the images of a batch are drawn from their code in W alone, the others with an offset per layer (e4e, Tov et al.
2021), so that both spaces give faces.

A step never waits for the device: losses stay there until they are reported.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.encoders.features import STAGE_CHANNELS, unit_features
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.files import replacing
from faceloom.generators.backends import use_backend
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import resized
from faceloom.inversion.losses import PERCEPTUAL_STAGES, PerceptualDistance, pixel_distance
from faceloom.training.adversary import (
    JUDGES_RATE,
    PATH_INTERVAL,
    Adversary,
    Averages,
    FeatureCritic,
    PatchCritic,
    mixed_codes,
    normal_codes,
)
from faceloom.training.arithmetic import Arithmetic, adam, prefer_speed
from faceloom.training.config import TrainingConfig
from faceloom.training.discriminator import Discriminator, FeatureDiscriminator, PatchDiscriminator
from faceloom.training.growth import grow
from faceloom.training.images import Batches, FaceSet
from faceloom.training.losses import PathLength
from faceloom.training.portable import PortableRun, carried, plan, read_portable, write_portable
from faceloom.training.principal import PrincipalCodes
from faceloom.training.processes import Processes

__all__ = ["STATE_FILE", "PrincipalCodes", "Progress", "Start", "Trainer", "TrainingConfig"]

STATE_FILE = "state.pt"
RISE_STEPS = 100
"""Steps over which the learning rate rises, when a run begins and when it goes on without Adam's moments."""
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)
Start = tuple[StyleGAN2, ResidualEncoder] | tuple[StyleGAN2, ResidualEncoder, Discriminator | None]


@dataclass
class Progress:
    """Where a run is."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0


class Trainer:
    """One run in one folder: `run()` trains until the budget is used up or `stop` says so.

    Args:
        config: how to train.
        faces: faces to train on, at `config.resolution`; the held-out ones are left out by the caller.
        out: the run's folder; a state in it is resumed.
        device: where to train.
        start: networks to start from, of the same or a smaller resolution, instead of random weights; the run then has
            neither a warm start nor a stage at half resolution. What they lack begins as an enlarged copy of their
            picture. A discriminator begins anew where the generator gets more feature maps.
        portable: a folder of the run's state in small files, see `faceloom.training.portable`; one that is further on
            than the state in `out` is resumed instead.
        arithmetic: number format and compilation.
        processes: that train together.
        keep_budget: a run that is resumed goes on with the budget that it has, of minutes or images.

    Raises:
        TrainingError: if the folder holds a run of another configuration, or the faces have another size, or the
            networks to start from do not fit, or the portable state would not.
    """

    def __init__(
        self,
        config: TrainingConfig,
        faces: FaceSet,
        out: Path,
        device: str | torch.device = "cpu",
        *,
        start: Start | None = None,
        portable: Path | None = None,
        arithmetic: Arithmetic | None = None,
        processes: Processes | None = None,
        keep_budget: bool = False,
    ) -> None:
        if start is not None:
            config = replace(config, warm=0.0, half=0.0)
        if faces.pixels.shape[1] != config.resolution:
            raise TrainingError(f"the faces are {faces.pixels.shape[1]} px, the model {config.resolution} px")
        torch.manual_seed(config.seed)
        self.config, self.out, self.device = config, out, torch.device(device)
        self.portable, self.arithmetic, self.keep_budget = portable, arithmetic or Arithmetic(), keep_budget
        self.processes = processes or Processes()
        prefer_speed(self.device)
        self.batches = Batches(
            faces, self.processes.share(config.batch), config.seed + 7919 * self.processes.rank, self.device
        )
        self.progress = Progress()
        self._risen_from = 0
        self._make_networks(start)
        self._make_optimizers()
        resumed = self._resume()
        if portable is not None:
            plan(self._carried())
        if not resumed and config.warm > 0.0:
            self.principal.fit(self.batches)
        self.processes.agree(self._networks())
        self._ready()

    def _make_networks(self, start: Start | None) -> None:
        config = self.config
        self.generator = self._place(StyleGAN2(config.generator()))
        self.encoder = self._place(ResidualEncoder(config.encoder()))
        self.discriminator = self._place(Discriminator(config.channels)) if config.adversarial else None
        self.patches = self._place(PatchDiscriminator()) if config.patches else None
        self.features = self._place(self._feature_discriminator()) if config.critic else None
        self.principal = self._place(PrincipalCodes(config.w_dim))
        self.perceptual = self._place(PerceptualDistance(config.perceptual_size)) if config.perceptual else None
        self.path = self._place(PathLength()) if config.adversarial and config.path_length else None
        if start is not None:
            grow(start[0], self.generator)
            grow(start[1], self.encoder)
            widened = start[0].config.channels != config.channels[: len(start[0].config.channels)]
            if len(start) == 3 and start[2] is not None and self.discriminator is not None and not widened:
                grow(start[2], self.discriminator)
        self.averaged = nn.ModuleDict(
            {"generator": copy.deepcopy(self.generator), "encoder": copy.deepcopy(self.encoder)}
        ).requires_grad_(False)
        self.averaged.eval()

    def _feature_discriminator(self) -> FeatureDiscriminator:
        if not self.config.perceptual or self.config.patches or self.config.adversarial:
            raise TrainingError("the critic needs the perceptual loss, and no other discriminator beside it")
        return FeatureDiscriminator([STAGE_CHANNELS[stage] for stage in PERCEPTUAL_STAGES], self.config.w_dim)

    def _make_optimizers(self) -> None:
        config = self.config
        self._parameters = [*self.generator.parameters(), *self.encoder.parameters()]
        self.optimizer = adam(self._parameters, config.learning_rate, (config.momentum, 0.99), self.device)
        self.adversary = (
            Adversary(config, self.discriminator, self.arithmetic, self.processes) if self.discriminator else None
        )
        self.critic = (
            PatchCritic(config.patches, self.patches, config.learning_rate, self.processes) if self.patches else None
        )

        self.feature_critic = (
            FeatureCritic(config.critic, self.features, config.learning_rate, self.processes) if self.features else None
        )

    def _ready(self) -> None:
        """Prepare what a step calls; processes, and resumed adversaries, go on with random numbers of their own."""
        live = nn.ModuleDict({"generator": self.generator, "encoder": self.encoder})
        self._averages = Averages(self.averaged, live)
        self._synthesize = self.arithmetic.ready(self.generator.synthesize_styles)
        judged = any(one is not None for one in (self.adversary, self.critic, self.feature_critic))
        if self.processes.count > 1 or (judged and self.progress.images):
            torch.manual_seed(hash((self.config.seed, self.processes.rank, self.progress.images)))

    @property
    def share(self) -> float:
        """Share of the budget that is used up, 0 to 1."""
        if self.config.images:
            return min(1.0, self.progress.images / self.config.images)
        return min(1.0, self.progress.seconds / (self.config.minutes * 60.0))

    @property
    def stand(self) -> str:
        """How much of the budget is used up, in words."""
        if self.config.images:
            return f"{self.progress.images} of {self.config.images} images"
        minutes = f"{self.progress.seconds / 60.0:.1f} of {self.config.minutes:g} minutes"
        return f"{minutes}, {self.progress.images} images"

    def averaged_networks(self) -> tuple[StyleGAN2, ResidualEncoder]:
        """Generator and encoder with averaged weights: what a run is for."""
        return cast(StyleGAN2, self.averaged["generator"]), cast(ResidualEncoder, self.averaged["encoder"])

    def run(
        self,
        report: Callable[[dict[str, float]], None],
        *,
        report_every: int = 50,
        save_every: float = 180.0,
        until: float = math.inf,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        """Train until the budget is used up; `report` gets the losses every so many steps.

        Args:
            report: called by the first process.
            report_every: steps between reports; only then does the host wait for the device.
            save_every: seconds between states.
            until: stop at this time of `time.monotonic()`, budget or not.
            saved: called by the first process after each state, the last one included.
        """
        last = started = time.monotonic()
        before = self.progress.seconds
        values: dict[str, Tensor] = {}
        late = 0.0
        while self.share < 1.0 and not late:
            values = self.step()
            now = time.monotonic()
            reporting = self.progress.steps % report_every == 0
            if self.processes.count == 1 or reporting:
                # One clock for all processes: stages and the end must come in the same step for all of them.
                told = [before + now - started, float(now > until), float(now - last > save_every)]
                self.progress.seconds, late, due = self.processes.of_first(told, self.device)
                if reporting:
                    known = self._numbers(values)
                    if self.processes.first:
                        report({"share": self.share, "images": self.progress.images, **known})
                if due and not late:
                    self._keep(values, saved)
                    last = time.monotonic()
        # Between reports only the first process looks at its clock.
        self.progress.seconds = self.processes.of_first([before + time.monotonic() - started], self.device)[0]
        self._keep(values, saved)

    def step(self) -> dict[str, Tensor]:
        """One step of all networks; returns the losses, which stay on the device."""
        self._set_learning_rate()
        share, config = self.share, self.config
        real = next(self.batches).contiguous(memory_format=torch.channels_last)
        judging = self.adversary is not None and share >= max(config.adversarial_from, config.half)
        resolution = config.resolution // 2 if share < config.half else config.resolution
        values, ws = self._codes(real[: max(1, round(len(real) * config.reconstructed))])
        grainy = self.critic is not None and share >= max(config.adversarial_from, config.half)
        criticised = self.feature_critic is not None and share >= max(config.adversarial_from, config.half)
        if judging:
            # Reconstructions and samples are drawn at once: half as many kernels to start, and one program to compile.
            z = torch.randn(len(real), self.generator.z_dim, device=self.device)
            images = self._draw(torch.cat([ws, mixed_codes(self.generator, z)]), resolution, grainy=grainy)
            fake, drawn = images[: len(ws)], images[len(ws) :]
        elif self.features is not None and criticised:
            nobody = normal_codes(self.features.memory, ws[::2, 0].detach(), self.progress.steps)
            nobody = nobody.unsqueeze(1).expand(-1, self.generator.num_ws, -1)
            drawn = self._draw(torch.cat([ws, nobody]), resolution, grainy=True)
            fake = drawn[: len(ws)]
        else:
            fake = drawn = self._draw(ws, resolution, grainy=grainy)
        target = real[: len(ws)]
        if resolution < config.resolution:
            target = functional.avg_pool2d(target, 2)
        values.update(self._criticised(drawn, target) if criticised else self._distances(fake, target))
        if judging:
            values.update(self._adversarial(fake, drawn, real))
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.stack([value for name, value in values.items() if name != "discriminator"]).sum()
        if self.critic is not None and grainy:
            values.update(self.critic.join(fake, target))
        total.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self._parameters)
        self.optimizer.step()
        self._averages.update(0.5 ** (1.0 / min(config.ema_steps, self.progress.steps + 1.0)))
        self.progress.steps += 1
        self.progress.images += len(real) * self.processes.count
        return {name: value.detach() for name, value in values.items()}

    def save(self) -> None:
        """Write the state; a write that fails leaves the one before."""
        state = {
            "config": self.config.to_json(),
            "progress": asdict(self.progress),
            "networks": self._networks().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.adversary.optimizer.state_dict() if self.adversary else None,
            "patch_optimizer": self.critic.optimizer.state_dict() if self.critic else None,
            "feature_optimizer": self.feature_critic.optimizer.state_dict() if self.feature_critic else None,
            "random": self.batches.random.get_state(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with replacing(self.out / STATE_FILE) as file:
            torch.save(state, file)

    def save_portable(
        self, pictures: Mapping[str, bytes] | None = None, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Write the portable state, with up to two pictures and what was measured; does nothing without a folder."""
        if self.portable is not None:
            run = PortableRun(self.config.to_json(), asdict(self.progress), self._carried(), dict(notes or {}))
            write_portable(self.portable, run, pictures)

    def _codes(self, real: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Codes (N, L, D) for real images (N, 3, S, S), and the losses that they alone tell."""
        share, config = self.share, self.config
        with self.arithmetic.casting(self.device):
            base, offsets = (part.float() for part in self.encoder.split(real))
        if share < config.warm:
            codes = self.principal(real)
            ws = codes.unsqueeze(1).expand(-1, self.generator.num_ws, -1)
            return {"codes": functional.mse_loss(base, codes)}, ws
        alone = torch.arange(len(real), device=self.device) % 2 == 0
        ws = base.unsqueeze(1) + offsets * (~alone).float().reshape(-1, 1, 1)
        return {"offsets": offsets.square().mean() * config.offsets}, ws

    def _distances(self, fake: Tensor, target: Tensor) -> dict[str, Tensor]:
        values = {"pixel": pixel_distance(fake, target).mean() * self.config.pixel}
        if self.perceptual is not None:
            with self.arithmetic.casting(self.device):
                distances = self.perceptual(fake, target)
            values["perceptual"] = distances.float().mean() * self.config.perceptual
        return values

    def _criticised(self, drawn: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`_distances` of the first pictures drawn, and what the critic of features says of all; one look at each.

        A second one at smaller copies where those are compared.
        """
        assert self.perceptual is not None
        assert self.feature_critic is not None
        count, config = len(target), self.config
        with self.arithmetic.casting(self.device):
            maps, wanted = [one.float() for one in self.perceptual.maps(drawn)], self.perceptual.maps(target)
        real = [one.detach().float() for one in wanted]
        if 0 < config.compared_at < target.shape[-1]:
            values = self._distances(*(resized(one, config.compared_at) for one in (drawn[:count], target)))
        else:
            distances = self.perceptual.between([one[:count] for one in maps], unit_features(real))
            values = {
                "pixel": pixel_distance(drawn[:count], target).mean() * config.pixel,
                "perceptual": distances.mean() * config.perceptual,
            }
        values["discriminator"] = self.feature_critic.learn(real, maps)
        others = values["pixel"] + values["perceptual"]
        values["features"] = self.feature_critic.fooled(drawn, maps, others)
        return values

    def _adversarial(self, fake: Tensor, drawn: Tensor, real: Tensor) -> dict[str, Tensor]:
        assert self.adversary is not None
        judged = torch.cat([fake, drawn]) if self.config.judge_reconstructions else drawn
        loss = self.adversary.learn(real, judged, self.progress.steps)
        values = {"adversarial": self.adversary.fooled(judged) * self.config.adversarial, "discriminator": loss}
        if self.path is not None and self.progress.steps % PATH_INTERVAL == 0:
            z = torch.randn(max(1, len(real) // 2), self.generator.z_dim, device=self.device)
            ws = mixed_codes(self.generator, z)
            with use_backend("plain"):  # which differentiates twice
                penalty = self.path(ws, self.generator.synthesize(ws, "none"))
            values["path"] = penalty * (self.config.path_length * PATH_INTERVAL)
        return values

    def _draw(self, ws: Tensor, resolution: int, *, grainy: bool = False) -> Tensor:
        """Images (N, 3, resolution, resolution) with 32 bits; so have the styles that ws (N, L, D) are turned into."""
        styles = self.generator.styles(ws)
        with self.arithmetic.casting(self.device):
            images = self._synthesize(styles, "random" if grainy else "none", resolution=resolution)
        return images.float()

    def _resume(self) -> bool:
        path = self.out / STATE_FILE
        state: dict[str, Any] | None = None
        if path.exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
        carried = None if self.portable is None else read_portable(self.portable)
        if carried is not None and (state is None or carried.progress["images"] > state["progress"]["images"]):
            self._take_over(carried)
            return True
        if state is None:
            return False
        self._check_settings(state["config"], path)
        try:
            self._networks().load_state_dict(state["networks"])
        except RuntimeError as error:
            raise TrainingError(f"{path} was written by another version; give its model to --start") from error
        self.optimizer.load_state_dict(state["optimizer"])
        if self.critic is not None:
            self.critic.optimizer.load_state_dict(state["patch_optimizer"])
        if self.feature_critic is not None:
            self.feature_critic.optimizer.load_state_dict(state["feature_optimizer"])
        if self.adversary is not None:
            self.adversary.optimizer.load_state_dict(state["judge_optimizer"])
        self.progress = Progress(**state["progress"])
        if self.processes.first and len(state["random"]) == len(self.batches.random.get_state()):
            self.batches.random.set_state(state["random"])
        else:  # the numbers of another device, or of the first process
            self.batches.random.manual_seed(self.batches.random.initial_seed() + self.progress.images)
        return True

    def _take_over(self, carried: PortableRun) -> None:
        assert self.portable is not None
        self._check_settings(carried.config, self.portable)
        tensors = dict(carried.tensors)
        for name in list(tensors):
            kind, _, rest = name.partition("averaged.encoder.")
            if not kind:
                tensors["encoder." + rest] = tensors[name]
        missing, unknown = self._networks().load_state_dict(tensors, strict=False)
        if unknown or not all(name.startswith("principal.") for name in missing):
            raise TrainingError(f"{self.portable} does not hold this run's networks; carry it over again")
        self.progress = Progress(**carried.progress)
        self._risen_from = self.progress.steps
        self.batches.random.manual_seed(self.batches.random.initial_seed() + self.progress.images)

    def _check_settings(self, kept: str, place: Path) -> None:
        if not self.config.agrees_with(kept):
            raise TrainingError(f"{place} is a run with other settings; choose another --out, or the same settings")
        if self.keep_budget:
            before = TrainingConfig.from_json(kept)
            self.config = replace(self.config, minutes=before.minutes, images=before.images)

    def _carried(self) -> dict[str, Tensor]:
        return carried(self._networks().state_dict(), principal=self.share < self.config.warm)

    def _networks(self) -> nn.ModuleDict:
        networks: dict[str, nn.Module | None] = {
            "generator": self.generator,
            "encoder": self.encoder,
            "averaged": self.averaged,
            "principal": self.principal,
            "discriminator": self.discriminator,
            "patches": self.patches,
            "features": self.features,
            "augmentation": self.adversary.augmentation if self.adversary else None,
            "path": self.path,
        }
        return nn.ModuleDict({name: network for name, network in networks.items() if network is not None})

    def _place(self, module: _ModuleT) -> _ModuleT:
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _set_learning_rate(self) -> None:
        config = self.config
        over = 0.0 if config.anneal >= 1.0 else max(0.0, self.share - config.anneal) / (1.0 - config.anneal)
        fall = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, over)))
        rise = min(1.0, (self.progress.steps - self._risen_from + 1) / RISE_STEPS)
        judges = [one.optimizer for one in (self.adversary, self.critic) if one is not None]
        rates = [(optimizer, config.learning_rate) for optimizer in (self.optimizer, *judges)]
        if self.feature_critic is not None:
            rates.append((self.feature_critic.optimizer, JUDGES_RATE * config.learning_rate))
        for optimizer, rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * fall * rise

    def _numbers(self, values: dict[str, Tensor]) -> dict[str, float]:
        """The losses as numbers: the host waits for the device here."""
        known = {name: float(value) for name, value in values.items()}
        if not all(map(math.isfinite, known.values())):
            raise TrainingError(f"the loss is not a number after {self.progress.images} images; lower the rate")
        return known

    def _keep(self, values: dict[str, Tensor], saved: Callable[[], None]) -> None:
        self._numbers(values)  # a run that went wrong is not saved over one that did not
        sizes = torch.stack([parameter.detach().float().norm() for parameter in self._parameters])
        if not bool(sizes.isfinite().all()):
            raise TrainingError(f"a weight is not a number after {self.progress.images} images; lower the rate")
        if self.processes.first:
            self.save()
            saved()
