"""The job itself, `python -m workbench run FOLDER`: wait for its turn, load, train, measure, and tell of it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from workbench import disk
from workbench.jobs import card, control
from workbench.jobs.runs import Run, find_run, list_runs, read_run
from workbench.learn import data
from workbench.learn.engine.reporter import NotFinite, Reporter, Silent, disk_full
from workbench.learn.examples import NothingToLearn
from workbench.learn.run_files import RunResult
from workbench.memory import peak_mb
from workbench.processes import identity, locked, write_atomic, write_status


def main(folder: Path) -> int:
    """Run the job in `folder` to its end; the exit code is 0 for done or stopped, 1 for failed."""
    folder = folder.absolute()
    run = read_run(folder)
    if int(os.environ.get("RANK", "0")) > 0:
        _train(run, Silent(folder))
        return 0
    workspace = folder.parent.parent
    if not _claim(workspace, run):
        print(f"Run {run.number} is not waiting to be run: it is {run.state}.", file=sys.stderr)
        return 1
    _wait_for_turn(workspace, run.number)
    report = Reporter(folder)
    try:
        report.status(state="starting", message="Starting. First point in about 3 s.")
        result = RunResult.model_validate(_train(run, report))
        write_atomic(folder / "result.json", json.dumps(result.as_json(), indent=1))
        write_atomic(folder / "README.md", card.write(run.config, result))
    except Exception as error:
        report.close(state="failed", message=explain(run, report.get("step") or 0, error), peak_mb=peak_mb())
        with disk.fullness_tolerated():  # the log is on the same disk
            traceback.print_exc()
        return 1
    report.close(**_ending(report, result))
    return 0


def _claim(workspace: Path, run: Run) -> bool:
    """Become the one process of the run, unless another already is. Whoever started us has written our pid first."""
    with locked(workspace):
        run = find_run(workspace, run.number)
        pid, own_pid = run.status.pid, os.getpid()
        if pid != own_pid:
            if run.state == "done" or (pid is not None and identity(pid) == run.status.pid_start):
                return False
            queue = max([r.status.queue for r in list_runs(workspace) if r.active], default=0) + 1
            write_status(run.folder, state="waiting", pid=own_pid, pid_start=identity(own_pid), queue=queue)
        return True


def _wait_for_turn(workspace: Path, number: int) -> None:
    """One job at a time, in the order they were started."""
    last_write = 0.0
    while True:
        run = find_run(workspace, number)
        place = run.status.queue
        earlier = [r for r in list_runs(workspace) if r.active and 0 < r.status.queue < place]
        if not earlier:
            return
        if time.monotonic() - last_write > 1.0:
            last_write = time.monotonic()
            ahead = min(earlier, key=lambda r: r.status.queue)
            with disk.fullness_tolerated():  # it can wait without saying so
                write_status(
                    run.folder, state="waiting", message=control.waits_for(ahead), heartbeat=time.monotonic_ns()
                )
        time.sleep(0.2)


def _train(run: Run, report: Reporter) -> dict[str, Any]:
    from workbench.learn.engine.distributed import one_gpu
    from workbench.learn.engine.work import Work
    from workbench.learn.methods import method_module

    one_gpu()
    method = method_module(run.method)
    work = Work.open(run, report)
    result: dict[str, Any] = method.train(work)
    return result


def _ending(report: Reporter, result: RunResult) -> dict[str, Any]:
    step, steps = result.steps, report.get("steps")
    if step < steps:
        state, message = "stopped", f"Stopped at step {step}. The model at step {step} is saved."
    else:
        state, message = "done", f"Done in {result.seconds:.0f} s. See what changed."
    return {"state": state, "message": message, "step": step, "saved_step": step, "eta_s": 0, "peak_mb": peak_mb()}


NOT_FINITE_ADVICE = {
    "update": "Try a smaller learning rate than {learning_rate:g}.",
    "reward": "Make sure that the reward, {reward}, gives a finite number for every answer.",
    "model": "No setting causes this: {model} gives such numbers before any training. Its files may be damaged, or its weights "
    "need another number format.",
}


def explain(run: Run, step: int, error: Exception) -> str:
    """What happened, what is safe, what to do: for the page."""
    args, safety = run.config.args, "Nothing before it is lost."
    if disk.is_full(error):
        return disk_full(run.folder, step)
    if isinstance(error, NothingToLearn | data.ChangedStart | data.ChangedTokens):
        return f"Run {run.number} cannot train: {error}"
    if isinstance(error, NotFinite):
        cause, advice = str(error), NOT_FINITE_ADVICE[error.cause].format_map(args | {"model": run.config["model"]})
    elif isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error):
        half = (args.get("micro_batch") or 1) // 2
        smaller = f"Quick, or a micro_batch of {half}" if half else f"a max_tokens below {args['max_tokens']}"
        cause, advice = "out of memory", f"Try {smaller}."
    elif type(error).__module__.startswith("workbench."):  # written for people: what is wrong and what to do
        text = str(error).rstrip(".")
        return f"Run {run.number} stopped at step {step}: {text}. {safety}"
    else:
        cause, advice = f"{type(error).__name__}: {error}".splitlines()[0][:300], "See the log for details."
    return f"Run {run.number} stopped: {cause} at step {step}. {safety} {advice}"


def standby() -> int:
    """Import everything, then wait on standard input for the folder of a job; end when whoever asked has gone."""
    from workbench.learn.methods import warm

    warm()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 0  # the owner died or no longer needs us
    folder = Path(os.fsdecode(line.rstrip(b"\n")))
    with (folder / "log.txt").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return main(folder)
