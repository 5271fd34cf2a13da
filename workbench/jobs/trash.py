"""Deleting runs: a deleted run's folder moves to runs/.trash and comes back by `restore`. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from workbench.jobs.runs import TRASH, Run, find_run, list_runs
from workbench.learn.rewards import sources
from workbench.learn.rewards.python_file import RewardError
from workbench.processes import locked

NAMED = 5  # dependents named in one sentence


def delete(workspace: Path, number: int) -> Run:
    """Move a run to the trash; the run as it was is returned. Raises ValueError when it runs or others depend on it."""
    find_run(workspace, number)
    with locked(workspace):
        run = find_run(workspace, number)
        if obstacle := _obstacle(run, list_runs(workspace)):
            raise ValueError(obstacle)
        target = _trash(workspace) / run.folder.name
        if target.exists():
            raise ValueError(f"There is another deleted run {number} in {target.parent}. Move it away first.")
        target.parent.mkdir(exist_ok=True)
        run.folder.rename(target)
        return run


def restore(workspace: Path, number: int) -> Run:
    """Bring a deleted run back. Raises ValueError when it is not in the trash or its number is taken."""
    folder = next((f for f in deleted(workspace) if int(f.name[:4]) == number), None)
    if folder is None:
        raise ValueError(f"There is no deleted run {number}.")
    with locked(workspace):
        if next((workspace / "runs").glob(f"{number:04d}-*"), None) is not None:
            raise ValueError(f"There is a run {number} already, so the deleted one cannot come back.")
        folder.rename(workspace / "runs" / folder.name)
        return find_run(workspace, number)


def deleted(workspace: Path) -> list[Path]:
    """The folders of the runs that can come back, newest first."""
    folders = [f for f in _trash(workspace).glob("[0-9][0-9][0-9][0-9]*-*") if (f / "config.json").is_file()]
    return sorted(folders, reverse=True)


def empty(workspace: Path) -> int:
    """Delete for good what is in the trash; how many runs that were.

    Their empty folders stay, so that no number is given twice: answers and votes name runs by number.
    """
    folders = deleted(workspace)
    if folders:
        with locked(workspace):
            for folder in folders:
                (folder / "config.json").unlink()  # first: what is half deleted does not come back
                shutil.rmtree(folder)
                folder.mkdir()
    return len(folders)


def _trash(workspace: Path) -> Path:
    return workspace / "runs" / TRASH


def _obstacle(run: Run, runs: Sequence[Run]) -> str | None:
    """Why a run cannot be deleted, and what to do; None when it can."""
    if run.active:
        return f"Run {run.number} is {run.state}. Stop it first, then delete it."
    reasons = []
    for other in runs:
        if other.config.parent == run.number:
            reasons.append(f"run {other.number} starts from it")
        elif run.number in _reward_runs(other):
            reasons.append(f"run {other.number} takes its reward from it")
    if not reasons:
        return None
    rest = len(reasons) - NAMED
    names = [*reasons[:NAMED], *([f"{rest} more need it"] if rest > 0 else [])]
    listing = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"Run {run.number} is not deleted, because {listing}. Delete {'that run' if len(reasons) == 1 else 'those'} first."


def _reward_runs(run: Run) -> set[int]:
    """The runs whose model scores this run's answers."""
    try:
        terms = sources.parse(str(run.config.args.get("reward") or ""))
    except RewardError:  # it has none, or none that names a run
        return set()
    return {int(term.what) for term in terms if term.kind == "run"}
