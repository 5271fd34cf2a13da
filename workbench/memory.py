"""Memory of this process and this machine: the most held, what is free, and giving it back. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from workbench import settings

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


RECOMPUTED_ABOVE = 300_000_000  # weights; below, recomputing costs more than the memory is worth


def recomputes(weights: int, on_gpu: bool) -> bool:
    """Whether training with TRL forgets a layer's activations and computes them again for the backward pass."""
    return on_gpu and weights > RECOMPUTED_ABOVE


def peak_mb() -> float:
    """The most memory this process has held, in MB; with a GPU, the most held there.

    On Linux from /proc: `ru_maxrss` begins with what the process held that started this one (getrusage(2) counts across
    execve), so that a job would be charged with the page's model.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        reserved: int = torch.cuda.max_memory_reserved()
        return round(reserved / 2**20, 1)
    status = Path("/proc/self/status")
    if status.is_file():
        peak_line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if peak_line is not None:
            return round(int(peak_line.split()[1]) / 1024, 1)
    if resource is None:  # Windows keeps the peak in its own accounting
        import psutil

        peak_wset: int = psutil.Process().memory_info().peak_wset
        return round(peak_wset / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 1024), 1)  # macOS counts bytes, Linux kilobytes


def give_memory_back() -> None:
    """Return freed memory to the system. glibc keeps it, in pieces too small for the next batch: see docs/log.md."""
    if os.name != "posix":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have no such call, nor the need
    if trim is not None:
        trim(0)


def available_mb() -> float:
    """Memory a job could use, in MB: the GPU's free memory, else the machine's or the container's."""
    gpu = settings.graphics()
    if gpu:
        return float(gpu.free_mb)
    import psutil

    limits: list[float] = [psutil.virtual_memory().available / 2**20]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(file)
        if path.is_file() and os.access(path, os.R_OK):
            text = path.read_text().strip()
            if text.isdigit():
                limits.append(int(text) / 2**20)
    return min(limits)
