"""How to train: settings, the shapes that fit a resolution, and recipes that were thought out as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config


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
        mapping_gain: learning-rate multiplier of the mapping; the papers have 0.01 where it is trained adversarially.
        minutes: time budget of the whole run, over all resumptions.
        images: end after so many images, over all processes and resumptions, instead of after `minutes`; 0 for the time
            budget. Runs that are to be compared, or were interrupted by other work, want it.
        batch: images a step, over all processes.
        learning_rate: Adam's, at its peak.
        momentum: Adam's first beta for generator and encoder; the papers have 0 where the loss is adversarial.
        warm, half: shares of the budget at which the warm start and the half-resolution stage end.
        anneal: share from which the learning rate falls, along a cosine, to a twentieth.
        pixel, perceptual, offsets, adversarial, r1: weights of the losses.
        path_length: weight of path length regularisation, 0 for none; 2 is usual.
        reconstructed: share of a batch that is encoded and drawn again; all of it feeds the discriminator.
        judge_reconstructions: whether the discriminator sees reconstructions beside random samples.
        augment: what share of real images, less its complement, the discriminator may tell for real before
            augmentation grows stronger: 0.6 in the paper, 0 for no augmentation; see `faceloom.training.augmentation`.
        patches: how hard a patch discriminator pulls on reconstructions, as a share of the pull of the other losses on
            the picture; 0 for none. For a CPU; `adversarial` is for a GPU.
        critic: how hard a discriminator that looks through the perceptual loss's features pulls on reconstructions, as
            a share of the other losses, and as hard on pictures of nobody; 0 for none. For a CPU, instead of patches.
        compared_at: side to which reconstructions and photos are brought before they are compared, beside a critic,
            which alone judges what is finer; 0 for their own. An encoder that looks at small pictures cannot know where
            each hair lies, and whoever asks for it gets the mean of all hairs: blur.
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
    mapping_gain: float = 1.0
    minutes: float = 110.0
    images: int = 0
    batch: int = 16
    learning_rate: float = 2e-3
    momentum: float = 0.9
    warm: float = 0.08
    half: float = 0.25
    anneal: float = 0.55
    pixel: float = 1.0
    perceptual: float = 0.25
    offsets: float = 0.003
    adversarial: float = 0.0
    patches: float = 0.0
    critic: float = 0.0
    compared_at: int = 0
    adversarial_from: float = 0.5
    r1: float = 1.0
    path_length: float = 0.0
    reconstructed: float = 1.0
    judge_reconstructions: bool = True
    augment: float = 0.0
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
            mapping_gain=self.mapping_gain,
        )

    def encoder(self) -> ResidualEncoderConfig:
        """Shape of the encoder."""
        size = 4 << (len(self.encoder_widths) - 1)
        return ResidualEncoderConfig(size, self.encoder_widths, self.w_dim, self.generator().num_ws)

    def to_json(self) -> str:
        """The settings as text, for files."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrainingConfig:
        """The inverse of `to_json`; what is missing takes its default.

        Raises:
            TrainingError: if there are settings that this version does not know.
        """
        try:
            known: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()
            }
            return cls(**known)
        except (AttributeError, TypeError, ValueError) as error:
            raise TrainingError(f"these are not the settings of a run: {error}") from error

    def agrees_with(self, text: str) -> bool:
        """Whether a file's settings are these; its budget may differ, and what it lacks counts as the default."""
        kept = json.loads(TrainingConfig().to_json()) | json.loads(text)
        budget = {"minutes": self.minutes, "images": self.images}
        return bool(kept | budget == json.loads(self.to_json()))


# Channel base 8k and at most 256 feature maps. Gradients of the adversarial loss are some fifty times those of the
# pixel loss on a picture, which is why the weights of reconstruction are above 1. Not yet tried on a GPU.
_GAN128 = TrainingConfig(
    resolution=128,
    channels=(256, 256, 256, 256, 128, 64),
    encoder_widths=(32, 64, 128, 192, 256, 256),
    w_dim=256,
    mapping_gain=0.01,
    minutes=28.0,
    batch=64,
    learning_rate=2.5e-3,
    momentum=0.0,
    warm=0.0,
    half=0.0,
    anneal=0.8,
    pixel=4.0,
    perceptual=2.0,
    adversarial=1.0,
    adversarial_from=0.0,
    r1=0.5,
    reconstructed=0.5,
    judge_reconstructions=False,
    augment=0.6,
    perceptual_size=128,
)
RECIPES = {
    "gan128": _GAN128,
    "gan256": replace(
        _GAN128,
        resolution=256,
        channels=(*_GAN128.channels, 32),
        batch=32,
        learning_rate=2e-3,
        r1=2.0,
        ema_steps=300.0,
    ),
}
"""Settings for half an hour of a large GPU: adversarial on random samples, with an encoder that reconstructs.

"gan256" is meant to be started from a run of "gan128".
"""


def shape_for(resolution: int) -> TrainingConfig:
    """The default shape, with blocks left out or added at the fine end."""
    config = TrainingConfig()
    while config.resolution > resolution:
        config = replace(
            config,
            resolution=config.resolution // 2,
            channels=config.channels[:-1],
            encoder_widths=config.encoder_widths[1:],
        )
    while config.resolution < resolution:
        config = replace(
            config,
            resolution=config.resolution * 2,
            channels=(*config.channels, max(8, config.channels[-1] // 2)),
            encoder_widths=(max(8, config.encoder_widths[0] // 2), *config.encoder_widths),
        )
    return config


def shape_from(networks: tuple[StyleGAN2, ResidualEncoder], resolution: int) -> TrainingConfig:
    """The shape of a trained model, with blocks added to its generator up to `resolution`, and settings to refine it.

    Raises:
        TrainingError: if the model is larger.
    """
    generator, encoder = networks
    channels = generator.config.channels
    if generator.resolution > resolution:
        raise TrainingError(
            f"the model to start from draws {generator.resolution} px, more than {resolution}; raise --resolution"
        )
    while 4 << (len(channels) - 1) < resolution:
        channels = (*channels, max(8, channels[-1] * 5 // 6))
    return replace(
        TrainingConfig(),
        resolution=resolution,
        channels=channels,
        encoder_widths=encoder.config.widths,
        w_dim=generator.w_dim,
        mapping_layers=generator.config.mapping_layers,
        mapping_gain=generator.config.mapping_gain,
        learning_rate=1.5e-3,
        anneal=0.5,
        perceptual=0.4,
        perceptual_size=max(96, resolution),
    )


def with_feature_maps(
    config: TrainingConfig, *, channels: tuple[int, ...] | None = None, encoder_widths: tuple[int, ...] | None = None
) -> TrainingConfig:
    """The same with other feature maps of the generator, or of the encoder; None leaves them as they are.

    Args:
        config: settings, in which there are as many numbers.
        channels: of the generator, for 4, 8, ... pixels.
        encoder_widths: of the encoder, from the size that it works on down to 4 pixels.

    Raises:
        TrainingError: if it wants more or fewer numbers.
    """
    for network, known, wanted in (
        ("generator", config.channels, channels),
        ("encoder", config.encoder_widths, encoder_widths),
    ):
        if wanted is not None and len(wanted) != len(known):
            raise TrainingError(
                f"the {network} wants {len(known)} numbers of feature maps at {config.resolution} px, "
                f"one for each size, as in {','.join(map(str, known))}"
            )
    return replace(
        config,
        channels=config.channels if channels is None else channels,
        encoder_widths=config.encoder_widths if encoder_widths is None else encoder_widths,
    )
