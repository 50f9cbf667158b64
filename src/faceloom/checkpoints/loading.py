"""Load models of every origin: our own files, and those of other projects, converted on the fly."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor

from faceloom.checkpoints import native
from faceloom.checkpoints.catalog import catalogue
from faceloom.checkpoints.installed import ENCODER_FILE, GENERATOR_FILE, find
from faceloom.checkpoints.irse import PspKind, kind_in_name
from faceloom.checkpoints.native import EncoderNetwork
from faceloom.checkpoints.networks import Weights
from faceloom.checkpoints.reader import read_tree, reading
from faceloom.checkpoints.recognize import GENERATORS, describe, encoders, recognize
from faceloom.checkpoints.safetensors_files import looks_like_safetensors, read_safetensors
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.encoders.irse import IRSEEncoder, RefiningEncoder
from faceloom.encoders.protocol import Encoder
from faceloom.errors import CheckpointError
from faceloom.generators.protocol import Generator

_CODE_KEYS = ("w", "latent", "latents", "wplus", "w_plus", "codes")


def load_generator(path: str | Path) -> Generator:
    """Load a generator. What kind of file it is, is found out from its contents; nothing in it is executed.

    Args:
        path: "default"; the id of something imported; the folder of a trained model; or a file: one of Faceloom; a
            network pickle of NVIDIA's StyleGAN2 in PyTorch or TensorFlow; a checkpoint of rosinality's StyleGAN2; a
            pSp, e4e or ReStyle checkpoint, for its decoder; a generator tuned by PTI; a network pickle of StyleGAN3,
            T or R.

    Returns:
        The generator on the CPU, in float32, frozen, in evaluation mode.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, or is something else, saying what.
    """
    path = _locate(path, GENERATOR_FILE)
    with reading(path):
        span = Span.of_file(path)
        if _is_native(span):
            return native.load_any_generator(path)
        return recognize(read_tree(span), span.length, GENERATORS)


def load_encoder(path: str | Path, *, kind: PspKind | None = None) -> Encoder:
    """Load an encoder. What kind of file it is, is found out from its contents; nothing in it is executed.

    e4e and pSp store the same weights under the same names. Which of them a file holds is read from the options in it,
    else taken from `kind`, else from the file's name ("e4e_ffhq_encode.pt").

    Args:
        path: "default"; the id of something imported; the folder of a trained model; or a file: one of Faceloom; a
            pSp, e4e or ReStyle checkpoint with the backbone IR-SE-50. ReStyle needs its generator, in the same file,
            or beside it where it was imported.
        kind: "e4e" or "psp", where the file does not say.

    Returns:
        The encoder on the CPU, in float32, frozen, in evaluation mode: a module that takes images (N, 3, 256, 256) in
        [-1, 1] to ws (N, num_ws, w_dim), the mean code included.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, or is something else, saying what.
    """
    path = _locate(path, ENCODER_FILE)
    with reading(path):
        span = Span.of_file(path)
        if _is_native(span):
            found, _ = native.load_any_encoder(path)
            beside = path.with_name(GENERATOR_FILE)
            return with_generator(found, native.load_any_generator(beside) if _refines(found) else None)
        tree = read_tree(span)
        encoder = recognize(tree, span.length, encoders(kind, kind_in_name(path.stem)))
        return with_generator(encoder, recognize(tree, span.length, GENERATORS) if _refines(encoder) else None)


def with_generator(encoder: EncoderNetwork, generator: Generator | None) -> Encoder:
    """The encoder, made to refine with its generator where it is one of ReStyle's."""
    if isinstance(encoder, IRSEEncoder) and _refines(encoder) and generator is not None:
        return RefiningEncoder(encoder, generator).eval()
    return encoder


def _refines(encoder: EncoderNetwork) -> bool:
    return isinstance(encoder, IRSEEncoder) and encoder.config.inputs == 6


def _locate(path: str | Path, name: str) -> Path:
    """The file that is meant by a path, a folder or an id.

    Raises:
        CheckpointError: if the id is known, but has no such file here.
    """
    place = Path(path)
    if (place / name).is_file():
        return place / name
    if place.exists() or not isinstance(path, str):
        return place
    if path == "default":
        with resources.as_file(resources.files("faceloom") / "assets" / "default") as folder:
            return folder / name
    found = find(path)
    if found is not None:
        if not (found.folder / name).is_file():
            raise CheckpointError(f"{path!r} is a {found.kind} and has no {name.partition('.')[0]}")
        return found.folder / name
    if path in catalogue():
        raise CheckpointError(f"{path!r} is not on this machine yet; run `faceloom models get {path}`")
    return place


def load_codes(path: str | Path) -> Tensor:
    """Load latent codes: a projector's npz, a pivot of PTI, an npy file, or a dictionary of one of them.

    Returns:
        (N, num_ws, w_dim) float32, with num_ws = 1 where the file has one row for all layers.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, or holds no codes.
    """
    path = Path(path)
    with reading(path):
        span = Span.of_file(path)
        tree = read_tree(span)
        stored = _codes(tree)
        if stored is None or not 1 <= len(stored.shape) <= 3:
            raise CheckpointError(f"this looks like {describe(tree)}; latent codes have the shape (N, num_ws, w_dim)")
        codes = Weights({"codes": stored}, span.length).take("codes")
        return codes.reshape((1,) * (3 - codes.ndim) + tuple(codes.shape))


def _codes(tree: Any) -> StoredTensor | None:
    if isinstance(tree, dict):
        tree = next((tree[key] for key in _CODE_KEYS if key in tree), None)
    if isinstance(tree, list | tuple) and len(tree) == 1:
        tree = tree[0]
    return tree if isinstance(tree, StoredTensor) else None


def _is_native(span: Span) -> bool:
    return looks_like_safetensors(span) and "faceloom" in read_safetensors(span).metadata
