"""The methods, a file each, with `train(work) -> result`."""

from __future__ import annotations

import importlib
from typing import Any

from workbench import settings
from workbench.learn.catalogue import METHODS


def method_module(name: str) -> Any:
    """The file of a method by the method's name."""
    return importlib.import_module(f"workbench.learn.methods.{name}")


def warm() -> None:
    """Import all that a job needs, so that it can begin at once."""
    import torch

    for name in METHODS:
        method_module(name)
    torch.set_num_threads(settings.threads().value)
