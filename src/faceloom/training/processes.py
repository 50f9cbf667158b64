"""Training in several processes that torchrun started, each on a share of every batch.

Gradients are averaged with `torch.distributed` after each backward pass, in one message a network, rather than by
`DistributedDataParallel`, whose hooks expect one forward pass of each network for one backward pass; a generator and a
discriminator that judge each other, with gradients of gradients, have several.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from faceloom.errors import TrainingError

_R = TypeVar("_R")
_PATIENCE = timedelta(hours=12)  # of those who wait while the first process finds faces


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is.

    Attributes:
        rank: from 0; the first alone writes files and says what happens.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many images of a batch are this process's.

        Raises:
            TrainingError: if they cannot be shared out evenly.
        """
        if batch % self.count:
            raise TrainingError(
                f"a batch of {batch} cannot be shared by {self.count} processes; choose another --batch"
            )
        return batch // self.count

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Make the gradients the mean over all processes."""
        if self.count > 1:
            self._average([one.grad for one in parameters if one.grad is not None])

    def average(self, *tensors: Tensor) -> None:
        """Make small float tensors the mean over all processes, in place."""
        if self.count > 1:
            self._average(list(tensors))

    def agree(self, module: torch.nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def of_first(self, numbers: list[float], device: torch.device) -> list[float]:
        """The numbers of the first process, in all of them."""
        if self.count == 1:
            return numbers
        # MPS knows no float64, but nor does it know several processes.
        told = torch.tensor(numbers, dtype=torch.float64, device=device)
        distributed.broadcast(told, 0)
        return [float(number) for number in told.tolist()]

    def in_turn(self, work: Callable[[], _R]) -> _R:
        """The outcome of some work that the first process does before the others, who may find what it left."""
        if self.count > 1 and not self.first:
            distributed.barrier()
        done = work()
        if self.count > 1 and self.first:
            distributed.barrier()
        return done

    def _average(self, tensors: list[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([one.reshape(-1) for one in tensors])
        distributed.all_reduce(flat)
        flat /= self.count
        pieces = torch.split(flat, [one.numel() for one in tensors])
        torch._foreach_copy_(tensors, [piece.view_as(one) for piece, one in zip(pieces, tensors, strict=True)])


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started beside this one; alone without torchrun.

    Returns:
        The processes, and the device of this one: of several CUDA devices, the one of its local rank.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    return Processes(distributed.get_rank(), count), device


def leave() -> None:
    """Part from the other processes, where there are any."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
