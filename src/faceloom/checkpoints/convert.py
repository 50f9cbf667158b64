"""Convert a checkpoint of any origin into Faceloom's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from faceloom.checkpoints import native
from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.installed import ENCODER_FILE, GENERATOR_FILE
from faceloom.checkpoints.irse import PspKind, kind_in_name
from faceloom.checkpoints.native import EncoderNetwork, GeneratorNetwork
from faceloom.checkpoints.reader import read_tree, reading
from faceloom.checkpoints.recognize import GENERATORS, encoders, holds, recognize
from faceloom.checkpoints.safetensors_files import looks_like_safetensors, read_safetensors
from faceloom.checkpoints.spans import Span
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import CheckpointError


def convert(path: Path, folder: Path, *, kind: PspKind | None = None) -> dict[str, Any]:
    """Write the networks of a checkpoint into `folder`, as `generator.safetensors` and `encoder.safetensors`.

    Args:
        path: a checkpoint; see `load_generator`.
        folder: where to, empty.
        kind: whether its encoder is e4e's or pSp's, where the file does not say.

    Returns:
        What was found, for people: architectures, sizes and fingerprints. {} where there is no network in it.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, is not supported, or its networks do not belong
            together.
        UsageError: if the files cannot be written.
    """
    with reading(path):
        generator, encoder = _networks(path, kind)
        if generator is not None and encoder is not None:
            _check_match(generator, encoder)
        if encoder is not None and generator is None:
            raise CheckpointError(
                "it holds an encoder without its generator; import the file that holds both, as e4e's and pSp's do"
            )
    found: dict[str, Any] = {}
    if generator is not None:
        config = generator.config
        native.save_generator(folder / GENERATOR_FILE, generator, {"file": quoted(path.name, 200)})
        found["generator"] = {
            "architecture": type(generator).__name__,
            "resolution": config.resolution,
            "num_ws": config.num_ws,
            "w_dim": config.w_dim,
            "classes": config.c_dim,
            "fingerprint": generator.fingerprint,
        }
        if encoder is not None:
            native.save_encoder(folder / ENCODER_FILE, encoder, {"generator": generator.fingerprint})
            found["encoder"] = {"architecture": _name(encoder), "resolution": encoder.resolution}
    return found


def _networks(path: Path, kind: PspKind | None) -> tuple[GeneratorNetwork | None, EncoderNetwork | None]:
    span = Span.of_file(path)
    if looks_like_safetensors(span) and "faceloom" in read_safetensors(span).metadata:
        _, header = native.read(path)
        if header.kind.endswith("encoder"):
            return None, native.load_any_encoder(path)[0]
        return (native.load_any_generator(path), None) if header.kind.startswith("stylegan") else (None, None)
    tree = read_tree(span)
    layouts = encoders(kind, kind_in_name(path.stem))
    encoder = recognize(tree, span.length, layouts) if holds(tree, layouts) else None
    # The layouts build nothing else; their type is wider because other callers need no more.
    found = recognize(tree, span.length, GENERATORS) if holds(tree, GENERATORS) else None
    return cast("GeneratorNetwork | None", found), encoder


def _check_match(generator: GeneratorNetwork, encoder: EncoderNetwork) -> None:
    """Whether the encoder's codes have the shape that the generator draws."""
    ours, theirs = (generator.num_ws, generator.w_dim), (encoder.config.num_ws, encoder.config.w_dim)
    if ours != theirs:
        raise CheckpointError(
            f"its encoder gives codes of {theirs[0]} layers and {theirs[1]} numbers, its generator takes {ours[0]} and "
            f"{ours[1]}: they do not belong together"
        )


def _name(encoder: EncoderNetwork) -> str:
    """What people call it."""
    if isinstance(encoder, ResidualEncoder):
        return "residual"
    kind = "e4e" if encoder.config.offsets else "pSp"
    return f"ReStyle over {kind}" if encoder.config.inputs == 6 else kind
