"""Checkpoint folders: sealed with a manifest, checked before use, never a pickle. Imports no torch.

checkpoints/step-20/
  adapter/                adapter_config.json, adapter_model.safetensors
  optimizer.safetensors   the optimizer's tensors
  state.json              step, learning-rate schedule, random numbers
  manifest.json           size and hash of every file above, written last
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

KEEP = 3
OPTIMIZER, STATE = "optimizer.safetensors", "state.json"
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def save(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], write: Callable[[Path], None]
) -> Path:
    """Keep the checkpoint of `step` in `folder`; `write` puts the adapter, and what else belongs there, into the new one.

    `state` is plain JSON with the "step"; numbers of numpy and torch are taken, too.
    """
    from safetensors.torch import save_file

    fresh, final = folder / f".step-{step}.new", folder / f"step-{step}"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        write(fresh)
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, fresh / OPTIMIZER)
        (fresh / STATE).write_text(json.dumps({"step": step, **state}, default=lambda number: number.item()), "utf-8")
        seal(fresh, final)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # half a checkpoint only fills the disk
        raise
    return final


def seal(fresh: Path, final: Path) -> None:
    """Make the finished folder `fresh` the checkpoint `final`, all at once and safe from a power cut."""
    files = [f for f in sorted(fresh.rglob("*")) if f.is_file()]
    manifest = {f.relative_to(fresh).as_posix(): [f.stat().st_size, _hash(f)] for f in files}
    (fresh / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    for file in [*files, fresh / "manifest.json"]:
        with file.open("rb+") as f:  # Windows flushes only what may be written
            os.fsync(f.fileno())
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    for old in sorted(final.parent.glob("step-*"), key=step_of)[:-KEEP]:
        shutil.rmtree(old)


def newest(folder: Path, frozen: str = "") -> tuple[Path | None, list[str]]:
    """The newest intact checkpoint, and a notice for each newer one that was passed over.

    `frozen` is the hash of the frozen weights as they were loaded; a checkpoint that was made on others is not used.
    """
    notices: list[str] = []
    for checkpoint in sorted(folder.glob("step-*"), key=step_of, reverse=True):
        fault = damage(checkpoint) or _other_base(checkpoint, frozen)
        if fault is None:
            return checkpoint, notices
        notices.append(f"The checkpoint of step {step_of(checkpoint)} is not used: {fault}.")
    return None, notices


def _other_base(folder: Path, frozen: str) -> str | None:
    """Older checkpoints do not say on what they were made. Two number formats, as of a CPU and a GPU, are not compared."""
    saved_hash = json.loads((folder / "state.json").read_text("utf-8")).get("frozen", "")
    if saved_hash and frozen and saved_hash != frozen and saved_hash.partition(":")[0] == frozen.partition(":")[0]:
        return "the frozen weights of the model differed from those that were loaded"
    return None


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, None when every file is as it was written."""
    pickled = next((f.name for f in folder.rglob("*") if f.suffix in PICKLES), None)
    if pickled:
        return f"{pickled} is a pickle, which can run code when opened"
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "manifest.json is missing or torn"
    for name, (size, digest) in manifest.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} of {size} bytes"
        if _hash(file) != digest:
            return f"{name} has changed since it was written"
    return None


def _hash(file: Path) -> str:
    digest = blake2b(digest_size=16)
    with file.open("rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
