"""The files of a reward model beside its adapter, by name, and where they lie."""

from __future__ import annotations

from pathlib import Path

from workbench.models import ModelError

HEAD = "score_head.safetensors"


STEP_HEAD = "step_head.safetensors"  # a process reward's


SCALE = "score.json"


def adapter_folder(run_folder: Path, heads: tuple[str, ...] = (HEAD, STEP_HEAD)) -> Path:
    """Where the files of a reward model with one of these heads lie. Raises ModelError when the folder holds none."""
    for folder in (run_folder / "adapter", run_folder):
        if (folder / SCALE).is_file() and any((folder / head).is_file() for head in heads):
            return folder
    raise ModelError(
        f"{run_folder} holds no reward model: there is no {' or '.join(heads)} in it. "
        "Train one first: python -m workbench train reward"
    )
