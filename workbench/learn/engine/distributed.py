"""One process or several that share a batch, as `torchrun` starts them. Every process holds the same weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from workbench.learn.catalogue import SettingError


def one_gpu() -> None:
    """Let this process see one GPU of several: Trainer would spread every batch over all, and so multiply it.

    To be called before CUDA is used. Processes that torchrun started take the GPUs in turn.
    """
    n = torch.cuda.device_count()
    if n > 1:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(n)))
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.split(",")[int(os.environ.get("LOCAL_RANK", "0")) % n]


class ProcessGroup:
    """This process's `rank` among `size`. With a size of 1 every call gives back what it got."""

    def __init__(self, waiting: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Join the processes that torchrun started, if it did. Raises RuntimeError when fewer came than were asked for.

        `waiting()` is entered while this process waits for the others.
        """
        self.waiting = waiting
        expected = int(os.environ.get("WORLD_SIZE", "1"))
        if expected > 1 and not dist.is_initialized():
            # gloo takes tensors of CPU and GPU alike, and several processes on one GPU. A hang is the watchdog's to end:
            # the others wait as long as the first one evaluates
            dist.init_process_group("gloo", timeout=timedelta(days=7))
        distributed = dist.is_initialized() and expected > 1
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
        # a launcher can start one process while several were asked for, and nothing would tell
        if self.size != expected:
            raise RuntimeError(f"{expected} processes were requested, but {self.size} started")

    def leave(self) -> None:
        """Wait for all and part: a process that just ends while the others are connected to it may abort."""
        if self.size > 1:
            with self.waiting():
                dist.barrier()
            dist.destroy_process_group()

    def share(self, n: int) -> range:
        """Which of `n` rows are this process's. Raises SettingError when they cannot be shared evenly."""
        if n % self.size:
            raise SettingError("batch_size", n, f"must be a multiple of the {self.size} processes")
        each = n // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over all processes, in the same order of addition everywhere."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with self.waiting():
            dist.all_reduce(flat)
        return [
            part.view_as(t) for part, t in zip(torch.split(flat, [t.numel() for t in tensors]), tensors, strict=True)
        ]

    def rows(self, matrix: Tensor) -> Tensor:
        """All processes' rows, in order of rank; a [rows, T] matrix is padded with 0 to the longest T of all."""
        if self.size == 1:
            return matrix
        if matrix.dim() == 2:
            longest = int(self.greatest(matrix.shape[1]))
            matrix = torch.nn.functional.pad(matrix, (0, longest - matrix.shape[1]))
        parts = [torch.empty_like(matrix) for _ in range(self.size)]
        with self.waiting():
            dist.all_gather(parts, matrix.contiguous())
        return torch.cat(parts)

    def own(self, matrix: Tensor, like: Tensor) -> Tensor:
        """What `rows` has put together taken apart again: this process's rows of `matrix`, as wide as `like`."""
        rows = self.share(len(matrix))
        return matrix[rows.start : rows.stop, : like.shape[1]]

    def greatest(self, value: float) -> float:
        """The greatest of all processes' values."""
        if self.size == 1:
            return value
        maximum = torch.tensor(float(value), dtype=torch.float64)
        with self.waiting():
            dist.all_reduce(maximum, dist.ReduceOp.MAX)
        return float(maximum)

    def least(self, value: float) -> float:
        """The least of all processes' values."""
        return -self.greatest(-value)
