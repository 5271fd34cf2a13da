"""What people do with runs that are there: name, note, star, delete, undo; where a run lies and how to repeat it.

Every function takes (context, payload) and returns plain JSON; static/runs.js and static/run_tools.js call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.jobs import labels, trash
from workbench.jobs.runs import Run, find_run
from workbench.models import origin
from workbench.ui import downloads
from workbench.ui.context import Context, Refused
from workbench.ui.payload import takes

NOT_YOURS = "Only the person who started this run sees where it lies and its command."


@takes("label_run", run=int, name=str | None, note=str | None, starred=bool | None)
def relabel(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Give a run a name, a note or a star; what is not sent stays."""
    run = labels.relabel(
        context.settings.workspace,
        payload["run"],
        name=payload.get("name"),
        note=payload.get("note"),
        starred=payload.get("starred"),
    )
    return {"run": run.number, "name": run.label.name, "note": run.label.note, "starred": run.label.starred}


@takes("delete_run", run=int)
def delete(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Move a run to the trash. Refused while it is active or another run needs it."""
    run = trash.delete(context.settings.workspace, payload["run"])
    return {"run": run.number, "title": run.title}


@takes("restore_run", run=int)
def restore(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Bring a deleted run back."""
    run = trash.restore(context.settings.workspace, payload["run"])
    return {"run": run.number, "title": run.title}


@takes("run_command", run=int)
def about(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Where a run lies and the command that repeats it, for those who may know; and what can be downloaded of it."""
    try:
        run = find_run(context.settings.workspace, payload["run"])
    except ValueError as error:
        raise Refused(f"There is no run {payload['run']}.") from error
    is_owner = context.owns(run.config.started_by, payload.get("rater"))
    return {  # no key "path": gradio's Python client takes such an object for a file, and fetches it
        "folder": str(run.folder) if is_owner else None,
        "command": run.config.command if is_owner else None,
        "reason": "" if is_owner else NOT_YOURS,
        "files": downloads.links(run),
    }


def base_row(runs: Sequence[Run], model: str) -> dict[str, str | float | None]:
    """The base as the table of runs shows it: its figure as the newest run of this model measured it, in that run's kind."""
    for run in (run for run in runs if origin.same(run.config, model)):
        if run.result and (gold := run.result.figure("base_gold")):
            text = f"{gold.value:.2f} ({gold.low:.2f} to {gold.high:.2f})"
            return {
                "result": text,
                "note": f"Gold score, n {gold.n} held-out answers",
                "figure": "gold",
                "value": gold.value,
            }
        if run.config.parent is None and (loss := run.start.figure("heldout_loss")):
            text = f"held-out loss {loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f}), n {loss.n}"
            return {
                "result": text,
                "note": f"Measured by run {run.number}",
                "figure": "heldout_loss",
                "value": -loss.value,
            }
    return {"result": "–", "note": "Not measured yet", "figure": "", "value": None}


def deleted(context: Context) -> list[dict[str, Any]]:
    """The runs that can be brought back, by number and folder, newest first."""
    return [{"run": int(f.name[:4]), "folder": f.name} for f in trash.deleted(context.settings.workspace)]
