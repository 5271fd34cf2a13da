"""Training jobs: start, stop, resume and watch them. A job is a process of its own that outlives page and app.

It is `python -m workbench run FOLDER`; whatever is to be known about it lies in plain files in its run folder.
Imports no torch.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import disk
from workbench.jobs.prepare import prepare_run
from workbench.jobs.runs import Run, find_run, list_runs, reread, rescue
from workbench.learn.catalogue import TrainArgs
from workbench.models import origin
from workbench.processes import end_process, identity, locked, popen, standby, write_atomic, write_status
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.store import Store


def launch(
    settings: Settings, store: Store, method: str, args: TrainArgs, start_from: int | None = None, **options: Any
) -> Run:
    """Prepare a run, with the options of `prepare_run`, and start it. The same asked for twice within two seconds (a
    double click) gives one run."""
    run = prepare_run(settings, store, method, args, start_from, **options)
    try:
        return start(settings, run)
    except OSError as error:
        if disk.is_full(error):  # it has not begun, and whoever asked is told
            shutil.rmtree(run.folder, ignore_errors=True)
        raise


# Starting and stopping


def start(settings: Settings, run: Run) -> Run:
    """Start a prepared run, or let it wait its turn. A run that was started already is left alone."""
    with locked(settings.workspace):
        run = find_run(settings.workspace, run.number)
        if run.status.pid is not None or not run.active:
            return run
        return _spawn(settings, run)


def resume(settings: Settings, run: Run) -> Run:
    """Go on from the newest intact checkpoint. Raises ValueError for a finished run; an active one is left alone."""
    with locked(settings.workspace):
        run = find_run(settings.workspace, run.number)
        if run.active:
            return run
        if not run.resumable:
            raise ValueError(f"Run {run.number} is finished; there is nothing to resume.")
        if mismatch := origin.difference(run.config, run.config["model"]):
            raise ValueError(f"Run {run.number} {mismatch}, so it cannot resume. Start a new run.")
        (run.folder / "stop").unlink(missing_ok=True)
        write_status(run.folder, state="waiting", pid=None, pid_start=None, heartbeat=None, message="", last_lines="")
        return _spawn(settings, find_run(settings.workspace, run.number))


def _spawn(settings: Settings, run: Run) -> Run:
    others = [r for r in list_runs(settings.workspace) if r.active and r.number != run.number]
    queue = max([r.status.queue for r in others], default=0) + 1
    process = None if others else standby.take()
    from_standby = process is not None
    if process is None:
        with (run.folder / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "workbench", "run", str(run.folder)]
            process = popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    ahead = min(others, key=lambda r: r.status.queue, default=None)
    try:
        write_status(
            run.folder,
            state="waiting" if others else "starting",
            pid=process.pid,
            pid_start=identity(process.pid),
            queue=queue,
            message=waits_for(ahead) if ahead else "Starting. First point in about 3 s.",
        )
    except OSError:  # a full disk, say: nobody would know of it
        process.kill()
        process.wait()
        raise
    if from_standby:
        standby.give(process, run.folder)
    else:
        threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
    return find_run(settings.workspace, run.number)


def waits_for(ahead: Run) -> str:
    eta = ahead.status.eta_s
    return f"Waits for run {ahead.number}" + (f", about {eta:.0f} s." if eta is not None else ".")


def stop(settings: Settings, run: Run, save: bool = False) -> Run:
    """Stop a run: with `save` it ends after its step and keeps that model, else it is ended now.

    Without `save` the model of the last checkpoint stays. Other people's processes are never touched: ours is known
    by pid and time of birth.
    """
    with locked(settings.workspace):
        run = find_run(settings.workspace, run.number)
        if not run.active:
            return run
        if save and run.state == "running":
            write_atomic(run.folder / "stop", "save")
            return run
        if run.status.pid is not None:
            end_process(run.status.pid, str(run.status.pid_start))
        run = reread(run)
        if not run.active:  # it came to its end by itself meanwhile
            return run
        step, saved_step = run.status.step, rescue(run.folder)
        outcome = f"The model at step {saved_step} is saved." if saved_step is not None else "No model was saved yet."
        write_status(run.folder, state="stopped", saved_step=saved_step, message=f"Stopped at step {step}. {outcome}")
        return find_run(settings.workspace, run.number)


def wait(workspace: Path, number: int, poll: float = 0.2) -> Run:
    """Return the run once it has ended."""
    while (run := find_run(workspace, number)).active:
        time.sleep(poll)
    return run
