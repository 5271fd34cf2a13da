"""How a job tells what it does: status, metrics and samples as plain files, a heartbeat, and a watchdog. No torch."""

from __future__ import annotations

import faulthandler
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import disk
from workbench.learn.run_files import RunStatus
from workbench.processes import read_json, write_atomic
from workbench.settings import hang_seconds

TIMES_SLOWEST = 20  # times the longest pause between two signs of life so far, if that is longer than hang_seconds
PATIENCE = 10  # times hang_seconds, where nothing can tell of itself: loading, a reward function, an unknown first step


class Reporter:
    """The only writer of a running job's status.json, metrics.jsonl and samples.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._status = read_json(folder / "status.json")
        self._lock = threading.Lock()
        self._written = 0.0
        self._start = time.monotonic()
        self._last_sign = time.monotonic()
        self._slowest = 0.0  # the longest pause between two signs of life while running, in seconds
        self._patient = 0  # how many calls that cannot tell of themselves are under way
        self._files = {name: (folder / name).open("a", encoding="utf-8") for name in ("metrics.jsonl", "samples.jsonl")}
        self._mend()
        with disk.fullness_tolerated():  # the first thing that the job itself writes will say so
            disk.keep_reserve(folder)
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="heartbeat", daemon=True).start()

    @property
    def seconds(self) -> float:
        """Seconds since this process began the job."""
        return time.monotonic() - self._start

    def status(self, now: bool = True, **changes: Any) -> None:
        """Change status.json; without `now` at most five times a second, so that fast steps are not slowed."""
        if unknown_keys := changes.keys() - RunStatus.model_fields.keys():
            raise TypeError(f"status.json has no {', '.join(sorted(unknown_keys))}")
        with self._lock:
            self._status |= changes
            if now or time.monotonic() - self._written > 0.2:
                self._write(durable="state" in changes)

    def get(self, name: str) -> Any:
        return self._status.get(name)

    def alive(self) -> None:
        """The job got on, by a micro-batch, a token or whatever it does: a sign of life for the watchdog."""
        now = time.monotonic()
        if self._status.get("state") == "running" and not self._patient:
            self._slowest = max(self._slowest, now - self._last_sign)
        self._last_sign = now

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Within it the longer limit holds: for a call that cannot tell of itself, such as a person's reward function."""
        self.alive()
        self._patient += 1
        try:
            yield
        finally:
            self.alive()  # while still patient: such a pause says nothing about the others
            self._patient -= 1

    @property
    def limit(self) -> float:
        """Seconds without a sign of life after which the job counts as hung, as things stand now."""
        can_tell = self._slowest and not self._patient and self._status.get("state") == "running"
        return max(hang_seconds() * (1 if can_tell else PATIENCE), TIMES_SLOWEST * self._slowest)

    def metrics(self, step: int, **values: Any) -> None:
        """Append one row. What is no finite number is left out: JSON has none, and the chart shows a gap."""
        finite = {k: v for k, v in values.items() if not isinstance(v, float) or math.isfinite(v)}
        self._append("metrics.jsonl", {"step": step} | finite)

    def sample(self, step: int, prompt: str, answer: str) -> None:
        self._append("samples.jsonl", {"step": step, "prompt": prompt, "answer": answer})

    def back_to(self, step: int) -> None:
        """A resume makes what came after `step` again."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            self._append(name, {"back_to": step})

    def notice(self, text: str) -> None:
        """Something the person should know: into the log and, with those before, into the status."""
        print(text, flush=True)
        self.status(notices=[*(self._status.get("notices") or []), text][-20:])

    def wants_stop(self) -> bool:
        """Whether "stop and save" was asked for."""
        return (self.folder / "stop").exists()

    def close(self, **last: Any) -> None:
        """Write the last status, on a full disk in the room of the reserve; the heartbeat ends."""
        self._closed.set()
        disk.free_reserve(self.folder)
        self.status(**last)
        for file in self._files.values():
            with disk.fullness_tolerated():  # a row that did not fit is still in its buffer
                file.close()

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._files[name].write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._files[name].flush()

    def _mend(self) -> None:
        # a kill may have torn the last line: end it, so that the next row is not glued to it
        for name, file in self._files.items():
            text = (self.folder / name).read_bytes()
            if text and not text.endswith(b"\n"):
                file.write("\n")
                file.flush()

    def _write(self, durable: bool = False) -> None:
        self._status |= {"heartbeat": time.monotonic_ns(), "seconds": round(self.seconds, 2)}
        write_atomic(self.folder / "status.json", json.dumps(self._status), durable)
        self._written = time.monotonic()

    def _watch(self) -> None:
        while not self._closed.wait(1.0):
            with self._lock:
                if time.monotonic() - self._written > 2.0 and not self._closed.is_set():
                    try:
                        self._write()
                    except OSError as error:
                        if not disk.is_full(error):
                            raise
                        self._ended_by_full_disk()
            self.look_after()

    def look_after(self) -> None:
        """End this process if the job hangs."""
        limit = self.limit
        if time.monotonic() - self._last_sign > limit:
            self._hung(limit)

    def _ended_by_full_disk(self) -> None:
        """End this process: the step under way may be long, and without a heartbeat it would pass for hung."""
        disk.free_reserve(self.folder)
        self._status |= {"state": "failed", "message": disk_full(self.folder, self._status.get("step", 0))}
        self._write(durable=True)
        os._exit(71)

    def _hung(self, limit: float) -> None:
        step, number = self._status.get("step", 0), self.folder.name[:4].lstrip("0")
        message = (
            f"Run {number} hung at step {step}: no progress for {limit:.0f} s. It was ended. "
            "If it was only slow, set WORKBENCH_HANG_SECONDS higher and resume."
        )
        print(message, flush=True)
        faulthandler.dump_traceback(file=sys.stderr)
        self.status(state="failed", message=message)
        os._exit(70)  # the main thread is stuck and cannot be asked


def disk_full(folder: Path, step: int) -> str:
    """What a run in `folder` says that has ended because of it."""
    number = folder.name[:4].lstrip("0")
    return (
        f"Run {number} stopped at step {step}: the disk is full. Its checkpoints are safe. "
        "Free some space, then resume."
    )


class Silent(Reporter):
    """Of a further process of the same run, as torchrun starts them: the first one tells for all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._status = read_json(folder / "status.json")
        self._start = time.monotonic()
        self._patient = 0

    def status(self, now: bool = True, **changes: Any) -> None:
        self._status |= changes

    def alive(self) -> None:
        pass

    def notice(self, text: str) -> None:
        pass

    def close(self, **last: Any) -> None:
        pass

    def _append(self, name: str, row: dict[str, Any]) -> None:
        pass


NOT_FINITE_IN_A_ROW = 3


class NotFinite(ArithmeticError):
    """A step gave no valid number; ends a run when several in a row did. `cause` is what gave it: "update" (training
    itself), "reward" or "model" (the model before any training)."""

    def __init__(self, message: str, cause: str = "update") -> None:
        super().__init__(message)
        self.cause = cause
