"""CUDA graphs: the kernels of a step, recorded once and from then on launched as one.

A block is some thirty kernels, and a GPU finishes most of them sooner than the host can ask for the next. What is
recorded reads and writes the same memory each time: the output of a step is good until the step is done again, and a
step that follows it reads it where it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

_WARM_UPS = 3
"""Calls before a recording: in the first, libraries choose their algorithms, and what weights give is derived."""
_recording = threading.Lock()
"""PyTorch records one graph at a time in a process."""
_log = logging.getLogger(__name__)


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

    Steps are done in turns, all on the same stream. A device that fails to record one draws as if there were no
    recordings from then on, and says so in the log.

    Args:
        record: how.
    """

    def __init__(self, record: Record) -> None:
        self._record: Record | None = record
        self._met: set[Hashable] = set()
        self._known: dict[Hashable, tuple[list[Tensor | None], Recording]] = {}

    def run(self, name: Hashable, step: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """step(*inputs).

        Args:
            name: what tells this step from others; it must always do the same with the same inputs.
            step: whose kernels depend on nothing but shapes, and which does not wait for the device.
            inputs: in the order of its arguments, on the device; None stays None.

        Returns:
            what it gives, which may be written over when the step of this name is run again.
        """
        key = name, tuple(None if one is None else (one.shape, one.stride(), one.dtype) for one in inputs)
        if key not in self._known and (key not in self._met or self._record is None):
            self._met.add(key)  # what is drawn once is not worth recording
            return step(*inputs)
        with torch.inference_mode(False), torch.no_grad():  # else nobody but such callers could write to the places
            if key not in self._known and not self._added(key, step, inputs):
                return step(*inputs)
            places, recording = self._known[key]
            for place, one in zip(places, inputs, strict=True):
                if place is not None and one is not None and place is not one:
                    place.copy_(one)
            recording.replay()
            return recording.output

    def _added(self, key: Hashable, step: Callable[..., Tensor], inputs: tuple[Tensor | None, ...]) -> bool:
        assert self._record is not None
        outputs = {id(recording.output) for _, recording in self._known.values()}
        places = [None if one is None else one if id(one) in outputs else one.clone() for one in inputs]
        try:
            with _recording:
                self._known[key] = places, self._record(lambda: step(*places))
        except RuntimeError as error:
            _log.warning("this device cannot record what it draws, and goes on kernel by kernel: %s", error)
            self._record = None
        return key in self._known


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
    """Records on one GPU. Recordings share their passing memory: they are replayed one after the other."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # memory is shared within a stream

    def __call__(self, function: Callable[[], Tensor]) -> Recording:
        ours = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device):
            try:
                self._side.wait_stream(ours)
                with torch.cuda.stream(self._side):
                    for _ in range(_WARM_UPS):
                        function()
                ours.wait_stream(self._side)
                graph = torch.cuda.CUDAGraph()
                # Other threads may compute meanwhile, as long as none of them waits for the whole device.
                with torch.cuda.graph(graph, self._pool, self._side, "thread_local"):
                    output = function()
            finally:
                torch.cuda.set_stream(ours)  # a recording that failed may have left the other one
        return _Graph(graph, output)
