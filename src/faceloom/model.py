"""A model: a generator with the encoder and the directions that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.direction import DirectionSet
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2

DEFAULT = "default"
GENERATOR_FILE, ENCODER_FILE, DIRECTIONS_FILE = "generator.safetensors", "encoder.safetensors", "directions.safetensors"


@dataclass(frozen=True, eq=False)
class Model:
    """A generator with its encoder and directions.

    Attributes:
        id: "default", or the folder it was read from.
        generator, encoder, directions: which belong together.
        spread: (w_dim,) standard deviation of the codes that the encoder gives for real faces.
    """

    id: str
    generator: StyleGAN2
    encoder: ResidualEncoder
    directions: DirectionSet
    spread: Tensor


@lru_cache(maxsize=2)
def load_model(name: str = DEFAULT) -> Model:
    """Load the embedded model ("default"), or a folder with generator, encoder and directions as safetensors.

    Raises:
        UsageError: if there is no such model.
        CheckpointError: if a file is damaged, or the files do not belong together.
    """
    if name == DEFAULT:
        with resources.as_file(resources.files("faceloom") / "assets" / DEFAULT) as folder:
            return _read(DEFAULT, folder)
    folder = Path(name)
    if not (folder / GENERATOR_FILE).is_file():
        raise UsageError(f'there is no model {name!r}; use "{DEFAULT}" or a folder that `faceloom train` wrote')
    return _read(name, folder)


def _read(name: str, folder: Path) -> Model:
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, info = native.load_encoder(folder / ENCODER_FILE)
    directions = DirectionSet.load(folder / DIRECTIONS_FILE)
    if info.get("generator") != generator.fingerprint:
        raise CheckpointError(f"the encoder in {folder} belongs to another generator; get the whole model again")
    directions.check_generator(generator.fingerprint)
    return Model(name, generator, encoder, directions, encoder.w_deviation)
