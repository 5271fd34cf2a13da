"""How fast this machine could be at best, so that a run can say what share of that it reaches.

Formulae (N base weights, all products of a forward pass are 2 N operations a token): reading a token takes 2 N, a LoRA
update 4 N (forward, and the way back to the activations alone), and a decoding step has to read all weights once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

PROBE = 2_048  # rows of the product that measures arithmetic
COPY = 8_000_000  # numbers of the copy that measures memory


@dataclass(frozen=True)
class Machine:
    """What was measured: operations per second in the format of the weights, bytes read or written per second."""

    operations: float
    bandwidth: float

    def decode(self, steps: int, tokens: int, weights: int, width: int) -> float:
        """Least seconds for `steps` steps that make `tokens` tokens with weights of `width` bytes each."""
        return max(steps * weights * width / self.bandwidth, 2 * weights * tokens / self.operations)

    def read(self, tokens: int, weights: int) -> float:
        """Least seconds of a forward pass over `tokens` tokens."""
        return 2 * weights * tokens / self.operations

    def learn(self, tokens: int, weights: int) -> float:
        """Least seconds of a forward and backward pass that leaves the base frozen."""
        return 4 * weights * tokens / self.operations


def probe(device: torch.device, dtype: torch.dtype, workers: int) -> Machine:
    """Measure for about 50 ms. On a CPU one core is measured and taken `workers` times."""
    a = torch.randn(PROBE, 512, device=device).to(dtype)
    b = torch.randn(512, 512, device=device).to(dtype)
    source = torch.zeros(COPY, device=device)
    target = torch.empty_like(source)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        product = _fastest(device, lambda: a @ b)
        copy = _fastest(device, lambda: target.copy_(source))
    finally:
        torch.set_num_threads(threads)
    times = workers if device.type == "cpu" else 1
    return Machine(times * 2 * PROBE * 512 * 512 / product, 2 * COPY * source.element_size() / copy)


def _fastest(device: torch.device, work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
