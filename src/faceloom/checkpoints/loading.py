"""Load models of every origin: our own files, and those of other projects, converted on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from faceloom.checkpoints import native
from faceloom.checkpoints.networks import Weights
from faceloom.checkpoints.reader import read_tree, reading
from faceloom.checkpoints.recognize import ENCODERS, GENERATORS, describe, recognize
from faceloom.checkpoints.safetensors_files import looks_like_safetensors, read_safetensors
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.encoders.irse import RefiningEncoder
from faceloom.encoders.protocol import Encoder
from faceloom.errors import CheckpointError
from faceloom.generators.protocol import Generator

_CODE_KEYS = ("w", "latent", "latents", "wplus", "w_plus", "codes")


def load_generator(path: str | Path) -> Generator:
    """Load a generator. What kind of file it is, is found out from its contents; nothing in it is executed.

    Args:
        path: a file of Faceloom; a network pickle of NVIDIA's StyleGAN2 in PyTorch or TensorFlow; a checkpoint of
            rosinality's StyleGAN2; a pSp, e4e or ReStyle checkpoint, for its decoder; a generator tuned by PTI;
            a network pickle of StyleGAN3, T or R.

    Returns:
        The generator on the CPU, in float32, frozen, in evaluation mode.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, or is something else, saying what.
    """
    path = Path(path)
    with reading(path):
        span = Span.of_file(path)
        if _is_native(span):
            return native.load_generator(path)
        return recognize(read_tree(span), span.length, GENERATORS)


def load_encoder(path: str | Path) -> Encoder:
    """Load an encoder. What kind of file it is, is found out from its contents; nothing in it is executed.

    Args:
        path: a file of Faceloom; a pSp, e4e or ReStyle checkpoint with the backbone IR-SE-50. ReStyle needs the decoder
            in the same file.

    Returns:
        The encoder on the CPU, in float32, frozen, in evaluation mode: a module that takes images (N, 3, 256, 256) in
        [-1, 1] to ws (N, num_ws, w_dim), the mean code included.

    Raises:
        CheckpointError: if the file is missing, damaged or hostile, or is something else, saying what.
    """
    path = Path(path)
    with reading(path):
        span = Span.of_file(path)
        if _is_native(span):
            return native.load_encoder(path)[0]
        tree = read_tree(span)
        encoder = recognize(tree, span.length, ENCODERS)
        if encoder.config.inputs == 3:
            return encoder
        return RefiningEncoder(encoder, recognize(tree, span.length, GENERATORS)).eval()


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
