"""CUDA graphs: the kernels of a step, recorded once and from then on launched as one.

A block is some thirty kernels, and a GPU finishes most of them sooner than the host can ask for the next. What is
recorded reads and writes the same memory each time, so that inputs are copied there, and outputs from there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

_WARM_UPS = 3
"""Calls before a recording: in the first, libraries choose their algorithms, and what weights give is derived."""


class Recording(Protocol):
    """What a step did once and can do again.

    Attributes:
        output: where it writes.
    """

    output: Tensor

    def replay(self) -> None:
        """Do it again, with what lies now where its inputs were."""
        ...


Record = Callable[[Callable[[], Tensor]], Recording]
"""Records what a function does; the output of the recording need not be written before the first replay."""


class Recordings:
    """Steps from tensors to a tensor, without gradients, each recorded the second time that it is asked for.

    Args:
        record: how; `record_cuda` says for which device.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._met: set[Hashable] = set()
        self._known: dict[Hashable, tuple[list[Tensor | None], Recording]] = {}

    def run(self, name: Hashable, step: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """step(*inputs).

        Args:
            name: what tells this step from others; it must always do the same with the same inputs.
            step: whose kernels depend on nothing but shapes, and which does not wait for the device.
            inputs: in the order of its arguments, on the device; None stays None.

        Returns:
            what it gives, in memory of its own.
        """
        key = name, tuple(None if one is None else (one.shape, one.stride(), one.dtype) for one in inputs)
        if key not in self._known and key not in self._met:  # what is drawn once is not worth recording
            self._met.add(key)
            return step(*inputs)
        with torch.inference_mode(False), torch.no_grad():  # else nobody but such callers could write to the places
            if key not in self._known:
                places = [None if one is None else one.clone() for one in inputs]
                self._known[key] = places, self._record(lambda: step(*places))
            places, recording = self._known[key]
            for place, one in zip(places, inputs, strict=True):
                if place is not None and one is not None:
                    place.copy_(one)
            recording.replay()
            return recording.output.clone()


def recordings(device: torch.device) -> Recordings | None:
    """Recordings for steps on this device; None where it gains nothing from them."""
    return Recordings(_Cuda(device)) if device.type == "cuda" else None


class _Graph:
    def __init__(self, graph: Any, output: Tensor) -> None:
        self._graph, self.output = graph, output

    def replay(self) -> None:
        with torch.cuda.device(self.output.device):
            self._graph.replay()


class _Cuda:
    """Records on one GPU. All recordings share their passing memory: they are replayed one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Tensor]) -> Recording:
        with torch.cuda.device(self._device):
            ours, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(ours)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    function()
            ours.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads may go on to use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
                output = function()
        return _Graph(graph, output)
