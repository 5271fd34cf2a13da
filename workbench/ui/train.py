"""The Train tab: choose a method and its settings, start it, watch it, look back at what ran.

Every function takes (context, payload) and returns plain JSON; static/train.js calls them. Training itself never runs
in here: `jobs` starts a process that outlives this one, and `watch` reads what it wrote since the page last asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import blake2b
from math import isfinite
from typing import Any

from workbench import disk
from workbench.jobs import control, prepare
from workbench.jobs.estimate import Estimate
from workbench.jobs.gold_between import gold_between
from workbench.jobs.plan import Plan, available, plan_run
from workbench.jobs.runs import Run, find_run, list_runs, without_repeats
from workbench.learn.catalogue import METHODS, PRESETS, SettingError, fields_of, parse
from workbench.learn.catalogue.facts import STEPS
from workbench.learn.data import MissingData
from workbench.learn.rewards.verdict import Distrusted
from workbench.learn.run_files import DataCounts
from workbench.models import origin
from workbench.records import how_many
from workbench.settings import parameters
from workbench.ui import history, rewards
from workbench.ui.charts import plotly_url
from workbench.ui.context import VISITOR, Context, Refused
from workbench.ui.payload import read_token, takes
from workbench.ui.runs import brief, details, page_row, starred_title, time_text
from workbench.ui.stepwise import simulate_steps

CLICKS = 1000  # that are remembered


class Starts:
    """Which click started which run, so that a click sent twice starts one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held while a run starts
        self.by_token: OrderedDict[str, int] = OrderedDict()

    def keep(self, token: str, run: int) -> None:
        self.by_token[token] = run
        while len(self.by_token) > CLICKS:
            self.by_token.popitem(last=False)


def tab(context: Context) -> None:
    """Put the tab's one element into the page that is being built."""
    from workbench.ui.shell import panel

    functions = [form, plan, batch, start, act, watch, log, differences, rewards.gate, simulate_steps]
    functions += [history.relabel, history.delete, history.restore, history.about]
    panel(context, "train", functions, before=("charts", "runs", "run_tools"))


@takes("methods")
def form(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What there is to choose from, which does not change while the page is open: methods, settings, curves."""
    count = parameters(context.settings.model)
    methods = [
        {"name": m.name, "label": m.label, "colour": m.colour, "line": "", "fields": fields_of(m.name, count)}
        for m in METHODS.values()
    ]
    has_gold = context.settings.model == "sandbox"  # only its answers have a gold score
    curves = {m.name: [asdict(c) for c in m.curves if has_gold or not c.sandbox] for m in METHODS.values()}
    return {"methods": methods, "presets": list(PRESETS), "curves": curves, "plotly": plotly_url()}


@takes(
    "plan_run",
    method=str,
    preset=str,
    settings=dict[str, str | int | float] | None,
    start_from=int | None,
    allow_failed_gate=bool | None,
)
def plan(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What Start would do with these choices: steps, time, data, memory, the command; and what stands in the way."""
    method, preset, values = _choices(payload)
    m, settings = METHODS[method], context.settings
    errors: dict[str, str] = {}
    try:
        args = parse(method, values, preset)
    except SettingError as error:
        if error.field not in m.args.__dataclass_fields__:
            raise _refusal(error) from error
        errors[error.field] = rewards.sentence(error.why)
        args = parse(method, {}, preset)
    args = rewards.with_absolute_paths(args, settings)
    runs = list_runs(settings.workspace)
    starts: list[dict[str, Any]] = [{"run": None, "label": "the base model"}]
    starts += [
        {"run": r.number, "label": starred_title(r)}
        for r in runs
        if r.adapter and origin.same(r.config, settings.model)
    ]
    start_from = _start_from(payload, {s["run"] for s in starts})
    despite = payload.get("allow_failed_gate") is True
    run_plan = plan_run(settings, context.store, method, args, start_from, despite)
    reward = rewards.choice(context, run_plan.reward, despite) if run_plan.reward is not None else None
    if reward and reward["error"]:
        errors["reward"] = reward["error"]
    problem, remedy = _problem(run_plan, errors)
    own = context.store.counts()["prompts"]
    lines = {m.name: m.summary(available(context.store, m.name, settings.model)[0].n, own) for m in METHODS.values()}
    active_runs = [r for r in runs if r.active]
    flags = ["--allow-failed-gate"] if reward and reward["red"] and despite else []
    return {
        "lines": lines,
        "length": how_many(args.steps, "steps") + _time_here(run_plan.estimate),
        "data": _data_text(run_plan.data),
        "starts": starts,
        "memory": {"text": run_plan.estimate.memory, "fits": run_plan.estimate.fits},
        "problem": problem,
        "missing": remedy,
        "simulate": m.source is STEPS and not run_plan.data.n and settings.model == "sandbox",
        "errors": errors,
        "reward": reward,
        "ready": not problem and not errors and not (reward and reward["red"] and not despite),
        "start": f"Start after run {active_runs[0].number}" if active_runs else "Start",
        "command": prepare.command(settings, method, args, start_from, *flags),
        "has_batch": run_plan.data.train > 0 and not errors,
        "unit": m.unit,
    }


@takes("first_batch", method=str, preset=str, settings=dict[str, str | int | float] | None)
def batch(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The first batch as the text that the model will see, read back from its token ids."""
    method, preset, values = _choices(payload)
    try:
        rows = prepare.first_batch(context.settings, context.store, method, parse(method, values, preset))
    except (ValueError, OSError) as error:  # no data, a wrong setting, a model that is not here: each says so itself
        raise _refusal(error) from error
    return {"batch": rows}


@takes(
    "start_run",
    method=str,
    preset=str,
    settings=dict[str, str | int | float] | None,
    start_from=int | None,
    allow_failed_gate=bool | None,
    again=bool | None,
    token=str | None,
)
def start(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Start a run, or let it wait its turn. The same token gives the same run, however often it is sent.

    What was started a moment ago, in another tab say, is not started once more unless `again`: then there is "ask".
    """
    method, preset, values = _choices(payload)
    starts = context.part("starts", Starts)
    with starts.lock:
        click = read_token(payload)
        if click in starts.by_token:
            return {"run": starts.by_token[click]}
        try:
            args = rewards.with_absolute_paths(parse(method, values, preset), context.settings)
            parent, despite = _number(payload.get("start_from")), payload.get("allow_failed_gate") is True
            again = payload.get("again") is True
            rater = payload.get("rater")
            run = control.launch(
                context.settings,
                context.store,
                method,
                args,
                parent,
                allow_failed_gate=despite,
                again=again,
                started_by=None if rater == VISITOR else rater,
            )
        except prepare.SameRun as same:
            return {"ask": str(same), "run": same.run.number}
        except (ValueError, MemoryError, OSError) as error:
            raise _refusal(error) from error
        starts.keep(click, run.number)
    return {"run": run.number}


@takes("control_run", run=int, action=str)
def act(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Stop a run ("stop"), stop it after its step and keep the model ("save"), or go on with it ("resume")."""
    run, settings = _run(context, payload["run"]), context.settings
    action = payload["action"]
    try:
        if action == "resume":
            return {"run": control.resume(settings, run).number}
        if action in ("stop", "save"):
            return {"run": control.stop(settings, run, save=action == "save").number}
    except (ValueError, OSError) as error:
        raise Refused(disk.FULL if disk.is_full(error) else str(error)) from error
    raise Refused(f"There is no action {action!r} for a run.")


@takes("run_status", run=int | None, seen=int | None, after=int | None, samples=int | None, stamp=str | None)
def watch(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What is new since the page last asked: rows after line `after`, answers if there are more, runs if any changed.

    `run` is the one to show, None for the newest live one, else the newest; `seen` is what the page shows now: when
    that differs everything is sent from the beginning, and "from" is 0. "shown" is the run: its "state", and whether it
    is "live".
    """
    runs = list_runs(context.settings.workspace)
    number = _number(payload.get("run"))
    run = next((r for r in runs if r.number == number), None) if number is not None else None
    if number is not None and run is None:
        raise Refused(f"Run {number} no longer exists.")
    run = run or next((r for r in reversed(runs) if r.active and r.state != "waiting"), None)
    run = run or next(iter(runs), None)
    trash = history.deleted(context)
    stamp = _stamp(runs, trash)
    answer: dict[str, Any] = {"stamp": stamp, "runs": None, "shown": None, "rows": [], "samples": None}
    answer |= {"from": 0, "next": 0, "samples_next": 0, "faults": []}
    answer["live"] = [{"number": r.number, "time": time_text(r)} for r in runs if r.active]
    if payload.get("stamp") != stamp:
        answer |= {"runs": [brief(r) for r in runs], "deleted": trash}
        answer["base"] = history.base_row(runs, context.settings.model)
    if run is None:
        return answer
    is_same = payload.get("seen") == run.number
    after, samples_seen = (_cursor(payload.get(k)) if is_same else 0 for k in ("after", "samples"))
    metrics, answers = run.metric_lines(after), run.sample_lines()
    rows, samples = without_repeats(metrics.rows) if after == 0 else metrics.rows, without_repeats(answers.rows)
    keys = {k for c in METHODS[run.method].curves for s in c.series for k in (s.key, s.low, s.high, c.n) if k}
    answer |= {"shown": brief(run), "rows": [page_row(r, keys) for r in rows], "from": after, "next": metrics.next}
    answer["faults"] = metrics.faults + answers.faults
    if len(samples) != samples_seen:
        answer["samples"] = [{"step": s["step"], "prompt": s["prompt"], "text": s["answer"]} for s in samples]
    return answer | {"samples_next": len(samples)}


def _stamp(runs: Sequence[Run], trash: list[dict[str, Any]]) -> str:
    """Changes when what the table of runs shows does; progress apart, which `watch` sends beside it."""
    states = [(r.number, r.state, "" if r.active else r.status.message, r.label.as_json()) for r in runs]
    return blake2b(repr((states, trash)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@takes("run_log", run=int)
def log(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The last lines of a run's log."""
    return {"log": _run(context, payload["run"]).log_tail(60)}


@takes("compare_runs", runs=list[int])
def differences(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Two runs side by side: only what differs in settings, data and results; and the rows of both."""
    numbers = payload["runs"]
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise Refused("Choose two runs to compare side by side.")
    pair = sorted((_run(context, n) for n in numbers), key=lambda r: r.number)
    tables = [details(r) for r in pair]
    names = list(dict.fromkeys([*tables[0], *tables[1]]))
    rows = []
    for run in pair:
        keys = {k for c in METHODS[run.method].curves for s in c.series for k in (s.key, c.n) if k}
        rows.append([page_row(r, keys) for r in run.metrics(0)[0]])
    table = [{"name": n, "a": tables[0].get(n, "–"), "b": tables[1].get(n, "–")} for n in names]
    gap = gold_between(*pair)
    gold = (
        gap
        and f"Gold score of run {pair[1].number} minus that of run {pair[0].number}, on the same held-out prompts: {gap.summary(3)}."
    )
    return {
        "runs": [brief(r) for r in pair],
        "rows": rows,
        "differences": [row for row in table if row["a"] != row["b"]],
        "gold": gold,
    }


# Reading what the page sent


def _choices(payload: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    method, preset, values = payload["method"], payload["preset"], payload.get("settings") or {}
    if method not in METHODS:
        raise Refused(f"There is no method {method!r}. There are: {', '.join(METHODS)}.")
    if preset not in PRESETS:
        raise Refused(f"There is no preset {preset!r}. There are: {', '.join(PRESETS)}.")
    return method, preset, values


def _number(value: int | None) -> int | None:
    if value is None or 0 < value < 1_000_000:
        return value
    raise Refused(f"{value!r} is not a run number.")


def _cursor(value: int | None) -> int:
    return max(0, value or 0)


def _run(context: Context, number: int) -> Run:
    try:
        return find_run(context.settings.workspace, number)
    except ValueError as error:
        raise Refused(f"There is no run {number}.") from error


def _start_from(payload: dict[str, Any], offered: set[Any]) -> int | None:
    number = _number(payload.get("start_from"))
    if number not in offered:
        raise Refused(f"Run {number} has no trained model to start from. Choose another starting point.")
    return number


def _refusal(error: Exception) -> Refused:
    """What a start that cannot be says: of a wrong setting its name and what is wrong, of others their own words."""
    if isinstance(error, SettingError):
        return Refused(f"{error.field.replace('_', ' ').capitalize()}: {rewards.sentence(error.why)}")
    if disk.is_full(error):
        return Refused(disk.FULL)
    return Refused(str(error))


# Saying what Start would do


def _time_here(estimate: Estimate) -> str:
    if estimate.seconds is None or not isfinite(estimate.seconds):
        return ". Time estimate after the first run."
    s = estimate.seconds
    time = f"{max(1, round(s))} s" if s < 50 else f"{max(1, round(s / 60))} min" if s < 5400 else f"{s / 3600:.1f} h"
    return f", about {time} on this machine"


def _data_text(counts: DataCounts) -> str:
    if not counts.n:
        return f"no {counts.unit} yet"
    simulated = f"; {counts.simulated:,} from simulated raters" if counts.simulated else ""
    train = how_many(counts.train, counts.unit) if counts.train else f"no {counts.unit}"
    return f"{train} for training, {f'{counts.heldout:,}' if counts.heldout else 'none'} held out{simulated}"


def _problem(plan: Plan, errors: dict[str, str]) -> tuple[str | None, dict[str, Any] | None]:
    """What keeps Start from working, in words, and the tab that helps; what stands beside its own field is not here."""
    source = METHODS[plan.method].source
    for problem in plan.problems:
        if plan.reward and problem is plan.reward.problem:
            if isinstance(problem, MissingData):
                return str(problem), {"tab": "train", "options": {"method": "reward"}, "label": "Train one"}
        elif isinstance(problem, MissingData):
            where: dict[str, Any] = {"tab": source.tab.lower(), "label": source.link}
            return str(problem), where | ({"options": dict(source.options)} if source.options else {})
        elif not errors and not isinstance(problem, Distrusted):
            return str(problem), None
    if errors:
        return f"Correct {how_many(len(errors), 'settings')} first.", None
    return None, None
