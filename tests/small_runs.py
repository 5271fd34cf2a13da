"""A workspace with a model of a few thousand weights, some answers and some choices, for tests that train for real."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests import tiny_model
from workbench import settings
from workbench.jobs import control, prepare
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import METHODS, parse
from workbench.records import Response
from workbench.store import Store

SMALL = {
    "steps": 8,
    "batch_size": 4,
    "max_new_tokens": 8,
    "live_prompts": 4,
    "evaluate_every": 4,
    "checkpoint_every": 2,
    "learning_rate": 0.003,
}


def small(method: str) -> dict[str, Any]:
    """Those of SMALL that the method has."""
    return {f.name: SMALL[f.name] for f in fields(METHODS[method].args) if f.name in SMALL}


def workspace(folder: Path, n: int = 30) -> tuple[settings.Settings, Store]:
    """Settings for a new workspace with `n` demonstrations and `n` comparisons, and its open store."""
    base = folder.parent / f"{folder.name}-model"
    if not base.exists():
        tiny_model.base(base)
    made = settings.load(folder, model=str(base), command_line=True)
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(made.database)
    for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(n)], "person"):
        store.add_demonstration(prompt.id, f"It is {2 * prompt.id}.", "me")
        good, bad = store.add_responses([Response(0, prompt.id, text, "tiny") for text in ("Yes, so it is.", "no!")])
        store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")
    return made, store


def launch(made: settings.Settings, store: Store, method: str = "sft", start_from: int | None = None, **changes) -> Run:
    return control.launch(made, store, method, parse(method, small(method) | changes), start_from)


@contextmanager
def opened(
    made: settings.Settings, store: Store, method: str, start_from: int | None = None, **changes
) -> Iterator[Any]:
    """The Work of a new run in this process, as its job would open it."""
    from workbench.learn.engine.reporter import Reporter
    from workbench.learn.engine.work import Work

    run = prepare.prepare_run(made, store, method, parse(method, small(method) | changes), start_from)
    control.write_status(run.folder, state="done")
    report = Reporter(run.folder)
    report.status(steps=run.config["args"]["steps"])
    try:
        yield Work.open(run, report)
    finally:
        report.close()


@contextmanager
def opener(made: settings.Settings, store: Store, method: str) -> Iterator[Any]:
    """A function that opens runs as `opened` does, each with a seed of its own, so that none is taken for another."""
    with ExitStack() as stack:

        def open_(method=method, start_from=None, **changes):
            changes = {"seed": len(list_runs(made.workspace))} | changes
            return stack.enter_context(opened(made, store, method, start_from, **changes))

        yield open_


def until(condition, seconds: float = 240.0):
    """The condition's first true value. Fails after `seconds`, so that a broken job cannot hang the suite."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value


def reached(made: settings.Settings, run: Run, step: int) -> None:
    """Wait until the run has told of that step. (Its status is written a few times a second only: it may be done.)"""
    until(lambda: any(row["step"] >= step for row in figures(find_run(made.workspace, run.number))))


def done(made: settings.Settings, run: Run) -> Run:
    """The run at its end."""
    until(lambda: not find_run(made.workspace, run.number).active)
    return find_run(made.workspace, run.number)


def alive(pid: int) -> bool:
    """Whether that process still runs (and is no zombie)."""
    from workbench.processes import identity

    return identity(pid) is not None


def figures(run: Run) -> list[dict]:
    """The run's metrics without those that are times."""
    return run.metrics(0)[0]


def pid_of(run: Run) -> int:
    pid = run.status["pid"]
    assert isinstance(pid, int) and pid != os.getpid()
    return pid


def has_known_keys(result: dict[str, Any]) -> bool:
    """Whether readers of result.json know every key of what a method came to."""
    from workbench.learn.run_files import RunResult

    return not RunResult.model_validate(result).model_extra
