"""An Apple GPU as far as its number formats go, simulated on any machine: tensors off the CPU that refuse float64.

Where torch is built without Apple's GPU it does not let a tensor say "mps", so these say "meta".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

GPU, CPU = torch.device("meta"), torch.device("cpu")


class Held(torch.Tensor):
    """A tensor on the simulated GPU; `inner` lies on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Held:
        if inner.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        assert inner.device == CPU, f"made on {inner.device}"
        held = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=GPU, requires_grad=False
        )
        held.inner = inner
        return held

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert mps:0 device type tensor to numpy")


@contextmanager
def simulated() -> Iterator[None]:
    """Within it tensors can be made on the simulated GPU and moved there and back."""
    with Moved():
        yield


class Moved(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU, and its result where it belongs: where it was asked for, else where the input lies."""
    lie: set[str] = set()
    devices: list[str] = []

    def inside(x: Any) -> Any:
        if isinstance(x, torch.device):
            devices.append(x.type)
            return CPU
        if isinstance(x, torch.Tensor) and x.ndim:  # a single number may go along with any tensor
            lie.add(x.device.type)
        return x.inner if isinstance(x, Held) else x

    args, kwargs = tree_map(inside, args), tree_map(inside, kwargs)
    if len(lie) > 1 and not devices and not any(word in function.__name__ for word in ("copy", "index")):
        raise RuntimeError(f"{function}: tensors on the CPU and on the GPU at once")
    where = devices[-1] if devices else GPU.type if GPU.type in lie else CPU.type
    result = function(*args, **kwargs)
    return tree_map(lambda x: Held(x) if isinstance(x, torch.Tensor) and where == GPU.type else x, result)


def move(model: Any) -> None:
    """Put a loaded model on the simulated GPU."""
    for module in model.hf.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    held = Held(tensor.detach())
                    own[name] = torch.nn.Parameter(held, requires_grad=False) if own is module._parameters else held
    model.device = GPU
