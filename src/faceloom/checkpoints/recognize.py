"""Tell what a checkpoint holds by the names of its tensors, never by its own name or by flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from faceloom.checkpoints import irse, stylegan2, stylegan3
from faceloom.checkpoints.inert import Inert, quoted
from faceloom.checkpoints.irse import PspKind
from faceloom.checkpoints.networks import Network, networks
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.encoders.irse import IRSEEncoder
from faceloom.errors import CheckpointError
from faceloom.generators.protocol import Generator

_ModelT_co = TypeVar("_ModelT_co", covariant=True)


@dataclass(frozen=True)
class Layout(Generic[_ModelT_co]):
    """One way to name the tensors of one architecture.

    Attributes:
        kind: what people call it.
        anchor: the name of a tensor that this layout has and no other.
        build: makes our model of a network in this layout; takes the size of the file in bytes too.
    """

    kind: str
    anchor: str
    build: Callable[[Network, int], _ModelT_co]


GENERATORS: tuple[Layout[Generator], ...] = (
    Layout("StyleGAN2 (NVIDIA, PyTorch)", "synthesis.b4.const", stylegan2.from_nvidia),
    Layout("StyleGAN2 (rosinality)", "conv1.conv.modulation.weight", stylegan2.from_rosinality),
    Layout("StyleGAN2 (NVIDIA, TensorFlow)", "synthesis/4x4/Const/const", stylegan2.from_tensorflow),
    Layout("StyleGAN3", "synthesis.input.freqs", stylegan3.from_nvidia),
)
"""Tried in this order on every network of a checkpoint."""


def encoders(kind: PspKind | None = None, in_name: PspKind | None = None) -> tuple[Layout[IRSEEncoder], ...]:
    """The layouts of encoders; the two kinds are for those whose files leave it open, see `irse.from_psp_family`."""
    build = partial(irse.from_psp_family, kind=kind, in_name=in_name)
    return (Layout("e4e, pSp or ReStyle", "input_layer.0.weight", build),)


_SHARING = ("decoder.", "encoder.")
"""Prefixes under which the pSp family keeps two networks in one state dict."""

_SIGNS: tuple[tuple[str, str], ...] = (
    (r"synthesis\.input\.freqs", "a StyleGAN3 generator"),
    (r"synthesis\.b4\.const|conv1\.conv\.modulation\.weight|synthesis/4x4/Const/const", "a StyleGAN2 generator"),
    (r".*superresolution\..*", "an EG3D generator"),
    (r".*/StyleMod/.*|.*progression\..*|style\.1\.linear\..*", "a StyleGAN generator of 2018"),
    (r"Gs?/.*|.*/LabelConcat/.*|\d+x\d+/.*", "a generator of the TensorFlow era, Progressive GAN or conditional"),
    (r"model\.diffusion_model\..*", "a diffusion model"),
    (r"(b\d+\.fromrgb|final_linear|final_conv)\..*", "a discriminator"),
    (r"stylegan_decoder.*", "a GFPGAN face restorer"),
    (r"synthesis_net\..*|mapping_net\..*", "a MobileStyleGAN generator"),
    (r"hypernet\..*", "a HyperStyle hypernetwork"),
    (r"(encoder\.)?input_layer\.0\.weight", "an encoder, not a generator"),
    (r"(visual|text_model)\..*|.*\.attn\..*", "a transformer"),
    (r"layer1\.0\.conv1\.weight", "a ResNet, which recognises images and draws none"),
)
_CODES = frozenset({"w", "latent", "latents", "wplus", "w_plus", "codes"})
_COMPONENTS = frozenset({"comp", "components", "lat_comp", "act_comp"})


def recognize(tree: Any, file_size: int, layouts: Sequence[Layout[_ModelT_co]]) -> _ModelT_co:
    """Build the first network in a checkpoint whose layout is known.

    Raises:
        CheckpointError: if there is none, saying what the checkpoint looks like; or if it is malformed.
    """
    found = _find(tree, layouts)
    if found is None:
        raise CheckpointError(f"this looks like {describe(tree)}, which is not supported here")
    network, layout, prefix = found
    return layout.build(_part(network, prefix), file_size)


def holds(tree: Any, layouts: Sequence[Layout[Any]]) -> bool:
    """Whether a network of one of these layouts seems to be in a checkpoint; `recognize` may still refuse it."""
    return _find(tree, layouts) is not None


def _find(tree: Any, layouts: Sequence[Layout[_ModelT_co]]) -> tuple[Network, Layout[_ModelT_co], str] | None:
    """The first network of a known layout, and the prefix of its names."""
    for network in networks(tree):
        for layout in layouts:
            anchors = [name for name in network.tensors if f".{name}".endswith(f".{layout.anchor}")]
            if anchors:
                return network, layout, min(anchors, key=len).removesuffix(layout.anchor)
    return None


def _part(network: Network, prefix: str) -> Network:
    """The part of a network under a prefix, which must be the whole of it but where the pSp family keeps two."""
    others = [name for name in network.tensors if not name.startswith(prefix) and name != "latent_avg"]
    if others and prefix not in _SHARING:
        raise CheckpointError(f"this looks like {_by_names(network.tensors)}, which is not supported here")
    return network.under(prefix)


def describe(tree: Any) -> str:
    """What a checkpoint looks like, for people: "a StyleGAN3 generator"."""
    if isinstance(tree, StoredTensor):
        return f"a latent code, a direction or another single array of shape {tree.shape}, not a network"
    for network in networks(tree):
        return _by_names(network.tensors)
    if isinstance(tree, Inert):
        return f"an object of the class {quoted(f'{tree.module}.{tree.name}')}"
    if isinstance(tree, dict):
        return f"a dictionary of {', '.join(quoted(str(key), 24) for key in list(tree)[:4]) or 'nothing'}"
    return f"a {type(tree).__name__}, not a network"


def _by_names(tensors: Mapping[str, StoredTensor]) -> str:
    for pattern, meaning in _SIGNS:
        if any(re.fullmatch(pattern, name) for name in tensors):
            return meaning
    if _COMPONENTS & set(tensors):
        return "principal components or directions, not a network"
    if _CODES & set(tensors):
        return "projected latent codes, not a network"
    return f"an unknown network of {len(tensors)} tensors, such as {quoted(next(iter(tensors)))}"
