"""The command `runs`: list them, name them, star them, delete them and bring them back."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from workbench.cli.shared import Args, settings_of
from workbench.records import how_many

if TYPE_CHECKING:
    from pathlib import Path

    from workbench.jobs.runs import Run


def runs_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.add_argument("--starred", action="store_true", help="list only starred runs")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--name", nargs=2, metavar=("RUN", "NAME"), help='give a run a name; "" takes it away')
    act.add_argument("--note", nargs=2, metavar=("RUN", "TEXT"), help='write a note on a run; "" takes it away')
    act.add_argument("--star", type=int, metavar="RUN", help="star a run")
    act.add_argument("--unstar", type=int, metavar="RUN", help="take the star away")
    act.add_argument("--delete", type=int, metavar="RUN", help="move a run to the trash")
    act.add_argument("--restore", type=int, metavar="RUN", help="bring a deleted run back")
    act.add_argument("--empty-trash", action="store_true", help="delete for good what is in the trash")


def runs(args: Args) -> int:
    """List the runs, newest first, or name, star, delete or restore one."""
    workspace = settings_of(args).workspace
    if (done := _act(args, workspace)) is not None:
        print(done)
        return 0
    from workbench.jobs.runs import read_runs

    listing, faults = read_runs(workspace)
    for fault in faults:
        print(fault, file=sys.stderr)
    listing = [run for run in listing if run.label.starred or not args.starred]
    if args.json:
        print(json.dumps([_as_json(run) for run in listing]))
        return 0
    if not listing:
        print("No starred runs." if args.starred else "No runs yet.")
    for run in listing:
        print(_line(run))
    return 0


def _act(args: Args, workspace: Path) -> str | None:
    """What was done, in words; None when the runs are only to be listed."""
    from workbench.jobs import trash
    from workbench.jobs.labels import relabel

    if args.name:
        return f"{relabel(workspace, _number(args.name[0]), name=args.name[1]).title}"
    if args.note:
        run = relabel(workspace, _number(args.note[0]), note=args.note[1])
        return f"{run.title}: {run.label.note or 'no note'}"
    for number, starred in ((args.star, True), (args.unstar, False)):
        if number is not None:
            return f"{relabel(workspace, number, starred=starred).title}: {'starred' if starred else 'not starred'}"
    if args.delete is not None:
        run = trash.delete(workspace, args.delete)
        return f"{run.title} is deleted. To bring it back: --restore {run.number}"
    if args.restore is not None:
        return f"{trash.restore(workspace, args.restore).title} is back."
    if args.empty_trash:
        return f"Deleted {how_many(trash.empty(workspace), 'runs')} for good."
    return None


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a run number")
    return int(text)


def _as_json(run: Run) -> dict[str, object]:
    result = run.result.as_json() if run.result else None
    label = {"name": run.label.name, "note": run.label.note, "starred": run.label.starred}
    return {"number": run.number, "state": run.state, **label, "config": run.config.as_json(), "result": result}


def _line(run: Run) -> str:
    figure = run.result.figure("gold") if run.result else None
    outcome = f"gold {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})" if figure else run.status.message
    data = how_many(run.config.data.n, run.config.data.unit)
    star = "★" if run.label.starred else " "
    name = f"  {run.label.name}" if run.label.name else ""
    return f"{star}{run.number:4}  {run.method:6} {run.config.preset:13} {data:14} {run.state:12} {outcome}{name}"
