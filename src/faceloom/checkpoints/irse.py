"""Encoders of the pSp family (pSp, e4e, ReStyle), brought into ours.

Source: the state dicts that pixel2style2pixel, encoder4editing and restyle-encoder keep under `encoder.`. pSp and e4e
share every name and shape; which of them an encoder is, stands in the options beside it, or else in the name of its
file, or else the person has to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from faceloom.checkpoints.blank import blank
from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.networks import Network, Weights
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.encoders.irse import IRSEConfig, IRSEEncoder
from faceloom.errors import CheckpointError

PspKind = Literal["e4e", "psp"]
"""Which of the two: e4e's first head gives a code and the others offsets from it; all of pSp's give codes."""
_OFFSETS = {
    "GradualStyleEncoder": False,
    "BackboneEncoder": False,
    "Encoder4Editing": True,
    "ProgressiveBackboneEncoder": True,
}
"""Whether an encoder gives offsets from its first code, by its class."""
_E4E_OPTIONS = frozenset({"progressive_steps", "progressive_start", "delta_norm", "w_discriminator_lambda"})
_PSP_OPTIONS = frozenset({"learn_in_w"})
_UNIT = {
    "norm": "res_layer.0",
    "conv": "res_layer.1",
    "slope": "res_layer.2.weight",
    "conv_down": "res_layer.3",
    "norm_down": "res_layer.4",
    "squeeze": "res_layer.5.fc1",
    "excite": "res_layer.5.fc2",
    "shortcut": "shortcut_layer.0",
    "shortcut_norm": "shortcut_layer.1",
}
_STEM = {"stem": "input_layer.0", "stem_norm": "input_layer.1", "stem_slope": "input_layer.2.weight"}
_MAX_ROWS = 64
_Shapes = Mapping[str, tuple[int, ...]]


def kind_in_name(stem: str) -> PspKind | None:
    """What a file's name says that its encoder is: "e4e_ffhq_encode" is e4e's kind, "restyle_psp_ffhq" pSp's."""
    words = set(re.split(r"[^a-z0-9]+", stem.casefold()))
    e4e = bool(words & {"e4e", "encoder4editing"})
    psp = bool(words & {"psp", "pixel2style2pixel"})
    return None if e4e == psp else "e4e" if e4e else "psp"


def from_psp_family(
    network: Network, file_size: int, *, kind: PspKind | None = None, in_name: PspKind | None = None
) -> IRSEEncoder:
    """An encoder with the backbone IR-SE-50, under the names of the pSp family without their prefix `encoder.`.

    Args:
        network: its tensors, and the options beside them.
        file_size: bytes of the file.
        kind: which of the two it is, where a person has said so; contradicting the options is an error.
        in_name: which of the two the name of the file says; believed where nothing else tells.

    Raises:
        CheckpointError: if parts are missing, superfluous, or beyond our encoder, or it is not said which it is.
    """
    options = network.beside.get("opts")
    options = options if isinstance(options, Mapping) else {}
    shapes = {name: tensor.shape for name, tensor in network.tensors.items()}
    config = _config(shapes, offsets=_gives_offsets(options, kind, in_name))
    encoder = blank(lambda: IRSEEncoder(config))  # the tensors of the file become its parameters
    weights = Weights(network.tensors, file_size)
    starts = _unit_starts(config)
    named: dict[str, Tensor] = {}
    for ours, blank_tensor in encoder.state_dict().items():
        leaf = ours.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            named[ours] = blank_tensor.new_zeros((), device="cpu")
            continue
        theirs = _their_name(ours, starts)
        named[ours] = _mean(network, config, options, file_size) if ours == "w_mean" else weights.take(theirs)
        if named[ours].shape != blank_tensor.shape:
            wanted = f"{tuple(named[ours].shape)}, not {tuple(blank_tensor.shape)}"
            raise CheckpointError(f"it is like e4e and pSp, but {theirs} has the shape {wanted}")
        if leaf == "running_var" and bool((named[ours] < 0).any()):
            raise CheckpointError(f"the weights {theirs} hold negative variances; the file is damaged")
    rest = sorted(name for name in weights.left if not name.endswith("num_batches_tracked"))
    if rest:
        raise CheckpointError(f"it is like e4e and pSp, but has parts that they lack, such as {quoted(rest[0])}")
    encoder.load_state_dict(named, assign=True)
    encoder.requires_grad_(False)
    return encoder.eval()


def _gives_offsets(options: Mapping[Any, Any], kind: PspKind | None, in_name: PspKind | None) -> bool:
    """Whether it is e4e's kind: by the options it was trained with, by what the person says, by the file's name."""
    trained = _kind_in_options(options)
    if kind and trained and kind != trained:
        raise CheckpointError(f"its opts say that the encoder is {trained}, not {kind}; leave the kind out")
    found = trained or kind or in_name
    if found is None:
        raise CheckpointError(
            "its opts do not say whether the encoder is e4e or pSp, which store the same weights, and its name does "
            'not either: say kind="e4e" or kind="psp" (--kind on the command line)'
        )
    return found == "e4e"


def _kind_in_options(options: Mapping[Any, Any]) -> PspKind | None:
    kind = options.get("encoder_type")
    if isinstance(kind, str):
        if kind in _OFFSETS:
            return "e4e" if _OFFSETS[kind] else "psp"
        raise CheckpointError(f"its encoder is a {quoted(kind)}, which is not supported")
    signs = {key for key in options if isinstance(key, str)}
    e4e, psp = bool(signs & _E4E_OPTIONS), bool(signs & _PSP_OPTIONS)
    return None if e4e == psp else "e4e" if e4e else "psp"


def _config(shapes: _Shapes, *, offsets: bool) -> IRSEConfig:
    stem = _shape(shapes, "input_layer.0.weight", 4)
    if stem[1] not in (3, 6):
        raise CheckpointError(f"its encoder reads images of {stem[1]} channels, not RGB, which is not supported")
    widths: list[int] = []
    counts: list[int] = []
    index = 0
    while f"body.{index}.res_layer.1.weight" in shapes:
        width = _shape(shapes, f"body.{index}.res_layer.1.weight", 4)[0]
        if not widths or width != widths[-1]:
            widths.append(width)
            counts.append(0)
        counts[-1] += 1
        index += 1
    if not widths:
        raise CheckpointError("it is like e4e and pSp, but its backbone is not IR-SE-50, which is not supported")
    halvings: list[int] = []
    while f"styles.{len(halvings)}.linear.weight" in shapes and len(halvings) < _MAX_ROWS:
        prefix = f"styles.{len(halvings)}.convs"
        count = 0
        while f"{prefix}.{2 * count}.weight" in shapes:
            count += 1
        halvings.append(count)
    if not halvings:
        raise CheckpointError("its encoder gives no code in W+, which is not supported")
    squeezed = _shape(shapes, "body.0.res_layer.5.fc1.weight", 4)
    return IRSEConfig(
        inputs=stem[1],
        stem=stem[0],
        stages=tuple(zip(widths, counts, strict=True)),
        halvings=tuple(halvings),
        pyramid="latlayer1.weight" in shapes,
        offsets=offsets,
        squeeze=max(widths[0] // max(squeezed[0], 1), 1),
        w_dim=_shape(shapes, "styles.0.linear.weight", 2)[0],
    )


def _shape(shapes: _Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or len(shape) != dimensions:
        what = "missing" if shape is None else f"of the unexpected shape {shape}"
        raise CheckpointError(f"it is like e4e and pSp, but {name} is {what}")
    return shape


def _unit_starts(config: IRSEConfig) -> list[int]:
    """The number of the first unit of each stage, as they count through."""
    starts = [0]
    for _, count in config.stages:
        starts.append(starts[-1] + count)
    return starts


def _their_name(ours: str, starts: list[int]) -> str:
    match ours.split("."):
        case ["stages", stage, unit, part, *leaf]:
            return ".".join([f"body.{starts[int(stage)] + int(unit)}", _UNIT[part], *leaf])
        case ["laterals", index, leaf]:
            return f"latlayer{int(index) + 1}.{leaf}"
        case ["heads", row, "convs", index, leaf]:
            return f"styles.{row}.convs.{2 * int(index)}.{leaf}"
        case ["heads", row, leaf]:
            return f"styles.{row}.linear.{leaf}"
        case [part, *leaf] if part in _STEM:
            return ".".join([_STEM[part], *leaf])
    return ours


def _mean(network: Network, config: IRSEConfig, options: Mapping[Any, Any], file_size: int) -> Tensor:
    """The code that predictions are relative to, (num_ws, w_dim); files hold one row of it, or all."""
    stored = network.beside.get("latent_avg")
    if not isinstance(stored, StoredTensor):
        raise CheckpointError("the encoder lacks latent_avg, the mean that its codes are relative to")
    if not stored.shape or stored.shape[-1] != config.w_dim:
        raise CheckpointError(f"latent_avg has the unexpected shape {stored.shape}")
    rows = Weights({"latent_avg": stored}, file_size).take("latent_avg").reshape(-1, config.w_dim)
    if rows.shape[0] not in (1, config.num_ws):
        raise CheckpointError(f"latent_avg has {rows.shape[0]} rows, not one for each of the {config.num_ws} layers")
    rows = rows.expand(config.num_ws, -1).clone()
    return rows.zero_() if options.get("start_from_latent_avg") is False else rows
