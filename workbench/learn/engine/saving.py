"""The one writer of checkpoints, for TRL's trainers and PPO: no checkpoint of a base that has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file
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
            "weights that should be frozen have changed, so nothing is saved from there on. "
            "Resume goes on from the last checkpoint before that"
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
    folder = work.folder / "checkpoints"
    fresh = folder / f".step-{step}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        adapter.save_adapter(work.peft, fresh / "adapter", work.config["model"], work.beside)
        save_file({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, fresh / "optimizer.safetensors")
        state = {"step": step, "trained_for": work.trained_for, "frozen": work.loaded} | state
        (fresh / "state.json").write_text(json.dumps(state, default=_plain), "utf-8")
        if more:
            more(fresh)
        checkpoints.seal(fresh, folder / f"step-{step}")
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # half a checkpoint only fills the disk
        raise


def _plain(value: Any) -> Any:
    return value.item()  # numpy and torch numbers
