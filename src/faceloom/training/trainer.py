"""Training a generator and its encoder together, within a time budget, resumable.

Stages, by the share of the budget that is used up:

1. *Warm start*, at half resolution: w is the whitened principal components of the image, so the generator learns from
   codes that mean something from the first step, and the encoder learns to predict them.
2. *Half resolution*: encoder and generator reconstruct together.
3. *Full resolution*: the same, with the last block. An adversarial loss on reconstructions and on random samples joins
   where it is asked for (Goodfellow et al. 2014; lazy R1 of Karras et al. 2020).

Half of the images of a batch are drawn from their code in W alone, the others with an offset per layer (e4e, Tov et al.
2021), so that both spaces give faces.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import TrainingError
from faceloom.files import replacing
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.inversion.losses import PerceptualDistance, face_weight, pixel_distance
from faceloom.training import losses
from faceloom.training.discriminator import Discriminator, PatchDiscriminator
from faceloom.training.growth import grow
from faceloom.training.images import Batches, FaceSet

STATE_FILE = "state.pt"
R1_INTERVAL = 16
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. The defaults are the embedded model's, made for one CPU core.

    Attributes:
        resolution: side of the images in pixels.
        channels: feature maps of the generator for 4, 8, ... pixels.
        encoder_widths: channels of the encoder from the size that it works on down to 4 pixels; that size may be less
            than `resolution`.
        w_dim: dimension of Z and W.
        mapping_layers: fully connected layers from z to w.
        minutes: time budget of the whole run, over all resumptions.
        batch: images a step.
        learning_rate: Adam's, at its peak.
        warm, half: shares of the budget at which the warm start and the half-resolution stage end.
        anneal: share from which the learning rate falls, along a cosine, to a twentieth.
        perceptual, offsets, adversarial, r1: weights of the losses; the pixel loss has weight 1.
        patches: how hard a patch discriminator pulls on reconstructions, as a share of the pull of the other losses on
            the picture; 0 for none. For a CPU; `adversarial` is for a GPU.
        adversarial_from: share of the budget from which the adversarial losses act.
        perceptual_size: side to which images are brought for the perceptual loss, in pixels.
        ema_steps: half-life of the averaged weights in steps.
        seed: of weights and batches.
    """

    resolution: int = 64
    channels: tuple[int, ...] = (128, 128, 96, 48, 24)
    encoder_widths: tuple[int, ...] = (24, 48, 96, 144, 192)
    w_dim: int = 128
    mapping_layers: int = 4
    minutes: float = 110.0
    batch: int = 16
    learning_rate: float = 2e-3
    warm: float = 0.08
    half: float = 0.25
    anneal: float = 0.55
    perceptual: float = 0.25
    offsets: float = 0.003
    adversarial: float = 0.0
    patches: float = 0.0
    adversarial_from: float = 0.5
    r1: float = 1.0
    perceptual_size: int = 96
    ema_steps: float = 150.0
    seed: int = 0

    def generator(self) -> StyleGAN2Config:
        """Shape of the generator."""
        return StyleGAN2Config(
            self.resolution,
            self.channels,
            z_dim=self.w_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            mapping_gain=1.0,
        )

    def encoder(self) -> ResidualEncoderConfig:
        """Shape of the encoder."""
        size = 4 << (len(self.encoder_widths) - 1)
        return ResidualEncoderConfig(size, self.encoder_widths, self.w_dim, self.generator().num_ws)


@dataclass
class Progress:
    """Where a run is."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0


class PrincipalCodes(nn.Module):
    """Whitened principal components of face-weighted images at 32 px: the codes of the warm start."""

    mean: Tensor
    basis: Tensor

    def __init__(self, dim: int, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(3 * size * size))
        self.register_buffer("basis", torch.zeros(3 * size * size, dim))

    @torch.no_grad()
    def fit(self, batches: Batches, count: int = 8192) -> None:
        """Estimate from `count` images."""
        rows = torch.cat([self._flatten(next(batches)) for _ in range(math.ceil(count / batches.batch))])
        self.mean.copy_(rows.mean(dim=0))
        _, deviations, basis = torch.pca_lowrank(rows - self.mean, self.basis.shape[1], center=False, niter=3)
        self.basis.copy_(basis / (deviations / math.sqrt(len(rows))))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, dim), each component of mean 0 and deviation 1."""
        return (self._flatten(images) - self.mean) @ self.basis

    def _flatten(self, images: Tensor) -> Tensor:
        small = functional.interpolate(images, (self.size, self.size), mode="area")
        return (small * face_weight(self.size).to(images.device).sqrt()).flatten(1)


class Trainer:
    """One run in one folder: `run()` trains until the budget is used up or `stop` says so.

    Args:
        config: how to train.
        faces: faces to train on, at `config.resolution`; the held-out ones are left out by the caller.
        out: the run's folder; a state in it is resumed.
        device: where to train.
        start: networks to start from, of the same or a smaller resolution, instead of random weights; the run then has
            neither a warm start nor a stage at half resolution. What they lack begins as an enlarged copy of their
            picture.

    Raises:
        TrainingError: if the folder holds a run of another configuration, or the faces have another size, or the
            networks to start from do not fit.
    """

    def __init__(
        self,
        config: TrainingConfig,
        faces: FaceSet,
        out: Path,
        device: str = "cpu",
        *,
        start: tuple[StyleGAN2, ResidualEncoder] | None = None,
    ) -> None:
        if start is not None:
            config = replace(config, warm=0.0, half=0.0)
        if faces.pixels.shape[1] != config.resolution:
            raise TrainingError(f"the faces are {faces.pixels.shape[1]} px, the model {config.resolution} px")
        torch.manual_seed(config.seed)
        self.config, self.out, self.device = config, out, torch.device(device)
        self.batches = Batches(faces, config.batch, config.seed)
        self.progress = Progress()
        self.generator = self._place(StyleGAN2(config.generator()))
        self.encoder = self._place(ResidualEncoder(config.encoder()))
        self.discriminator = self._place(Discriminator(config.channels)) if config.adversarial else None
        self.patches = self._place(PatchDiscriminator()) if config.patches else None
        self.principal = self._place(PrincipalCodes(config.w_dim))
        self.perceptual = self._place(PerceptualDistance(config.perceptual_size)) if config.perceptual else None
        if start is not None:
            grow(start[0], self.generator)
            grow(start[1], self.encoder)
        parameters = [*self.generator.parameters(), *self.encoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, config.learning_rate, betas=(0.9, 0.99))
        self.judge_optimizer = (
            torch.optim.Adam(self.discriminator.parameters(), config.learning_rate, betas=(0.0, 0.99))
            if self.discriminator
            else None
        )
        self.patch_optimizer = (
            torch.optim.Adam(self.patches.parameters(), config.learning_rate, betas=(0.5, 0.99))
            if self.patches
            else None
        )
        self.averaged = nn.ModuleDict(
            {"generator": copy.deepcopy(self.generator), "encoder": copy.deepcopy(self.encoder)}
        ).requires_grad_(False)
        self.averaged.eval()
        if not self._resume() and config.warm > 0.0:
            self.principal.fit(self.batches)

    @property
    def share(self) -> float:
        """Share of the time budget that is used up, 0 to 1."""
        return min(1.0, self.progress.seconds / (self.config.minutes * 60.0))

    def averaged_networks(self) -> tuple[StyleGAN2, ResidualEncoder]:
        """Generator and encoder with averaged weights: what a run is for."""
        return cast(StyleGAN2, self.averaged["generator"]), cast(ResidualEncoder, self.averaged["encoder"])

    def run(
        self, report: Callable[[dict[str, float]], None], *, report_every: int = 50, save_every: float = 180.0
    ) -> None:
        """Train until the budget is used up; `report` gets the losses every so many steps."""
        saved = started = time.monotonic()
        before = self.progress.seconds
        while self.share < 1.0:
            values = self.step()
            now = time.monotonic()
            self.progress.seconds = before + now - started
            if self.progress.steps % report_every == 0:
                report({"share": self.share, "images": self.progress.images, **values})
            if now - saved > save_every:
                self.save()
                saved = now
        self.save()

    def step(self) -> dict[str, float]:
        """One step of all networks; returns the losses."""
        self._set_learning_rate()
        share, config = self.share, self.config
        real = next(self.batches).to(self.device).contiguous(memory_format=torch.channels_last)
        resolution = config.resolution // 2 if share < config.half else config.resolution
        target = real if resolution == config.resolution else functional.avg_pool2d(real, 2)
        base, offsets = self.encoder.split(real)
        values: dict[str, Tensor] = {}
        if share < config.warm:
            codes = self.principal(real)
            values["codes"] = functional.mse_loss(base, codes)
            ws = codes.unsqueeze(1).expand(-1, self.generator.num_ws, -1)
        else:
            alone = torch.arange(len(real), device=self.device) % 2 == 0
            ws = base.unsqueeze(1) + offsets * (~alone).float().reshape(-1, 1, 1)
            values["offsets"] = offsets.square().mean() * config.offsets
        judged = self.patches is not None and share >= config.adversarial_from
        fake = self.generator.synthesize(ws, "random" if judged else "none", resolution=resolution)
        values["pixel"] = pixel_distance(fake, target).mean()
        if self.perceptual is not None:
            values["perceptual"] = self.perceptual(fake, target).mean() * config.perceptual
        if self.discriminator is not None and share >= config.adversarial_from:
            values.update(self._adversarial(fake, real))
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.stack([value for name, value in values.items() if name != "discriminator"]).sum()
        if not bool(torch.isfinite(total)):
            raise TrainingError(f"the loss is not a number after {self.progress.images} images; lower the rate")
        if judged:
            values.update(self._sharpen(fake, target))
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._average()
        self.progress.steps += 1
        self.progress.images += len(real)
        return {name: float(value.detach()) for name, value in values.items()}

    def save(self) -> None:
        """Write the state; a write that fails leaves the one before."""
        state = {
            "config": json.dumps(asdict(self.config)),
            "progress": asdict(self.progress),
            "networks": self._networks().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.judge_optimizer.state_dict() if self.judge_optimizer else None,
            "patch_optimizer": self.patch_optimizer.state_dict() if self.patch_optimizer else None,
            "random": self.batches.random.get_state(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with replacing(self.out / STATE_FILE) as file:
            torch.save(state, file)

    def _resume(self) -> bool:
        path = self.out / STATE_FILE
        if not path.exists():
            return False
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        budget = {"minutes": self.config.minutes}
        if json.loads(state["config"]) | budget != json.loads(json.dumps(asdict(self.config))):
            raise TrainingError(f"{path} is a run with other settings; choose another --out, or the same settings")
        self._networks().load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.patch_optimizer is not None:
            self.patch_optimizer.load_state_dict(state["patch_optimizer"])
        if self.judge_optimizer is not None:
            self.judge_optimizer.load_state_dict(state["judge_optimizer"])
        self.batches.random.set_state(state["random"])
        self.progress = Progress(**state["progress"])
        return True

    def _networks(self) -> nn.ModuleDict:
        networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "encoder": self.encoder,
            "averaged": self.averaged,
            "principal": self.principal,
        }
        if self.discriminator is not None:
            networks["discriminator"] = self.discriminator
        if self.patches is not None:
            networks["patches"] = self.patches
        return nn.ModuleDict(networks)

    def _place(self, module: _ModuleT) -> _ModuleT:
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _set_learning_rate(self) -> None:
        config = self.config
        over = max(0.0, self.share - config.anneal) / (1.0 - config.anneal)
        fall = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, over)))
        rise = min(1.0, (self.progress.steps + 1) / 100.0)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * fall * rise

    def _adversarial(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        assert self.discriminator is not None
        assert self.judge_optimizer is not None
        z = torch.randn(len(real), self.generator.z_dim, device=self.device)
        drawn = torch.cat([fake, self.generator.synthesize(self._mixed(z), "none")])
        self.discriminator.requires_grad_(True)
        lazy = self.progress.steps % R1_INTERVAL == 0
        wanted = real.detach().requires_grad_(lazy)
        real_scores = self.discriminator(wanted)
        loss = losses.discriminator_adversarial(real_scores, self.discriminator(drawn.detach()))
        total = loss
        if lazy:
            total = loss + losses.r1_penalty(real_scores, wanted) * (self.config.r1 * 0.5 * R1_INTERVAL)
        self.judge_optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.judge_optimizer.step()
        self.discriminator.requires_grad_(False)
        fooled = losses.generator_adversarial(self.discriminator(drawn)) * self.config.adversarial
        return {"adversarial": fooled, "discriminator": loss}

    def _sharpen(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Train the patch discriminator, and arrange that its pull joins that of the other losses on `fake`.

        Its gradient is scaled to `config.patches` times the norm of theirs, image by image, so that no weight has to be
        found (Esser et al. 2021, equation 7, balance the last layer in this way).
        """
        assert self.patches is not None
        assert self.patch_optimizer is not None
        self.patches.requires_grad_(True)
        loss = losses.discriminator_adversarial(self.patches(real), self.patches(fake.detach()))
        self.patch_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.patch_optimizer.step()
        self.patches.requires_grad_(False)
        seen = fake.detach().requires_grad_()
        fooled = losses.generator_adversarial(self.patches(seen))
        (pull,) = torch.autograd.grad(fooled, seen)

        def join(other: Tensor) -> Tensor:
            norms = [one.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for one in (other, pull)]
            return other + pull * (self.config.patches * norms[0] / norms[1].clamp_min(1e-12))

        fake.register_hook(join)
        return {"patches": fooled.detach(), "discriminator": loss.detach()}

    def _mixed(self, z: Tensor) -> Tensor:
        """Codes of z, half of them with the styles of another z from a random layer on (style mixing)."""
        ws = self.generator.map(z)
        other = ws.roll(1, dims=0)
        cut = torch.randint(1, 2 * self.generator.num_ws, (len(z), 1, 1), device=self.device)
        row = torch.arange(self.generator.num_ws, device=self.device).reshape(1, -1, 1)
        return torch.where(row < cut, ws, other)

    @torch.no_grad()
    def _average(self) -> None:
        decay = 0.5 ** (1.0 / min(self.config.ema_steps, self.progress.steps + 1.0))
        live = nn.ModuleDict({"generator": self.generator, "encoder": self.encoder})
        for kept, new in zip(self.averaged.parameters(), live.parameters(), strict=True):
            kept.lerp_(new, 1.0 - decay)
        for held, now in zip(self.averaged.buffers(), live.buffers(), strict=True):
            if held.is_floating_point():
                held.lerp_(now, 1.0 - decay)
            else:
                held.copy_(now)
