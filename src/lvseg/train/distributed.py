"""Distributed training: the processes that ``torchrun`` started, or one alone.

All processes draw the same global batches from the same generator and each works on its share;
the gradients are averaged so that the step is that of the global batch. The first process writes.
All must see the same run folder, or ``--resume`` finds nothing on the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
from torch import Tensor, nn

from lvseg.errors import UsageError

Device = Literal["auto", "cpu", "cuda"]
#: The others wait for the first process while it validates and writes.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Distributed:
    """The processes of a run; ``rank`` is ours, from 0 to ``size`` - 1, on ``device``."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Our part of a global batch; the parts are contiguous, in order and cover it.

        >>> [Distributed(rank, 2, torch.device("cpu")).share(5) for rank in (0, 1)]
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module to call in training: averages gradients over the processes in backward.

        On CUDA, batch normalisation then uses the statistics of the global batch. On a CPU torch
        has no such thing: there each process normalises by its own share, and the running
        statistics kept are those of the first.
        """
        if self.size == 1:
            return network
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def sync_batchnorm(self, network: nn.Module) -> nn.Module:
        """The network with batch normalisation over all processes, where torch has it."""
        if self.size == 1 or self.device.type != "cuda":
            return network
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(network)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor over the processes."""
        if self.size > 1:
            values = values.to(self.device)
            torch.distributed.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            self.all_reduce_sum(torch.zeros(1))


def pick_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """``auto`` is the CUDA device of this process if there is one, else the CPU.

    :raises UsageError: ``cuda`` where torch finds none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UsageError("expected a CUDA device, torch finds none: use --device cpu or auto")
    if wanted == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", local_rank)


@contextmanager
def process_group(wanted: Device) -> Iterator[Distributed]:
    """Join the processes that torchrun started; without torchrun this process is alone.

    :raises UsageError: see :func:`pick_device`.
    """
    started = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    size = int(os.environ["WORLD_SIZE"]) if started else 1
    device = pick_device(wanted, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Distributed(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Distributed(torch.distributed.get_rank(), size, device)
    finally:
        torch.distributed.destroy_process_group()
