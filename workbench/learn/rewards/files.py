"""The files of a reward model beside its adapter, by name, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.collect.steps import SPLITS
from workbench.learn.run_files import Scale, SpoiledFile, read
from workbench.models import ModelError
from workbench.models.checkpoint import check_whole

HEAD = "score_head.safetensors"
STEP_HEAD = "step_head.safetensors"  # a process reward's
SCALE = "score.json"


def scale_of(folder: Path) -> Scale:
    """What score.json says. Raises ModelError naming the file when it cannot be read."""
    try:
        scale = read(Scale, folder / SCALE)
    except SpoiledFile as spoiled:
        raise ModelError(f"{folder / SCALE} cannot be used: {spoiled.why}") from None
    if scale is None or scale.std <= 0 or scale.split not in (None, *SPLITS):
        raise ModelError(f"{folder / SCALE} cannot be used: std must be above 0, and split one of {', '.join(SPLITS)}")
    return scale


def read_head(file: Path) -> dict[str, Any]:
    """The tensors of a head by name, on the CPU. Raises ModelError for a damaged file."""
    from safetensors.torch import load_file

    check_whole(file, str(file.parent))
    return load_file(file)


def adapter_folder(run_folder: Path, heads: tuple[str, ...] = (HEAD, STEP_HEAD)) -> Path:
    """Where the files of a reward model with one of these heads lie. Raises ModelError when the folder holds none."""
    for folder in (run_folder / "adapter", run_folder):
        if (folder / SCALE).is_file() and any((folder / head).is_file() for head in heads):
            return folder
    raise ModelError(
        f"{run_folder} holds no reward model: there is no {' or '.join(heads)} in it. "
        "Train one first: python -m workbench train reward"
    )
