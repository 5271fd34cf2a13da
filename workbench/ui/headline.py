"""What a run came to, in one sentence: better than where it began, or not, with the figures that say so.

It never says more than was measured. Better is what the figures alone make clear: an interval of the win rate above one
half, or two intervals that do not meet.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from workbench.jobs.runs import Run
from workbench.learn.catalogue import METHODS
from workbench.learn.run_files import Figure, RunResult

CAN_VOTE = "Compare it with the base and vote, blind."


class Headline(NamedTuple):
    """`outcome` is how it compares with its start; `text` says so with figures."""

    outcome: Literal["better", "worse", "unclear", "unmeasured"]
    text: str


def headline(run: Run) -> Headline | None:
    """The headline of a run that has ended with a result; None before."""
    if run.active or run.result is None:
        return None
    return _by_gold(run.result) or _by_held_out(run, run.result) or _unmeasured(run)


def _by_gold(result: RunResult) -> Headline | None:
    """Held to the sandbox's own score, against the base on the same prompts."""
    gold, base, wins = (result.figure(name) for name in ("gold", "base_gold", "win_rate"))
    if gold is None or base is None:
        return None
    against = f"{_share(gold.value)} against {_share(base.value)}"
    if wins is None:
        return _headline(_by_intervals(gold, base), "the base", against)
    figures = f"{against}, wins {100 * wins.value:.0f} % ({_percents(wins)})"
    is_better, is_worse = wins.low > 0.5 and gold.value > base.value, wins.high < 0.5 and gold.value < base.value
    return _headline("better" if is_better else "worse" if is_worse else "unclear", "the base", figures)


def _by_held_out(run: Run, result: RunResult) -> Headline | None:
    """Held to what people wrote or chose on held-out prompts, against the same figure before the first step."""
    parent = run.config.parent
    start = f"its start (run {parent})" if parent is not None else "the base"
    if loss := result.figure("heldout_loss"):
        before = run.start.figure("heldout_loss")
        figures = f"held-out loss {loss.value:.2f} ({loss.low:.2f} to {loss.high:.2f}), n {loss.n}"
        if before is None:
            return Headline("unmeasured", f"Not compared with {start}: {figures}.")
        figures = f"{figures}, against {before.value:.2f} ({before.low:.2f} to {before.high:.2f})"
        return _headline(_by_intervals(before, loss), start, figures, " at predicting held-out answers")
    accuracy = result.figure("accuracy")
    if accuracy is None:
        return None
    figures = f"{100 * accuracy.value:.0f} % right ({_percents(accuracy)}), n {accuracy.n}"
    subject = (
        " at agreeing with held-out choices" if METHODS[run.method].scores != "steps" else " at judging held-out steps"
    )
    if METHODS[run.method].scores:
        start = "before training"
    before = run.start.figure("accuracy")
    if before is None:
        return Headline("unmeasured", f"Not compared with {start}: {figures}.")
    figures = f"{figures}, against {100 * before.value:.0f} % ({_percents(before)})"
    return _headline(_by_intervals(accuracy, before), start, figures, subject)


def _unmeasured(run: Run) -> Headline:
    reason = "Not measured against the base: there is nothing held out."
    return Headline("unmeasured", f"{reason} {CAN_VOTE}" if run.adapter else reason)


def _by_intervals(higher: Figure, lower: Figure) -> Literal["better", "worse", "unclear"]:
    """Whether the first figure is clearly above the second."""
    return "better" if higher.low > lower.high else "worse" if higher.high < lower.low else "unclear"


def _headline(outcome: Literal["better", "worse", "unclear"], start: str, figures: str, subject: str = "") -> Headline:
    word = {"better": "Better", "worse": "Worse", "unclear": "Not better"}[outcome]
    return Headline(outcome, f"{word} than {start}{subject}: {figures}.")


def _share(value: float) -> str:
    """ ".91", "1.00": a share of one."""
    return f"{value:.2f}".removeprefix("0")


def _percents(figure: Figure) -> str:
    return f"{100 * figure.low:.0f} to {100 * figure.high:.0f}"
