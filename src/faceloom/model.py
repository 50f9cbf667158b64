"""A model: a generator with the encoder and the directions that belong to it."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from faceloom.checkpoints import native
from faceloom.checkpoints.catalog import catalogue
from faceloom.checkpoints.installed import (
    DIRECTIONS_FILE,
    ENCODER_FILE,
    GENERATOR_FILE,
    Installed,
    find,
    installed,
    is_model_folder,
)
from faceloom.checkpoints.loading import with_generator
from faceloom.directions.direction import DirectionSet
from faceloom.directions.packs import with_own
from faceloom.directions.pairing import paired_directions
from faceloom.domains.twin import TwinShelf, blended
from faceloom.encoders.protocol import Encoder
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.mapping import even_labels
from faceloom.generators.protocol import Generator
from faceloom.inversion.dial import inverter_at
from faceloom.inversion.protocol import Inverter
from faceloom.inversion.tuning import recalled
from faceloom.settings import choose_device, data_folder

DEFAULT = "default"
DEFAULT_LICENCE = "CC BY-NC-SA 4.0"
"""Of the embedded weights; its card says why."""
TWINS_FOLDER = "twins"
_SAMPLES = 4096
_SEED = 0

__all__ = ["DEFAULT", "DIRECTIONS_FILE", "ENCODER_FILE", "GENERATOR_FILE", "Model", "load_model", "spread_of"]


@dataclass(frozen=True, eq=False)
class Model:
    """A generator with its encoder and directions.

    Attributes:
        id: "default", the folder it was read from, or the id it was imported as.
        generator: of any architecture.
        encoder: finds codes for it; None where it came without one, as NVIDIA's networks and those tuned by PTI do.
        directions: found in it, or in a generator that shares its latent space.
        spread: (w_dim,) standard deviation of codes: those that the encoder gives for real faces where that was
            measured in training, else those of W, see `spread_of`; on the generator's device.
        own_twins: folder of the twins that came with the model; None for none.
    """

    id: str
    generator: Generator
    encoder: Encoder | None
    directions: DirectionSet
    spread: Tensor
    own_twins: Path | None = None

    def require_encoder(self) -> Encoder:
        """The encoder.

        Raises:
            UsageError: if the model came without one.
        """
        if self.encoder is None:
            raise UsageError(
                f"the model {self.id!r} has no encoder, which this needs; use an inversion that needs none, such as "
                "w+, or a model that has one, such as e4e-ffhq"
            )
        return self.encoder

    @property
    def device(self) -> torch.device:
        """Where it draws and inverts. Codes and tunings are handed over on the CPU, wherever that is."""
        return self.generator.w_mean.device

    def on(self, device: torch.device) -> Model:
        """The same model on a device: itself where it is there, else a copy."""
        if device == self.device:
            return self
        # Together: an encoder may look at pictures that the generator draws.
        generator, encoder = copy.deepcopy((self.generator, self.encoder))
        networks: list[object] = [generator, encoder]
        for network in networks:
            if isinstance(network, nn.Module):
                network.to(device)
        return replace(self, generator=generator, encoder=encoder, spread=self.spread.to(device))

    def inverter_at(self, fidelity: float) -> Inverter:
        """The inversion of a place on the dial, from 0, more editable, to 1, more like the photo.

        Raises:
            UsageError: if the place is not from 0 to 1.
        """
        return inverter_at(fidelity, self.generator, self.encoder, self.spread, moves=self.directions.moves())

    @cached_property
    def twins(self) -> TwinShelf:
        """The twins of the generator by name: those that came with the model, and those that were made here."""
        own = () if self.own_twins is None else (self.own_twins,)
        return TwinShelf(self.generator.fingerprint, (*own, self.twin_folder))

    @property
    def twin_folder(self) -> Path:
        """Where twins that are made here are kept."""
        return data_folder() / TWINS_FOLDER / self.generator.fingerprint


def _embedded() -> AbstractContextManager[Path]:
    return resources.as_file(resources.files("faceloom") / "assets" / DEFAULT)


def embedded_size() -> int:
    """Bytes of the embedded model's weights."""
    with _embedded() as folder:
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def load_model(name: str = DEFAULT, device: str = "cpu") -> Model:
    """Load the embedded model ("default"), one that was imported, or a folder that training wrote; kept for next time.

    Args:
        name: of the model.
        device: where it draws and inverts, as `choose_device` takes it. All else is done on the CPU.

    The directions of an imported model are all imported ones that pair with it: those that the catalogue says so of,
    and those that were imported for it. See `faceloom.collection.import_file`.

    Raises:
        UsageError: if there is no such model, or no such device.
        CheckpointError: if a file is damaged, or the files do not belong together.
    """
    return _loaded(name, choose_device(device))


def forget_models() -> None:
    """Read models anew when they are next asked for: a file of theirs has changed. What was made of them goes, too."""
    for kept in (_loaded, recalled, blended):
        kept.cache_clear()


@lru_cache(maxsize=2)
def _loaded(name: str, device: torch.device) -> Model:
    return _found(name).on(device)


def _found(name: str) -> Model:
    if name == DEFAULT:
        with _embedded() as folder:
            return _read(DEFAULT, folder)
    folder = Path(name)
    if is_model_folder(folder):
        return _read(name, folder)
    found = find(name)
    if found is not None:
        return _imported(found)
    if name in catalogue():
        raise UsageError(f"the model {name!r} is not on this machine yet; run `faceloom models get {name}`")
    raise UsageError(
        f'there is no model {name!r}; use "{DEFAULT}", the id of one that was imported (`faceloom models list`), or a '
        "folder that `faceloom train` wrote"
    )


@torch.no_grad()
def spread_of(generator: Generator) -> Tensor:
    """The standard deviation of W, (w_dim,), from 4096 mapped samples: the unit of steps in an inversion.

    Labels of a generator with classes are drawn evenly. Source: the latent statistics of Karras et al. 2020,
    "Analyzing and Improving the Image Quality of StyleGAN", appendix D, kept apart for each dimension.
    """
    random = torch.Generator().manual_seed(_SEED)
    z = torch.randn(_SAMPLES, generator.z_dim, generator=random)
    classes = int(getattr(getattr(generator, "config", None), "c_dim", 0))
    starts = range(0, _SAMPLES, 512)
    rows = [generator.map(z[start : start + 512], even_labels(classes, start, 512))[:, 0] for start in starts]
    return torch.cat(rows).std(dim=0)


def _read(name: str, folder: Path) -> Model:
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, info = native.load_encoder(folder / ENCODER_FILE)
    directions = DirectionSet.load(folder / DIRECTIONS_FILE)
    if info.get("generator") != generator.fingerprint:
        raise CheckpointError(f"the encoder in {folder} belongs to another generator; get the whole model again")
    directions.check_generator(generator.fingerprint)
    directions = with_own(directions, generator)
    return Model(name, generator, encoder, directions, encoder.w_deviation, folder / TWINS_FOLDER)


def _imported(found: Installed) -> Model:
    if found.kind == "directions":
        pairs = ", ".join(found.pairs_with)
        raise UsageError(f"{found.id!r} is a set of directions, not a model; it is used with the models {pairs}")
    generator = native.load_any_generator(found.folder / GENERATOR_FILE)
    encoder: Encoder | None = None
    spread: Tensor | None = None
    if (found.folder / ENCODER_FILE).is_file():
        network, info = native.load_any_encoder(found.folder / ENCODER_FILE)
        if info.get("generator") != generator.fingerprint:
            raise CheckpointError(
                f"the encoder of {found.id!r} belongs to another generator; run `faceloom models rm {found.id}`, and "
                "import it again"
            )
        encoder = with_generator(network, generator)
        spread = getattr(network, "w_deviation", None)
    directions = with_own(paired_directions(_origins(found), generator), generator)
    return Model(found.id, generator, encoder, directions, spread_of(generator) if spread is None else spread)


def _origins(model: Installed) -> list[tuple[str, Path]]:
    """The imported directions that pair with a model: those of the catalogue first, in its order, then others by id."""
    order = {name: place for place, name in enumerate(catalogue())}
    pairing = [
        one
        for one in installed()
        if one.kind == "directions" and (model.id in one.pairs_with or one.id in model.pairs_with)
    ]
    pairing.sort(key=lambda one: (order.get(one.details.get("published_as", one.id), len(order)), one.id))
    return [(one.id, one.folder / DIRECTIONS_FILE) for one in pairing]
