"""Reading the weights of TensorFlow.js models: a JSON manifest beside flat binary files.

Format: https://github.com/tensorflow/tfjs/tree/master/tfjs-converter#format-conversion-details. Nothing in it can
execute code; sizes and names are checked all the same.
"""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faceloom.errors import CheckpointError

_DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "u1", "uint16": "<u2", "float16": "<f2"}


def read_tfjs_weights(manifest: Path) -> dict[str, torch.Tensor]:
    """Read all weights of a layers model's manifest or of a graph model's `model.json`.

    Args:
        manifest: the JSON file; the binary files that it names lie in its folder.

    Returns:
        Each weight by its name, in TensorFlow's layout (H, W, in, out), dequantised: float32 or int32.

    Raises:
        CheckpointError: a file is missing, damaged, or not of this format.
    """
    try:
        document = json.loads(manifest.read_text(encoding="utf-8"))
        groups = document["weightsManifest"] if isinstance(document, dict) else document
        weights: dict[str, torch.Tensor] = {}
        for group in groups:
            weights.update(_read_group(manifest.parent, group))
    except OSError as error:
        raise CheckpointError(f"Cannot read a judge's weights: {error}; install the judges again.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{manifest} holds no TensorFlow.js weights ({error!r}); install the judges again."
        ) from error
    return weights


def _read_group(folder: Path, group: dict[str, Any]) -> dict[str, torch.Tensor]:
    for path in group["paths"]:
        if PurePath(path).name != path:
            raise ValueError(f"the file {path!r} would lie outside the model's folder")
    data = b"".join((folder / path).read_bytes() for path in group["paths"])
    weights: dict[str, torch.Tensor] = {}
    start = 0
    for entry in group["weights"]:
        stored = entry.get("quantization", entry)["dtype"]
        if any(side < 0 for side in entry["shape"]):
            raise ValueError(f"{entry['name']} has the shape {entry['shape']}")
        count = math.prod(entry["shape"])
        flat = np.frombuffer(data, _DTYPES[stored], count, start)
        start += flat.nbytes
        weights[entry["name"]] = torch.from_numpy(_dequantised(flat, entry).reshape(entry["shape"]))
    if start != len(data):
        raise ValueError(f"{len(data) - start} bytes are left over")
    return weights


def _dequantised(flat: NDArray[Any], entry: dict[str, Any]) -> NDArray[Any]:
    """A writable copy with the declared type, in native byte order."""
    quantization = entry.get("quantization", {})
    if "scale" in quantization:  # an affine code in 8 or 16 bits; TensorFlow.js, too, decodes in double precision
        flat = flat * float(quantization["scale"]) + float(quantization["min"])
    return flat.astype({"float32": np.float32, "int32": np.int32}[entry["dtype"]])
