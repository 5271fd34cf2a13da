"""Runs as their folders tell them: configuration, status, metrics, samples, log. Imports no torch."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench import disk
from workbench.learn.catalogue import METHODS
from workbench.learn.engine import checkpoints
from workbench.learn.engine.reporter import PATIENCE
from workbench.learn.run_files import (
    ANSWER,
    METRIC,
    SAMPLE,
    Lines,
    RunConfig,
    RunLabel,
    RunResult,
    RunStatus,
    SpoiledFile,
    first_figures,
    read,
    read_lines,
)
from workbench.processes import end_process, identity, write_status
from workbench.settings import hang_seconds

TRASH = ".trash"  # among the run folders, holds those that were deleted
ACTIVE = ("waiting", "starting", "running")
LEAST_HANG_SECONDS = 10.0  # a job that is well shows it every 3 s: its heartbeat, which is a thread of its own


@dataclass(frozen=True)
class Run:
    """One run as its folder told it when read; read it again with `run` to see news."""

    number: int
    folder: Path
    config: RunConfig
    status: RunStatus
    result: RunResult | None
    label: RunLabel = field(default_factory=RunLabel)

    @property
    def method(self) -> str:
        return self.config.method

    @property
    def state(self) -> str:
        """waiting, starting, running, stopped, done, failed or interrupted."""
        return self.status.state

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def resumable(self) -> bool:
        return self.state in ("stopped", "failed", "interrupted")

    @property
    def title(self) -> str:
        """ "SFT, run 3", and the name that people gave it in brackets."""
        name = f" ({self.label.name})" if self.label.name else ""
        return f"{METHODS[self.method].label}, run {self.number}{name}"

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter that answers, None until one is saved; a reward model's answers nothing."""
        return self._saved if METHODS[self.method].answers else None

    @property
    def reward_model(self) -> Path | None:
        """The folder of the trained reward model, None until one is saved and for other methods."""
        return self._saved if METHODS[self.method].scores == "answers" else None

    @property
    def scorer(self) -> Path | None:
        """The folder of what can be a reward: a reward model or a process reward; None until one is saved."""
        return None if METHODS[self.method].answers else self._saved

    @property
    def _saved(self) -> Path | None:
        folder = self.folder / "adapter"
        return folder if (folder / "adapter_model.safetensors").is_file() else None

    @property
    def start(self) -> RunResult:
        """Its figures on held-out examples before the first step."""
        return first_figures(self.folder / "metrics.jsonl")

    def metrics(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Rows of metrics.jsonl from line `since` on, and the line to ask from next time.

        From 0, points that a resume has made again are left out; later, a row {"back_to": step} says that all
        points after that step are made again.
        """
        rows, end, _ = self.metric_lines(since)
        return (without_repeats(rows) if since == 0 else rows), end

    def metric_lines(self, since: int = 0) -> Lines:
        """Rows of metrics.jsonl as they are, with what is wrong with lines that are left out."""
        return read_lines(self.folder / "metrics.jsonl", METRIC, since)

    def sample_lines(self) -> Lines:
        """The same of samples.jsonl."""
        return read_lines(self.folder / "samples.jsonl", SAMPLE)

    def samples(self) -> list[dict[str, Any]]:
        """Answers to the same few prompts as training went on: {"step", "prompt", "answer"} in order of steps."""
        return without_repeats(self.sample_lines().rows)

    def answers(self) -> list[dict[str, Any]]:
        """What the finished model answered to the held-out prompts: {"prompt", "answer", "gold", "style"}; may be []."""
        return read_lines(self.folder / "answers.jsonl", ANSWER).rows

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the job's log."""
        file = self.folder / "log.txt"
        if not file.is_file():
            return ""
        with file.open("rb") as f:
            f.seek(max(0, file.stat().st_size - 65_536))
            text = f.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


def without_repeats(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without those that a resume has made again."""
    points: list[dict[str, Any]] = []
    for row in rows:
        if "back_to" in row:
            points = [r for r in points if r["step"] <= row["back_to"]]
        else:
            points.append(row)
    return points


def list_runs(workspace: Path) -> list[Run]:
    """All runs of the workspace, newest first; folders that cannot be read are left out, see `read_runs`."""
    return read_runs(workspace)[0]


def read_runs(workspace: Path) -> tuple[list[Run], list[str]]:
    """The runs, newest first, and a sentence for each folder left out: "runs/0003-sft is left out: ..."."""
    runs, faults = [], []
    for folder in _folders(workspace):
        run = _read_or_fault(folder)
        if isinstance(run, Run):
            runs.append(run)
        else:
            faults.append(f"runs/{folder.name} is left out: {run}.")
    return sorted(runs, key=lambda run: -run.number), faults


def _folders(workspace: Path) -> list[Path]:
    folder = workspace / "runs"
    return sorted(f for f in folder.iterdir() if f.is_dir() and f.name[:1].isdigit()) if folder.is_dir() else []


def _read_or_fault(folder: Path) -> Run | str:
    if not (folder / "config.json").is_file():
        return "it has no config.json"
    try:
        run = read_run(folder)
    except SpoiledFile as error:
        return f"{error.file.name}, {error.why}"
    if not folder.name.startswith(f"{run.number:04d}-"):
        return f"config.json, the number is {run.number}, but the folder name gives another"
    return run


def find_run(workspace: Path, number: int) -> Run:
    """The run of that number. Raises ValueError when there is none, SpoiledFile when it cannot be read."""
    for folder in (workspace / "runs").glob(f"{int(number):04d}-*"):
        return read_run(folder)
    raise ValueError(f"there is no run {number} in {workspace}")


def read_run(folder: Path) -> Run:
    """The run in that folder. Raises ValueError when it is no run folder, SpoiledFile when it cannot be read."""
    config = read(RunConfig, folder / "config.json")
    if config is None:
        raise ValueError(f"{folder} is not a run folder: it has no config.json")
    label = read(RunLabel, folder / "label.json") or RunLabel()
    run = Run(config.number, folder, config, *_state(folder), label)
    return _check_alive(run) if run.active else run


def _state(folder: Path) -> tuple[RunStatus, RunResult | None]:
    return read(RunStatus, folder / "status.json") or RunStatus(), read(RunResult, folder / "result.json")


def _check_alive(run: Run) -> Run:
    """An active run whose process is gone was interrupted; one that shows no life for long hangs and is ended."""
    pid, birth = run.status.pid, run.status.pid_start
    if pid is None:
        if time.time() - (run.folder / "status.json").stat().st_mtime < 30:
            return run  # prepared, about to be started
        return _mark_ended(run, "interrupted", f"Run {run.number} was never started.")
    if identity(pid) != birth:
        latest = reread(run)
        if latest.state not in ACTIVE or latest.status.pid != pid:  # it ended well while we looked
            return latest
        return _mark_ended(run, "interrupted", f"Run {run.number} was interrupted at step {latest.status.step}.")
    beat = run.status.heartbeat
    last_beat, since = _beats.get(run.folder, ("never", 0.0))
    if beat != last_beat:
        _beats[run.folder] = (beat, time.monotonic())
    elif time.monotonic() - since > _hang_limit(run):
        end_process(pid, str(birth))
        return _mark_ended(run, "failed", f"Run {run.number} hung at step {run.status.step} and was ended.")
    return run


def _hang_limit(run: Run) -> float:
    """Seconds without a heartbeat after which the job hangs; a large model being loaded can hold all threads up."""
    return max(LEAST_HANG_SECONDS, hang_seconds() * (1 if run.state == "running" else PATIENCE))


_beats: dict[Path, tuple[Any, float]] = {}  # run folder -> last heartbeat, and when our own clock first saw it


def _mark_ended(run: Run, state: str, message: str) -> Run:
    disk.free_reserve(run.folder)
    changes: dict[str, Any] = {"state": state, "message": message, "last_lines": run.log_tail(8)}
    status = run.status.model_copy(update=changes)
    with disk.fullness_tolerated():  # runs must be seen on a full disk, too; whoever reads this one again tries again
        changes["saved_step"] = rescue(run.folder)
        status = RunStatus.model_validate(write_status(run.folder, **changes))
    return replace(run, status=status)


def rescue(folder: Path) -> int | None:
    """Make the newest usable checkpoint's adapter the run's, and say its step; None when there is none."""
    status = read(RunStatus, folder / "status.json") or RunStatus()
    newest, _ = checkpoints.newest(folder / "checkpoints", status.frozen)
    if newest is None:
        return None
    target, copy = folder / "adapter", folder / ".adapter.new"
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(newest / "adapter", copy)
    except OSError:  # a full disk, say
        shutil.rmtree(copy, ignore_errors=True)
        raise
    shutil.rmtree(target, ignore_errors=True)
    copy.rename(target)
    return checkpoints.step_of(newest)


def reread(run: Run) -> Run:
    """The run as its folder tells it now, without asking after its process."""
    status, result = _state(run.folder)
    return replace(run, status=status, result=result)
