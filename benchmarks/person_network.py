"""Make the embedded network that finds people, and compare it with the original.

    npm pack @mediapipe/selfie_segmentation && tar xzf mediapipe-selfie_segmentation-*.tgz
    pip install ai-edge-litert
    python benchmarks/person_network.py package/selfie_segmentation.tflite --write

Without --write it only compares: largest and mean difference on the pictures of examples/, and the seconds of each. The
weights come out of the file as they are, 16-bit; none is changed. With --write it also writes the original's answers,
16 by 16 means of one picture, for the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from faceloom.checkpoints import native
from faceloom.faces.segmenter import KIND, SIDE, PersonNetwork

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "src" / "faceloom" / "assets" / "person" / "person.safetensors"
GOLDEN = ROOT / "tests" / "faces" / "person_network.json"
PICTURES = sorted((ROOT / "examples").glob("*.jpg"))


def main() -> None:
    from ai_edge_litert.interpreter import Interpreter  # not a dependency

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tflite", type=Path)
    parser.add_argument("--write", action="store_true", help="write weights and golden into the repository")
    options = parser.parse_args()
    torch.set_num_threads(1)
    original = Interpreter(str(options.tflite), num_threads=1)
    network = filled(original).eval()
    original.allocate_tensors()
    golden = {}
    for path in PICTURES:
        with Image.open(path) as picture:
            square = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
        wanted, theirs = answer(original, square)
        started = time.perf_counter()
        with torch.no_grad():
            found = network(torch.from_numpy(square.astype(np.float32) / 255.0).permute(2, 0, 1)[None])[0, 0].numpy()
        ours = time.perf_counter() - started
        far = np.abs(found - wanted)
        seconds = f"{theirs:.3f} s, {ours:.3f} s"
        print(f"{path.name}: differs by {far.max():.1e} at most, {far.mean():.1e} on average; {seconds}")
        golden[path.name] = np.round(wanted.reshape(16, 16, 16, 16).mean(axis=(1, 3)), 5).tolist()
    if options.write:
        info = {
            "from": "npm @mediapipe/selfie_segmentation, selfie_segmentation.tflite",
            "sha256": hashlib.sha256(options.tflite.read_bytes()).hexdigest(),
            "licence": "Apache-2.0",
        }
        state = {name: tensor.half() for name, tensor in network.state_dict().items()}
        native.write(WEIGHTS, state, native.Header(KIND, {}, info))
        GOLDEN.write_text(json.dumps(golden) + "\n")


def filled(original: Any) -> PersonNetwork:
    """Our network with the weights of the original, which come in the order of its graph."""
    details = {one["index"]: one for one in original.get_tensor_details()}
    stored = {}  # by the index of the tensor that the 16-bit one is widened to
    for op in original._get_ops_details():
        if op["op_name"] == "DEQUANTIZE":
            stored[int(op["outputs"][0])] = original.get_tensor(int(op["inputs"][0]))
    arrays = []
    for op in original._get_ops_details():
        if "CONV" in op["op_name"].upper():
            arrays += [stored[int(index)] for index in op["inputs"][:0:-1] if int(index) in stored][::-1]
    network = PersonNetwork()
    parameters = list(network.named_parameters())
    if len(arrays) != len(parameters):
        raise SystemExit(f"{len(arrays)} arrays for {len(parameters)} parameters: another network? {len(details)}")
    with torch.no_grad():
        for (name, parameter), array in zip(parameters, arrays, strict=True):
            parameter.copy_(torch.from_numpy(ordered(name, array, parameter.ndim).astype(np.float32)))
    return network


def ordered(name: str, array: NDArray[np.float16], ndim: int) -> NDArray[np.float16]:
    """A tensor in PyTorch's order: TensorFlow Lite's is (out, H, W, in), of depthwise ones (1, H, W, channels)."""
    if ndim == 1:
        return array
    if "depthwise" in name or name.startswith("last"):
        return array.transpose(3, 0, 1, 2)
    return array.transpose(0, 3, 1, 2)


def answer(original: Any, square: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    original.set_tensor(original.get_input_details()[0]["index"], square[None].astype(np.float32) / 255.0)
    started = time.perf_counter()
    original.invoke()
    seconds = time.perf_counter() - started
    return original.get_tensor(original.get_output_details()[0]["index"])[0, ..., 0], seconds


if __name__ == "__main__":
    main()
