"""Runs as their folders tell them: configuration, status, metrics, samples, log. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.learn.catalogue import METHODS, OLD_NAMES
from workbench.learn.engine import checkpoints
from workbench.learn.engine.reporter import PATIENCE
from workbench.processes import end_process, identity, read_json, write_status
from workbench.settings import hang_seconds

ACTIVE = ("waiting", "starting", "running")
LEAST_HANG_SECONDS = 10.0  # a job that is well shows it every 3 s: its heartbeat, which is a thread of its own


@dataclass(frozen=True)
class Run:
    """One run as its folder told it when read; read it again with `run` to see news."""

    number: int
    folder: Path
    config: dict[str, Any]
    status: dict[str, Any]
    result: dict[str, Any] | None

    @property
    def method(self) -> str:
        return self.config["method"]

    @property
    def state(self) -> str:
        """waiting, starting, running, stopped, done, failed or interrupted."""
        return self.status.get("state", "interrupted")

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def resumable(self) -> bool:
        return self.state in ("stopped", "failed", "interrupted")

    @property
    def title(self) -> str:
        return f"{METHODS[self.method].label}, run {self.number}"

    @property
    def adapter(self) -> Path | None:
        """The folder of the adapter that answers, None until one is saved; a reward model's answers nothing."""
        return self._saved if METHODS[self.method].answers else None

    @property
    def reward_model(self) -> Path | None:
        """The folder of the trained reward model, None until one is saved and for other methods."""
        return self._saved if self.method == "reward" else None

    @property
    def scorer(self) -> Path | None:
        """The folder of what can be a reward: a reward model or a process reward; None until one is saved."""
        return None if METHODS[self.method].answers else self._saved

    @property
    def _saved(self) -> Path | None:
        folder = self.folder / "adapter"
        return folder if (folder / "adapter_model.safetensors").is_file() else None

    def metrics(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Rows of metrics.jsonl from line `since` on, and the line to ask from next time.

        From 0, points that a resume has made again are left out; later, a row {"back_to": step} says that all
        points after that step are made again.
        """
        rows, end = _lines(self.folder / "metrics.jsonl", since)
        return (_without_repeats(rows) if since == 0 else rows), end

    def samples(self) -> list[dict[str, Any]]:
        """Answers to the same few prompts as training went on: {"step", "prompt", "answer"} in order of steps."""
        return _without_repeats(_lines(self.folder / "samples.jsonl", 0)[0])

    def answers(self) -> list[dict[str, Any]]:
        """What the finished model answered to the held-out prompts: {"prompt", "answer", "gold", "style"}; may be []."""
        return _lines(self.folder / "answers.jsonl", 0)[0]

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the job's log."""
        file = self.folder / "log.txt"
        if not file.is_file():
            return ""
        with file.open("rb") as f:
            f.seek(max(0, file.stat().st_size - 65_536))
            text = f.read().decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])


def _lines(file: Path, since: int) -> tuple[list[dict[str, Any]], int]:
    if not file.is_file():
        return [], 0
    lines = file.read_bytes().split(b"\n")[:-1]  # what follows the last line break is still being written
    rows = []
    for line in lines[since:]:
        with contextlib.suppress(json.JSONDecodeError):  # a line torn by a power cut
            rows.append(json.loads(line))
    return rows, max(len(lines), since)


def _without_repeats(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for row in rows:
        if "back_to" in row:
            kept = [r for r in kept if r["step"] <= row["back_to"]]
        else:
            kept.append(row)
    return kept


def list_runs(workspace: Path) -> list[Run]:
    """All runs of the workspace, newest first."""
    folder = workspace / "runs"
    found = [_read(f) for f in folder.iterdir() if f.is_dir() and f.name[:1].isdigit()] if folder.is_dir() else []
    return sorted((r for r in found if r is not None), key=lambda r: -r.number)


def find_run(workspace: Path, number: int) -> Run:
    """The run of that number. Raises ValueError when there is none."""
    for folder in (workspace / "runs").glob(f"{int(number):04d}-*"):
        found = _read(folder)
        if found is not None:
            return found
    raise ValueError(f"there is no run {number} in {workspace}")


def read_run(folder: Path) -> Run:
    """The run in that folder. Raises ValueError when it is no run folder."""
    found = _read(folder)
    if found is None:
        raise ValueError(f"{folder} is no run folder: it has no readable config.json")
    return found


def _read(folder: Path) -> Run | None:
    config = read_json(folder / "config.json")
    name = str(config.get("method"))
    config["method"] = OLD_NAMES.get(name, name)
    if config["method"] not in METHODS:
        return None
    status = read_json(folder / "status.json")
    found = Run(int(config["number"]), folder, config, status, read_json(folder / "result.json") or None)
    return _checked(found) if found.active else found


def _checked(found: Run) -> Run:
    """An active run whose process is gone was interrupted; one that shows no life for long hangs and is ended."""
    pid, born = found.status.get("pid"), found.status.get("pid_start")
    if pid is None:
        if time.time() - (found.folder / "status.json").stat().st_mtime < 30:
            return found  # prepared, about to be started
        return _gone(found, "interrupted", f"Run {found.number} was never started.")
    if identity(pid) != born:
        after = read_after_end(found)
        if after.state not in ACTIVE or after.status.get("pid") != pid:  # it ended well while we looked
            return after
        step = after.status.get("step", 0)
        return _gone(found, "interrupted", f"Run {found.number} was interrupted at step {step}.")
    beat = found.status.get("heartbeat")
    seen, since = _beats.get(found.folder, ("never", 0.0))
    if beat != seen:
        _beats[found.folder] = (beat, time.monotonic())
    elif time.monotonic() - since > _limit(found):
        end_process(pid, str(born))
        return _gone(found, "failed", f"Run {found.number} hung at step {found.status.get('step', 0)} and was ended.")
    return found


def _limit(found: Run) -> float:
    """Seconds without a heartbeat after which the job hangs; a large model being loaded can hold all threads up."""
    return max(LEAST_HANG_SECONDS, hang_seconds() * (1 if found.state == "running" else PATIENCE))


_beats: dict[Path, tuple[Any, float]] = {}  # run folder -> last heartbeat, and when our own clock first saw it


def _gone(found: Run, state: str, message: str) -> Run:
    kept = rescue(found.folder)
    status = write_status(found.folder, state=state, message=message, saved_step=kept, last_lines=found.log_tail(8))
    return Run(found.number, found.folder, found.config, status, found.result)


def rescue(folder: Path) -> int | None:
    """Make the newest intact checkpoint's adapter the run's, and say its step; None when there is none."""
    newest, _ = checkpoints.newest(folder / "checkpoints")
    if newest is None:
        return None
    target, fresh = folder / "adapter", folder / ".adapter.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(newest / "adapter", fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return checkpoints.step_of(newest)


def read_after_end(found: Run) -> Run:
    status = read_json(found.folder / "status.json")
    return Run(found.number, found.folder, found.config, status, read_json(found.folder / "result.json") or None)
