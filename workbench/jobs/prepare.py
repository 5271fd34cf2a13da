"""A run before it starts: what it would take, its first batch, its command, and its folder, complete. No torch."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import disk
from workbench.jobs import card
from workbench.jobs.plan import plan_run
from workbench.jobs.runs import TRASH, Run, find_run, list_runs
from workbench.learn import data
from workbench.learn.catalogue import PRESETS, TrainArgs, parse
from workbench.learn.catalogue.facts import Row
from workbench.learn.run_files import RunConfig, RunStatus
from workbench.models import origin
from workbench.processes import locked
from workbench.settings import Settings, model_config, model_folder

if TYPE_CHECKING:
    from workbench.store import Store


def first_batch(settings: Settings, store: Store, method: str, args: TrainArgs) -> list[dict[str, Any]]:
    """The first batch as the model would see it, see learn.data.first_batch. Loads the tokenizer, not the model."""
    from workbench.models import context, tokenizer

    train, _ = data.rows(store, method, settings.model)
    trust = settings.trust_remote_code
    limit = context(settings.model, trust)
    return data.first_batch(tokenizer(settings.model, trust), method, train, args, limit)


TWIN_SECONDS = 60.0  # asked for longer after it was started, a second run of the same settings is meant


NO_PRESET = {"seed", "reward"}  # settings that no preset is about


def preset_of(method: str, args: TrainArgs) -> str:
    """ "quick", "normal" or "thorough", or "own settings" when they are none of these."""
    for preset in PRESETS:
        if _length_and_rate(args) == _length_and_rate(parse(method, {}, preset)):
            return preset
    return "own settings"


def _length_and_rate(args: TrainArgs) -> dict[str, Any]:
    """The settings that a preset is about."""
    return {k: v for k, v in asdict(args).items() if k not in NO_PRESET}


def command(settings: Settings, method: str, args: TrainArgs, start_from: int | None = None, *flags: str) -> str:
    """The command line that starts the same run; `flags` are added to it."""
    argv = ["python", "-m", "workbench", "train", method, "--workspace", str(settings.workspace)]
    if settings.model != "sandbox":
        argv += ["--model", settings.model]
    if settings.trust_remote_code:
        argv += ["--trust-remote-code"]
    if start_from is not None:
        argv += ["--from", str(start_from)]
    preset = preset_of(method, args)
    if preset != "normal" and preset in PRESETS:
        argv += ["--preset", preset]
    argv += flags
    defaults = asdict(parse(method, {}, preset if preset in PRESETS else "normal"))
    argv += [f"--set={k}={v}" for k, v in asdict(args).items() if v is not None and v != defaults[k]]
    return shlex.join(argv)


def prepare_run(
    settings: Settings,
    store: Store,
    method: str,
    args: TrainArgs,
    start_from: int | None = None,
    allow_failed_gate: bool = False,
    again: bool = True,
    started_by: str | None = None,
) -> Run:
    """Freeze data and settings into a new run folder, complete before it is seen under its name.

    Unless `again`, a run of the same settings and data that is not over, or just was, is no start but raises SameRun.

    Raises MissingData when there is nothing to learn from, NothingToLearn when all of it would be left out, ModelError
    for a model that cannot be trained (see learn.dry_run), ValueError for a start that is no finished run of this
    model, MemoryError with the estimate when the run would not fit, FileNotFoundError for a model that is not here, and
    verdict.Distrusted for a reward model whose verdict is red or missing, unless `allow_failed_gate`.
    """
    preset = preset_of(method, args)
    plan = plan_run(settings, store, method, args, start_from, allow_failed_gate)
    if plan.problems:
        raise plan.problems[0]
    # the reward by its name, since the newest reward model will be another one
    args_given = replace(args, **{"reward": plan.args.reward} if hasattr(plan.args, "reward") else {})
    args, despite = plan.args, list(plan.despite)
    train, heldout = data.rows(store, method, settings.model)
    _dry_run(settings, method, train, heldout, args)
    prompts = data.prompts(settings.model, store, args, train, heldout)
    parent = None if start_from is None else find_run(settings.workspace, start_from).adapter
    folder = settings.workspace / "runs"
    with locked(settings.workspace), _draft_folder(folder) as draft:
        digest = data.freeze(draft / "data", train, heldout, prompts)
        start = data.freeze_start(parent, draft / data.START) if parent else None
        identity: dict[str, Any] = {
            "method": method,
            **origin.of(settings.model),
            "parent": start_from,
            "args": asdict(args),
        }
        runs = list_runs(settings.workspace)
        if runs and runs[0].active and _is_double_click(runs[0], identity, digest):
            return runs[0]
        twin = None if again else next((r for r in runs if _is_same(r, identity, digest) and _is_recent(r)), None)
        if twin is not None:
            raise SameRun(twin)
        taken = [f for place in (folder, folder / TRASH) for f in place.glob("[0-9][0-9][0-9][0-9]*-*")]
        number = max([int(f.name[:4]) for f in taken], default=0) + 1
        config = RunConfig(
            **identity,
            number=number,
            start=start,
            preset=preset,
            reasons=dict(plan.reasons),
            data=data.counted(method, train, heldout).model_copy(update={"hash": digest}),
            seed=args.seed,
            command=command(settings, method, args_given, start_from, *(["--allow-failed-gate"] if despite else [])),
            despite=despite,
            trust_remote_code=settings.trust_remote_code,
            started_by=started_by,
            versions={name: _version(name) for name in ("torch", "transformers", "peft", "trl")},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        status = RunStatus(
            state="waiting", step=0, steps=args.steps, pid=None, prepared=time.time(), notices=list(plan.notices)
        )
        (draft / "config.json").write_text(json.dumps(config.as_json(), indent=1), "utf-8")
        (draft / "status.json").write_text(json.dumps(status.as_json()), "utf-8")
        (draft / "README.md").write_text(card.write(config), "utf-8")
        disk.keep_reserve(draft)
        draft.rename(folder / f"{number:04d}-{method}")
        return find_run(settings.workspace, number)


@contextlib.contextmanager
def _draft_folder(runs: Path) -> Iterator[Path]:
    """Where to make a run before it is moved to its place; removed if it is not. Only for the holder of the lock."""
    for leftover in runs.glob(".new.*"):  # nobody else prepares a run now, so whoever made these was ended meanwhile
        shutil.rmtree(leftover, ignore_errors=True)
    folder = runs / f".new.{os.getpid()}.{threading.get_ident()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _dry_run(settings: Settings, method: str, train: list[Row], heldout: list[Row], args: TrainArgs) -> None:
    """Raise ModelError, SettingError or NothingToLearn before a run is made that could only fail. A model that has still
    to be downloaded is left to the job."""
    model, trust = settings.model, settings.trust_remote_code
    if model_folder(model) is None:
        return
    from workbench.learn import dry_run
    from workbench.learn.examples import Limits, check_learnable, surely_learnable
    from workbench.models import check_consent, context, needs_own_code, tokenizer

    check_consent(model, trust)
    if needs_own_code(model):  # it runs in the job alone, which begins with a dry run too
        return
    dry_run.check(model, train + heldout, args, trust)
    positions = model_config(model).get("max_position_embeddings")
    if positions and surely_learnable(method, train, Limits.of(args, positions)):
        return
    check_learnable(tokenizer(model, trust), method, train, Limits.of(args, context(model, trust)))


class SameRun(ValueError):
    """Nothing was started: `run` is of the same settings and the same data; the text asks whether that is meant."""

    def __init__(self, twin: Run) -> None:
        state = "is still running" if twin.active else "has just ended"
        super().__init__(
            f"Run {twin.number} has the same settings and the same data, and it {state}. A second run would give the same result."
        )
        self.run = twin


def _is_double_click(newest: Run, identity: dict[str, Any], digest: str) -> bool:
    return _is_same(newest, identity, digest) and abs(_age(newest)) < 2.0


def _is_same(run: Run, identity: dict[str, Any], digest: str) -> bool:
    return all(run.config.get(k) == v for k, v in identity.items()) and run.config.data.hash == digest


def _is_recent(run: Run) -> bool:
    return run.active or (run.state == "done" and _age(run) < TWIN_SECONDS)


def _age(run: Run) -> float:
    """Seconds since it was prepared, by the clock."""
    return time.time() - run.status.prepared


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
