"""A run in the words of the page: its title, its state, its result. Train, Compare and the header's chip read it so."""

from __future__ import annotations

from math import isfinite
from typing import Any

from workbench.jobs.runs import Run
from workbench.learn.catalogue import METHODS
from workbench.learn.run_files import Figure, RunResult
from workbench.records import how_many
from workbench.ui import rewards
from workbench.ui.headline import headline


def brief(run: Run) -> dict[str, Any]:
    """What the page shows of a run, apart from its curves."""
    m, config, status = METHODS[run.method], run.config, run.status
    buttons = actions(run)
    result, explanation = result_text(run)
    return {
        "number": run.number,
        "method": run.method,
        "colour": m.colour,
        "title": f"Run {run.number}{f', {run.label.name}' if run.label.name else ''}: {m.label} on {how_many(config.data.n, config.data.unit or m.unit)}",
        "short": run.title,
        "name": f"{m.label}, {config.preset}",
        "state": run.state,
        "live": run.active,
        "step": status.step,
        "steps": status.steps or config.args["steps"],
        "line": line(run),
        "notices": notices(run),
        "verdict": rewards.badge(run),
        "actions": buttons,
        "action": next((a for a in buttons if a["name"] in ("compare", "score", "resume")), None),
        "data": data_text(run),
        "parent": f"run {config.parent}" if config.parent is not None else None,
        "time": time_text(run),
        "result": result,
        "explain": explanation,
        "badge": None if run.state == "done" else run.state,
        "created": config.created,
        "label": run.label.name,
        "note": run.label.note,
        "starred": run.label.starred,
        "headline": {"outcome": sentence.outcome, "text": sentence.text} if (sentence := headline(run)) else None,
        "order": _order(run),
        "best_of_n": best_of_n(run),
    }


def starred_title(run: Run) -> str:
    """The run's title as a list of choices shows it."""
    return f"{'★ ' if run.label.starred else ''}{run.title}"


def _order(run: Run) -> dict[str, Any]:
    """By what the table of runs sorts its columns: results of one kind among themselves, the better the higher."""
    order: dict[str, Any] = {"data": run.config.data.n, "time": run.status.seconds, "figure": "", "value": None}
    result = run.result or RunResult()
    if figure := result.figure("gold"):
        return order | {"figure": "gold", "value": figure.value}
    if figure := result.figure("accuracy"):
        return order | {"figure": "accuracy", "value": figure.value}
    if figure := result.figure("heldout_loss"):
        return order | {"figure": "heldout_loss", "value": -figure.value}
    return order


def best_of_n(run: Run) -> dict[str, Any] | None:
    """What a process reward's choice among n answers buys, for a chart over n; None for other runs."""
    best = run.result.best_of_n if run.result else None
    if not best:
        return None
    gap, low, high = (f"{round(100 * v):+d}".replace("-", "−").replace("+0", "0") for v in best.difference)
    judgement = "clear" if best.clear else "within chance"
    lines = (("reward model", best.reward), ("majority vote", best.majority))
    series = [{"label": label, "values": values} for label, values in lines]
    series.append({"label": "one answer", "values": [best.one] * len(best.ns)})
    return {
        "ns": best.ns,
        "unit": f"% right, n {best.n:,} held-out word problems",
        "sentence": f"Best of {best.ns[-1]}: choosing by the reward model minus the majority vote, {gap} points "
        f"({low} to {high}), {judgement}.",
        "series": series,
    }


def notices(run: Run) -> list[str]:
    """What the person should know of a run; skipped steps are told beside the curves."""
    risks = [f"Started anyway although {text}" for text in run.config.despite]
    return risks + [text for text in run.status.notices if "gave no valid number" not in text]


def line(run: Run) -> str:
    """The run's state as one sentence, word for word as the page shows it."""
    status, step = run.status, run.status.step
    if run.state == "done":
        return status.message or f"Done in {seconds(status.seconds)}. See what changed."
    if run.state != "running":
        return status.message or f"Run {run.number} is {run.state}."
    if (run.folder / "stop").exists():
        return f"Step {step} of {status.steps}. Stopping after this step, then the model is saved."
    eta = f", about {seconds(status.eta_s)} left" if status.eta_s is not None else ""
    return f"Step {step} of {status.steps}{eta}. It continues if you close this page."


def actions(run: Run) -> list[dict[str, Any]]:
    """The buttons of a run's card, in order."""
    if run.state == "running":
        return [_action("save", "Stop and save"), _action("stop", "Stop")]
    if run.active:
        return [_action("stop", "Stop")]
    buttons = [_action("compare", "Compare", suggested=run.state == "done")] if run.adapter else []
    if run.scorer:
        buttons = [_action("score", "Score text", suggested=run.state == "done")]
    if run.state == "done":
        return buttons
    if run.state == "failed":
        return [_action("log", "Show log"), _action("resume", "Try again", suggested=True)]
    return [_action("resume", "Resume", suggested=True), *buttons]


def _action(name: str, label: str, suggested: bool = False) -> dict[str, Any]:
    return {"name": name, "label": label, "suggested": suggested}


def time_text(run: Run) -> str:
    """How long it took, or how far it is."""
    if run.state == "done":
        return seconds(run.status.seconds)
    if run.state in ("waiting", "starting"):
        return "–"
    return f"{run.status.step} of {run.status.steps or run.config.args['steps']} steps"


def data_text(run: Run) -> str:
    """ "500 pairs", and how many of them simulated raters gave."""
    data = run.config.data
    simulated = f", {data.simulated:,} simulated" if data.simulated else ""
    return how_many(data.n, data.unit) + simulated


def result_text(run: Run) -> tuple[str, str | None]:
    """A run's result with its interval, and the line that explains such results with n and the base's."""
    result = run.result or RunResult()
    if gold := result.figure("gold"):
        base = result.figure("base_gold")
        start = f"; base {base.value:.2f} ({base.low:.2f} to {base.high:.2f})" if base else ""
        explanation = f"Gold score, 0 to 1{start}. n {gold.n} held-out answers, 95 % intervals"
        return f"{gold.value:.2f} ({gold.low:.2f} to {gold.high:.2f})", explanation
    if accuracy := result.figure("accuracy"):
        what = "accuracy" if METHODS[run.method].answers else "right"
        text = f"{100 * accuracy.value:.0f} % {what} ({_percent(accuracy)}), n {accuracy.n}"
        answers = result.figure("answers")
        if answers is None:
            return text, None
        explanation = f"Answers as a whole: {100 * answers.value:.0f} % ({_percent(answers)}), n {answers.n}"
        return text, f"Steps judged as labelled. {explanation}; held out, 95 % intervals"
    if loss := result.figure("heldout_loss"):
        return f"held-out loss {loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f}), n {loss.n}", None
    return "–", None


def _percent(figure: Figure) -> str:
    return f"{100 * figure.low:.0f} to {100 * figure.high:.0f}"


def details(run: Run) -> dict[str, str]:
    """Settings, data and results of a run as name -> text, to lay beside another's."""
    config, data = run.config, run.config.data
    rows = {"method": METHODS[run.method].label, "model": config.model}
    rows["start from"] = f"run {config.parent}" if config.parent is not None else "the base model"
    rows |= {k.replace("_", " "): _value(v) for k, v in config.args.items()}
    rows |= {"data": data_text(run), "used for training": _value(data.train), "held out": _value(data.heldout)}
    rows["data hash"] = data.hash[:8]
    rows |= {"state": run.state, "steps done": _value(run.status.step)}
    rows |= {"result": result_text(run)[0], "time": time_text(run)}
    if peak := (run.result and run.result.peak_mb) or run.status.peak_mb:
        rows["peak memory"] = f"{peak:.0f} MB"
    return rows


def _value(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


def page_row(row: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    """A row of metrics with what the curves draw: six digits, and None for what is no finite number (a gap)."""
    markers = {"step": row.get("step"), "back_to": row.get("back_to"), "rejected": row.get("rejected")}
    point = {k: v for k, v in markers.items() if v is not None}
    for key in keys & row.keys():
        value = row[key]
        is_finite = isinstance(value, int | float) and isfinite(value)
        point[key] = (value if isinstance(value, int) else float(f"{value:.6g}")) if is_finite else None
    return point


def seconds(value: float) -> str:
    """ "24 s", "3 min", "1.5 h" """
    if value < 90:
        return f"{max(1, round(value))} s"
    return f"{round(value / 60)} min" if value < 5400 else f"{value / 3600:.1f} h"
