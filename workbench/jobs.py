"""Training jobs: start, stop, resume and watch them. A job is a process of its own that outlives page and app.

It is `python -m workbench run FOLDER`; whatever is to be known about it lies in plain files in its run folder.
Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings as _settings
from workbench.learn import card, checkpoints, data, trust
from workbench.learn import estimate as estimates
from workbench.learn.args import METHODS, PRESETS, TrainArgs, parse, resolve
from workbench.models import check_consent
from workbench.processes import end_process, identity, locked, popen, read_json, standby, write_atomic, write_status
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.store import Store

ACTIVE = ("waiting", "starting", "running")
TWIN_SECONDS = 60.0  # asked for longer after it was started, a second run of the same settings is meant
HANG_SECONDS = 180.0  # no sign of life from a job for so long, with its process still there: it hangs


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


# Reading


def runs(workspace: Path) -> list[Run]:
    """All runs of the workspace, newest first."""
    folder = workspace / "runs"
    found = [_read(f) for f in folder.iterdir() if f.is_dir() and f.name[:1].isdigit()] if folder.is_dir() else []
    return sorted((r for r in found if r is not None), key=lambda r: -r.number)


def run(workspace: Path, number: int) -> Run:
    """The run of that number. Raises ValueError when there is none."""
    for folder in (workspace / "runs").glob(f"{int(number):04d}-*"):
        found = _read(folder)
        if found is not None:
            return found
    raise ValueError(f"there is no run {number} in {workspace}")


def read(folder: Path) -> Run:
    """The run in that folder. Raises ValueError when it is no run folder."""
    found = _read(folder)
    if found is None:
        raise ValueError(f"{folder} is no run folder: it has no readable config.json")
    return found


def _read(folder: Path) -> Run | None:
    config = read_json(folder / "config.json")
    if not config or config.get("method") not in METHODS:
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
    elif time.monotonic() - since > float(os.environ.get("WORKBENCH_HANG_SECONDS", HANG_SECONDS)):
        end_process(pid, str(born))
        return _gone(found, "failed", f"Run {found.number} hung at step {found.status.get('step', 0)} and was ended.")
    return found


_beats: dict[Path, tuple[Any, float]] = {}  # run folder -> last heartbeat, and when our own clock first saw it


def _gone(found: Run, state: str, message: str) -> Run:
    kept = _rescue(found.folder)
    status = write_status(found.folder, state=state, message=message, saved_step=kept, last_lines=found.log_tail(8))
    return Run(found.number, found.folder, found.config, status, found.result)


def _rescue(folder: Path) -> int | None:
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


# Preparing


def counts(store: Store, method: str, model: str = "") -> dict[str, Any]:
    """How much a method has to learn from: {"n", "train", "heldout", "simulated", "unit"}."""
    return data.counts(store, method, model)


def estimate(settings: Settings, method: str, args: TrainArgs) -> estimates.Estimate:
    """Seconds and memory that a run would take, each with its reason."""
    args, _ = resolve(method, args, _settings.parameters(settings.model))
    return estimates.estimate(settings.model, method, args, runs(settings.workspace))


def first_batch(settings: Settings, store: Store, method: str, args: TrainArgs) -> list[dict[str, Any]]:
    """The first batch as the model would see it, see learn.data.first_batch. Loads the tokenizer, not the model."""
    from workbench.models import tokenizer

    words = tokenizer(settings.model, settings.trust_remote_code)
    return data.first_batch(words, method, data.rows(store, method, settings.model)[0], args)


def preset_of(method: str, args: TrainArgs) -> str:
    """ "quick", "normal" or "thorough", or "own settings" when they are none of these."""
    asked = {k: v for k, v in asdict(args).items() if k != "seed"}
    for preset in PRESETS:
        if asked == {k: v for k, v in asdict(parse(method, {}, preset)).items() if k != "seed"}:
            return preset
    return "own settings"


def command(settings: Settings, method: str, args: TrainArgs, start_from: int | None = None, *flags: str) -> str:
    """The command line that starts the same run; `flags` are added to it."""
    words = ["python", "-m", "workbench", "train", method, "--workspace", str(settings.workspace)]
    if settings.model != "sandbox":
        words += ["--model", settings.model]
    if settings.trust_remote_code:
        words += ["--trust-remote-code"]
    if start_from is not None:
        words += ["--from", str(start_from)]
    preset = preset_of(method, args)
    if preset != "normal" and preset in PRESETS:
        words += ["--preset", preset]
    words += flags
    standard = asdict(parse(method, {}, preset if preset in PRESETS else "normal"))
    words += [f"--set={k}={v}" for k, v in asdict(args).items() if v is not None and v != standard[k]]
    return shlex.join(words)


def launch(
    settings: Settings, store: Store, method: str, args: TrainArgs, start_from: int | None = None, **say: bool
) -> Run:
    """Prepare a run and start it. The same asked for twice within two seconds (a double click) gives one run."""
    return start(settings, prepare(settings, store, method, args, start_from, **say))


def prepare(
    settings: Settings,
    store: Store,
    method: str,
    args: TrainArgs,
    start_from: int | None = None,
    despite_red: bool = False,
    again: bool = True,
) -> Run:
    """Freeze data and settings into a new run folder, complete before it is seen under its name.

    Unless `again`, a run of the same settings and data that is not over, or just was, is no start but raises SameRun.

    Raises MissingData when there is nothing to learn from, ValueError for a start that is no finished run of this
    model, MemoryError with the estimate when the run would not fit, FileNotFoundError for a model that is not here,
    ModelError for one that brings code nobody consented to, and trust.Distrusted for a reward model whose verdict is red or missing, unless `despite_red`.
    """
    preset = preset_of(method, args)
    train, heldout = data.rows(store, method, settings.model)
    given, (args, reasons) = args, resolve(method, args, _model_size(settings.model))
    check_consent(settings.model, settings.trust_remote_code)
    args, why, despite = trust.settled(args, settings, despite_red)
    reasons |= why
    _check_parent(settings, start_from)
    needs = estimates.estimate(settings.model, method, args, ())
    if not needs.fits:
        raise MemoryError(
            f"This run needs about {needs.memory_mb / 1024:.1f} GB of memory and {needs.available_mb / 1024:.1f} GB are "
            "free. Set a smaller micro_batch or max_tokens, or take a smaller model."
        )
    prompts = data.prompts(settings.model, store, args, train, heldout)
    with locked(settings.workspace):
        folder = settings.workspace / "runs"
        fresh = folder / f".new.{os.getpid()}.{threading.get_ident()}"
        shutil.rmtree(fresh, ignore_errors=True)
        digest = data.freeze(fresh / "data", train, heldout, prompts)
        wanted = {"method": method, "model": settings.model, "parent": start_from, "args": asdict(args)}
        before = runs(settings.workspace)
        if before and before[0].active and _just_asked(before[0], wanted, digest):
            shutil.rmtree(fresh)
            return before[0]
        twin = None if again else next((r for r in before if _same(r, wanted, digest) and _is_news(r)), None)
        if twin is not None:
            shutil.rmtree(fresh)
            raise SameRun(twin)
        number = max([int(f.name[:4]) for f in folder.glob("[0-9][0-9][0-9][0-9]*-*")], default=0) + 1
        split = {"n": len(train) + len(heldout), "train": len(train), "heldout": len(heldout)}
        simulated = sum(bool(r.get("simulated")) for r in train + heldout)
        config = wanted | {
            "number": number,
            "preset": preset,
            "reasons": reasons,
            "data": split | {"simulated": simulated, "unit": METHODS[method].unit, "hash": digest},
            "seed": args.seed,
            "command": command(settings, method, given, start_from, *(["--despite-red"] if despite else [])),
            "despite": despite,
            "trust_remote_code": settings.trust_remote_code,
            "versions": {name: _version(name) for name in ("torch", "transformers", "peft", "trl")},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (fresh / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
        status = {"state": "waiting", "step": 0, "steps": args.steps, "message": "", "pid": None}
        (fresh / "status.json").write_text(json.dumps(status | {"prepared": time.time()}), "utf-8")
        (fresh / "README.md").write_text(card.write(config), "utf-8")
        fresh.rename(folder / f"{number:04d}-{method}")
        return run(settings.workspace, number)


def _model_size(model: str) -> int | None:
    found = _settings.model_folder(model)
    if found is None or not (found / "config.json").is_file():
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        if model == "sandbox" or offline or isinstance(_settings.model_path(model), Path):
            raise FileNotFoundError(f"The model {model} is not on this machine. The bundled one is called sandbox.")
    return _settings.parameters(model)


def _check_parent(settings: Settings, start_from: int | None) -> None:
    if start_from is None:
        return
    parent = run(settings.workspace, start_from)
    if parent.config["model"] != settings.model:
        raise ValueError(
            f"Run {start_from} trained {parent.config['model']}, not {settings.model}: it is no start here."
        )
    if parent.adapter is None:
        raise ValueError(f"Run {start_from} has no trained model to start from; it is {parent.state}.")


class SameRun(ValueError):
    """Nothing was started: `run` is of the same settings and the same data; the text asks whether that is meant."""

    def __init__(self, twin: Run) -> None:
        state = "is under way" if twin.active else "has just ended"
        super().__init__(
            f"Run {twin.number} has the same settings and the same data, and {state}. A second run would give the same result."
        )
        self.run = twin


def _just_asked(newest: Run, wanted: dict[str, Any], digest: str) -> bool:
    return _same(newest, wanted, digest) and abs(_age(newest)) < 2.0


def _same(found: Run, wanted: dict[str, Any], digest: str) -> bool:
    return all(found.config.get(k) == v for k, v in wanted.items()) and found.config["data"]["hash"] == digest


def _is_news(found: Run) -> bool:
    return found.active or (found.state == "done" and _age(found) < TWIN_SECONDS)


def _age(found: Run) -> float:
    """Seconds since it was prepared, by the clock."""
    return time.time() - found.status.get("prepared", 0)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# Starting and stopping


def start(settings: Settings, found: Run) -> Run:
    """Start a prepared run, or let it wait its turn. A run that was started already is left alone."""
    with locked(settings.workspace):
        found = run(settings.workspace, found.number)
        if found.status.get("pid") is not None or not found.active:
            return found
        return _spawn(settings, found)


def resume(settings: Settings, found: Run) -> Run:
    """Go on from the newest intact checkpoint. Raises ValueError for a finished run; an active one is left alone."""
    with locked(settings.workspace):
        found = run(settings.workspace, found.number)
        if found.active:
            return found
        if not found.resumable:
            raise ValueError(f"Run {found.number} is finished; there is nothing to resume.")
        (found.folder / "stop").unlink(missing_ok=True)
        write_status(found.folder, state="waiting", pid=None, pid_start=None, heartbeat=None, message="", last_lines="")
        return _spawn(settings, run(settings.workspace, found.number))


def _spawn(settings: Settings, found: Run) -> Run:
    others = [r for r in runs(settings.workspace) if r.active and r.number != found.number]
    line = max([r.status.get("queue") or 0 for r in others], default=0) + 1
    process = None if others else standby.take()
    handed = process is not None
    if process is None:
        with (found.folder / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "workbench", "run", str(found.folder)]
            process = popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    ahead = min(others, key=lambda r: r.status.get("queue") or 0, default=None)
    write_status(
        found.folder,
        state="waiting" if others else "starting",
        pid=process.pid,
        pid_start=identity(process.pid),
        queue=line,
        message=waits_for(ahead) if ahead else "Starting. First point in about 3 s.",
    )
    if handed:
        standby.give(process, found.folder)
    else:
        threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
    return run(settings.workspace, found.number)


def waits_for(ahead: Run) -> str:
    eta = ahead.status.get("eta_s")
    return f"Waits for run {ahead.number}" + (f", about {eta:.0f} s." if eta is not None else ".")


def stop(settings: Settings, found: Run, save: bool = False) -> Run:
    """Stop a run: with `save` it ends after its step and keeps that model, else it is ended now.

    Without `save` the model of the last checkpoint stays. Other people's processes are never touched: ours is known
    by pid and time of birth.
    """
    with locked(settings.workspace):
        found = run(settings.workspace, found.number)
        if not found.active:
            return found
        if save and found.state == "running":
            write_atomic(found.folder / "stop", "save")
            return found
        if found.status.get("pid") is not None:
            end_process(found.status["pid"], found.status["pid_start"])
        found = read_after_end(found)
        if not found.active:  # it came to its end by itself meanwhile
            return found
        step, kept = found.status.get("step") or 0, _rescue(found.folder)
        saved = f"The model at step {kept} is saved." if kept is not None else "No model was saved yet."
        write_status(found.folder, state="stopped", saved_step=kept, message=f"Stopped at step {step}. {saved}")
        return run(settings.workspace, found.number)


def read_after_end(found: Run) -> Run:
    status = read_json(found.folder / "status.json")
    return Run(found.number, found.folder, found.config, status, read_json(found.folder / "result.json") or None)


def wait(workspace: Path, number: int, poll: float = 0.2) -> Run:
    """Return the run once it has ended."""
    while (found := run(workspace, number)).active:
        time.sleep(poll)
    return found
