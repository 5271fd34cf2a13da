"""What people call their runs: name, note and star, in label.json of the run's folder. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.jobs.runs import Run, find_run
from workbench.learn.run_files import RunLabel
from workbench.processes import locked, write_atomic

LONGEST_NAME, LONGEST_NOTE = 60, 4000  # characters


def relabel(
    workspace: Path, number: int, name: str | None = None, note: str | None = None, starred: bool | None = None
) -> Run:
    """Give a run a name, a note or a star; what is None stays. An empty name takes it away.

    Raises ValueError for a run that is not there and for a text that is too long, SpoiledFile for a label that cannot
    be read.
    """
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = _checked(" ".join(name.split()), "A name", LONGEST_NAME)
    if note is not None:
        changes["note"] = _checked(note.strip(), "A note", LONGEST_NOTE)
    if starred is not None:
        changes["starred"] = starred
    find_run(workspace, number)  # before anything is written into a workspace that may not exist
    with locked(workspace):
        run = find_run(workspace, number)
        label = RunLabel.model_validate(run.label.as_json() | changes)
        write_atomic(run.folder / "label.json", json.dumps(label.as_json(), ensure_ascii=False))
        return find_run(workspace, number)


def _checked(text: str, what: str, longest: int) -> str:
    if len(text) > longest:
        raise ValueError(f"{what} has at most {longest:,} characters; this one has {len(text):,}. Shorten it.")
    return text
