"""The plan of a run: everything that follows from what was asked, worked out once. The page shows it, `prepare_run`
refuses or carries it out. Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from workbench import settings as _settings
from workbench.jobs.estimate import Estimate, estimate
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn import data
from workbench.learn.catalogue import METHODS, TrainArgs, resolve
from workbench.learn.data import MissingData
from workbench.learn.rewards import sources, verdict
from workbench.learn.rewards.python_file import RewardError
from workbench.learn.rewards.verdict import Distrusted, GateResult
from workbench.learn.run_files import DataCounts
from workbench.models import origin
from workbench.processes import read_json
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True)
class RewardPlan:
    """What a method that raises a reward would raise: `text` is the reward in force, `reason` why it was chosen here;
    `problem` why there is none; `untrusted` are the verdicts that only a deliberate act goes past."""

    text: str = ""
    reason: str = ""
    problem: Exception | None = None
    untrusted: tuple[GateResult, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run as it would be. `problems` are what keeps it from starting, the first thing to mend first."""

    method: str
    args: TrainArgs
    """Nothing is left open in it."""
    reasons: Mapping[str, str]
    """Of each setting that was chosen here."""
    data: DataCounts
    start_from: int | None
    reward: RewardPlan | None
    despite: tuple[str, ...]
    """What the person goes past, in words."""
    estimate: Estimate
    problems: tuple[Exception, ...]
    notices: tuple[str, ...] = ()
    """What is not as it was asked for."""


def plan_run(
    settings: Settings,
    store: Store,
    method: str,
    args: TrainArgs,
    start_from: int | None = None,
    allow_failed_gate: bool = False,
) -> Plan:
    """The plan of a run with `args` as from `parse`."""
    counts, shortfall = available(store, method, settings.model)
    problems: list[Exception | None] = [shortfall, _model_problem(settings.model)]
    run_args, reasons = resolve(method, args, _settings.parameters(settings.model))
    reward: RewardPlan | None = None
    despite: tuple[str, ...] = ()
    if (reward_text := getattr(args, "reward", None)) is not None:
        reward = plan_reward(reward_text, settings)
        changes: dict[str, Any] = {"reward": reward.text or reward_text}
        run_args = replace(run_args, **changes)
        reasons |= {"reward": reward.reason} if reward.reason else {}
        despite = tuple(v.sentence for v in reward.untrusted) if allow_failed_gate else ()
        problems.append(reward.problem)
        problems.append(Distrusted(reward.untrusted) if reward.untrusted and not allow_failed_gate else None)
    problems.append(_parent_problem(settings, start_from))
    notices: tuple[str, ...] = ()
    if start_from is not None and problems[-1] is None:
        run_args, lora_reasons, notices = _inherit_lora(run_args, find_run(settings.workspace, start_from))
        reasons |= lora_reasons
    needs = estimate(settings.model, method, run_args, list_runs(settings.workspace))
    problems.append(None if needs.fits else _too_large(needs))
    real_problems = tuple(problem for problem in problems if problem is not None)
    return Plan(method, run_args, reasons, counts, start_from, reward, despite, needs, real_problems, notices)


def plan_reward(text: str, settings: Settings) -> RewardPlan:
    """What the setting `reward` comes to."""
    try:
        name, reason = sources.settle(text, settings)
        results = verdict.verdicts(name, settings.workspace)
    except (MissingData, RewardError) as error:
        return RewardPlan(problem=error)
    return RewardPlan(name, reason, untrusted=tuple(result for result in results if not result.trusted))


# What there is to learn from, counted again only after the store has changed

_counts_cache: WeakKeyDictionary[Store, tuple[Any, dict[Any, tuple[DataCounts, str]]]] = WeakKeyDictionary()


def available(store: Store, method: str, model: str) -> tuple[DataCounts, MissingData | None]:
    """How much the method has to learn from, and why it cannot learn from that, if so."""
    state, m = store.state(), METHODS[method]
    state_then, counts_by_key = _counts_cache.get(store, (None, {}))
    if state_then != state:
        counts_by_key = {}
        _counts_cache[store] = (state, counts_by_key)
    key = (m.read, m.shortage, model)  # methods that read the same rows are counted together
    if key not in counts_by_key:
        rows = m.read(store, model)
        train = [row for row in rows if row["split"] == "train"]
        heldout = [row for row in rows if row["split"] == "heldout"]
        counts_by_key[key] = data.counted(method, train, heldout), m.shortage(train) if train else ""
    counts, shortage = counts_by_key[key]
    return counts.model_copy(update={"unit": m.unit}), data.shortfall(method, counts.train, counts.n, shortage)


# What stands in the way


def _model_problem(model: str) -> Exception | None:
    folder = _settings.model_folder(model)
    if folder is not None and (folder / "config.json").is_file():
        return None
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    if model == "sandbox" or offline or isinstance(_settings.model_path(model), Path):
        return FileNotFoundError(f"The model {model} is not on this machine. The bundled one is called sandbox.")
    return None


def _parent_problem(settings: Settings, start_from: int | None) -> Exception | None:
    if start_from is None:
        return None
    try:
        parent: Run = find_run(settings.workspace, start_from)
    except ValueError as error:
        return error
    if mismatch := origin.difference(parent.config, settings.model):
        return ValueError(f"Run {start_from} {mismatch}, so it cannot be the starting point.")
    if parent.adapter is None:
        return ValueError(f"Run {start_from} has no trained model to start from; it is {parent.state}.")
    return None


LORA = {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}  # our names -> PEFT's


def _inherit_lora(args: TrainArgs, start: Run) -> tuple[TrainArgs, dict[str, str], tuple[str, ...]]:
    """`args` with rank, alpha and dropout of the adapter that training goes on with; reasons and notices where they are
    not what was asked for."""
    assert start.adapter is not None
    adapter = read_json(start.adapter / "adapter_config.json")
    lora: dict[str, Any] = {ours: adapter[theirs] for ours, theirs in LORA.items()}
    differences = [name for name, value in lora.items() if value != getattr(args, name)]
    notices = tuple(
        f"{name} is {lora[name]:g}, as in run {start.number}, from which this run starts, not {getattr(args, name):g} as set."
        for name in differences
    )
    return replace(args, **lora), dict.fromkeys(differences, f"as in run {start.number}, the starting point"), notices


def _too_large(needs: Estimate) -> MemoryError:
    return MemoryError(
        f"This run needs about {needs.memory_mb / 1024:.1f} GB of memory and {needs.available_mb / 1024:.1f} GB are "
        "free. Set a smaller micro_batch or max_tokens, or use a smaller model."
    )
