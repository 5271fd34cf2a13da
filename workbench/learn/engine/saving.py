"""The one writer of checkpoints, for TRL's trainers and PPO: no checkpoint of a base that has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.learn.engine import adapter, checkpoints

if TYPE_CHECKING:
    from workbench.learn.engine.work import Work


class FrozenWeightsChanged(RuntimeError):
    """Weights that must not change have: nothing that was learned on them can be used."""


def check_frozen(work: Work) -> None:
    """Raise FrozenWeightsChanged when a weight that is not trained differs from what was loaded."""
    if adapter.frozen_hash(work.peft) != work.frozen:
        raise FrozenWeightsChanged(
            "weights that should be frozen have changed, so nothing was saved from then on. "
            "Resume continues from the last checkpoint before that"
        )


def save_checkpoint(
    work: Work,
    step: int,
    tensors: dict[str, Tensor],
    state: dict[str, Any],
    more: Callable[[Path], None] | None = None,
) -> None:
    """Write checkpoints/step-`step` in the format of checkpoints.py, whole or not at all; `more` writes other files of it.

    Raises FrozenWeightsChanged, OSError and SafetensorError (a full disk).
    """
    check_frozen(work)

    def write(fresh: Path) -> None:
        adapter.save_adapter(work.peft, fresh / "adapter", work.config.model, work.write_beside)
        if more:
            more(fresh)

    state = {"trained_for": work.trained_for, "frozen": work.loaded} | state
    checkpoints.save(work.folder / "checkpoints", step, tensors, state, write)
