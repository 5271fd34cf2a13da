"""The model: a frozen base with its adapters, how it answers, and the forward passes it answers and trains with.

The base is in base.py and is what this package offers under its own name; the rest is imported by module.
"""

from workbench.models.base import (
    AdapterChoice,
    Model,
    Turns,
    config,
    context,
    load,
    loaded,
    progress,
    shared,
    tokenizer,
)
from workbench.models.checkpoint import available, check_consent, needs_own_code
from workbench.models.errors import ModelError

__all__ = [
    "AdapterChoice",
    "Model",
    "ModelError",
    "Turns",
    "available",
    "check_consent",
    "config",
    "context",
    "load",
    "loaded",
    "needs_own_code",
    "progress",
    "shared",
    "tokenizer",
]
