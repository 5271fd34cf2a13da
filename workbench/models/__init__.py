"""The model: a frozen base with its adapters, how it answers, and the forward passes it answers and trains with.

The base is in base.py and is what this package offers under its own name; the rest is imported by module.
"""

from workbench.models.base import (
    Model,
    ModelError,
    Turns,
    available,
    load,
    loaded,
    progress,
    shared,
    tokenizer,
)

__all__ = ["Model", "ModelError", "Turns", "available", "load", "loaded", "progress", "shared", "tokenizer"]
