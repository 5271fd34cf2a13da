"""A run before it starts: what it would take, its first batch, its command, and its folder, complete. No torch."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import threading
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings as _settings
from workbench.jobs import card
from workbench.jobs.estimate import Estimate, estimate
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn import data
from workbench.learn.catalogue import METHODS, PRESETS, TrainArgs, parse, resolve
from workbench.learn.examples import Limits, check_some_left, surely_some_left
from workbench.learn.rewards import verdict
from workbench.processes import locked, read_json
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.store import Store


def counts(store: Store, method: str, model: str = "") -> dict[str, Any]:
    """How much a method has to learn from: {"n", "train", "heldout", "simulated", "unit"}."""
    return data.counts(store, method, model)


def estimate_run(settings: Settings, method: str, args: TrainArgs) -> Estimate:
    """Seconds and memory that a run would take, each with its reason."""
    args, _ = resolve(method, args, _settings.parameters(settings.model))
    return estimate(settings.model, method, args, list_runs(settings.workspace))


def first_batch(settings: Settings, store: Store, method: str, args: TrainArgs) -> list[dict[str, Any]]:
    """The first batch as the model would see it, see learn.data.first_batch. Loads the tokenizer, not the model."""
    from workbench.models import context, tokenizer

    train, _ = data.rows(store, method, settings.model)
    return data.first_batch(tokenizer(settings.model), method, train, args, context(settings.model))


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
    if start_from is not None:
        words += ["--from", str(start_from)]
    preset = preset_of(method, args)
    if preset != "normal" and preset in PRESETS:
        words += ["--preset", preset]
    words += flags
    standard = asdict(parse(method, {}, preset if preset in PRESETS else "normal"))
    words += [f"--set={k}={v}" for k, v in asdict(args).items() if v is not None and v != standard[k]]
    return shlex.join(words)


def prepare_run(
    settings: Settings,
    store: Store,
    method: str,
    args: TrainArgs,
    start_from: int | None = None,
    allow_failed_gate: bool = False,
) -> Run:
    """Freeze data and settings into a new run folder, complete before it is seen under its name.

    Raises MissingData when there is nothing to learn from, NothingToLearn when all of it would be left out, ValueError
    for a start that is no finished run of this model, MemoryError with the estimate when the run would not fit,
    FileNotFoundError for a model that is not here, and verdict.Distrusted for a reward model whose verdict is red or missing, unless `allow_failed_gate`.
    """
    preset = preset_of(method, args)
    train, heldout = data.rows(store, method, settings.model)
    given, (args, reasons) = args, resolve(method, args, _model_size(settings.model))
    args, why, despite = verdict.settled(args, settings, allow_failed_gate)
    reasons |= why
    parent = _parent(settings, start_from)
    notices: list[str] = []
    if parent is not None and parent.adapter is not None:
        args, inherited, notices = _as_in_start(args, parent.number, parent.adapter)
        reasons |= inherited
    _check_some_left(settings.model, method, train, args)
    needs = estimate(settings.model, method, args, ())
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
        start = data.freeze_start(parent.adapter, fresh / data.START) if parent and parent.adapter else None
        wanted = {"method": method, "model": settings.model, "parent": start_from, "args": asdict(args)}
        before = list_runs(settings.workspace)
        if before and before[0].active and _just_asked(before[0], wanted, digest):
            shutil.rmtree(fresh)
            return before[0]
        number = max([int(f.name[:4]) for f in folder.glob("[0-9][0-9][0-9][0-9]*-*")], default=0) + 1
        split = {"n": len(train) + len(heldout), "train": len(train), "heldout": len(heldout)}
        simulated = sum(bool(r.get("simulated")) for r in train + heldout)
        config = wanted | {
            "number": number,
            "start": start,
            "preset": preset,
            "reasons": reasons,
            "data": split | {"simulated": simulated, "unit": METHODS[method].unit, "hash": digest},
            "seed": args.seed,
            "command": command(settings, method, given, start_from, *(["--allow-failed-gate"] if despite else [])),
            "despite": despite,
            "versions": {name: _version(name) for name in ("torch", "transformers", "peft", "trl")},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (fresh / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
        status = {"state": "waiting", "step": 0, "steps": args.steps, "message": "", "pid": None, "notices": notices}
        (fresh / "status.json").write_text(json.dumps(status | {"prepared": time.time()}), "utf-8")
        (fresh / "README.md").write_text(card.write(config), "utf-8")
        fresh.rename(folder / f"{number:04d}-{method}")
        return find_run(settings.workspace, number)


def _model_size(model: str) -> int | None:
    found = _settings.model_folder(model)
    if found is None or not (found / "config.json").is_file():
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        if model == "sandbox" or offline or isinstance(_settings.model_path(model), Path):
            raise FileNotFoundError(f"The model {model} is not on this machine. The bundled one is called sandbox.")
    return _settings.parameters(model)


def _parent(settings: Settings, start_from: int | None) -> Run | None:
    if start_from is None:
        return None
    parent = find_run(settings.workspace, start_from)
    if parent.config["model"] != settings.model:
        raise ValueError(
            f"Run {start_from} trained {parent.config['model']}, not {settings.model}: it is no start here."
        )
    if parent.adapter is None:
        raise ValueError(f"Run {start_from} has no trained model to start from; it is {parent.state}.")
    return parent


LORA = {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}  # our names -> PEFT's


def _as_in_start(args: TrainArgs, number: int, folder: Path) -> tuple[TrainArgs, dict[str, str], list[str]]:
    """`args` with rank, alpha and dropout of the adapter in `folder`, of the run of that number, which training goes on
    with; reasons and notices where they are not what was asked for."""
    adapter = read_json(folder / "adapter_config.json")
    shape = {ours: adapter[theirs] for ours, theirs in LORA.items()}
    differing = [name for name, value in shape.items() if value != getattr(args, name)]
    notices = [
        f"{name} is {shape[name]:g}, as in run {number} where this run starts, not {getattr(args, name):g} as set."
        for name in differing
    ]
    return replace(args, **shape), dict.fromkeys(differing, f"as in run {number}, the start"), notices


def _check_some_left(model: str, method: str, train: list[data.Row], args: TrainArgs) -> None:
    """Raise NothingToLearn before a run is made of rows that its job would all leave out. A model that has still to be
    downloaded is left to the job."""
    if _settings.model_folder(model) is None:
        return
    written = _settings.model_config(model).get("max_position_embeddings")
    if written and surely_some_left(method, train, Limits.of(args, written)):
        return
    from workbench.models import context, tokenizer

    check_some_left(tokenizer(model), method, train, Limits.of(args, context(model)))


def _just_asked(newest: Run, wanted: dict[str, Any], digest: str) -> bool:
    same = all(newest.config.get(k) == v for k, v in wanted.items()) and newest.config["data"]["hash"] == digest
    return same and abs(time.time() - newest.status.get("prepared", 0)) < 2.0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
