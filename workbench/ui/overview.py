"""What the header shows: the model, the steps with their counts, the next step, the running job. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from workbench.jobs.runs import Run, read_runs
from workbench.learn.catalogue import METHODS
from workbench.learn.catalogue.facts import DEMONSTRATIONS
from workbench.ui.context import Context
from workbench.ui.payload import takes

WRITE_GOAL = 30  # answers after which the page suggests a first SFT run
RANK_GOAL = 100  # pairs after which the page suggests DPO
VOTE_GOAL = 10  # blind votes from which on Compare shows a win rate
FIRST, THEN = "sft", "dpo"  # the methods that the page suggests: on written answers, then on choices


@takes()
def overview(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Everything above the tabs in one small answer, for the page's light poll."""
    counts = context.store.counts()
    runs, faults = read_runs(context.settings.workspace)
    active_runs = [run for run in reversed(runs) if run.active]
    job = next((run for run in active_runs if run.state != "waiting"), active_runs[0] if active_runs else None)
    finished_runs = [run for run in runs if run.state == "done"]
    loading = context.loading()
    return {
        "place": loading or context.place(),
        "loading": bool(loading),
        "counts": {str(name): n for name, n in counts.items()},  # the database's own names are no plain str
        "steps": steps(counts, finished_runs, job),
        "next": next_step(counts, finished_runs, job),
        "job": chip(job) if job else None,
        "notices": notices(faults),
    }


def plural(n: int, noun: str) -> str:
    """ "1 pair", "1,200 pairs"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def steps(counts: dict[str, int], finished_runs: list[Run], job: Run | None) -> list[dict[str, Any]]:
    """The loop's steps with their state ("done", "next" or "open") and a count in words."""
    votes = counts["verdicts"]
    policies = [run for run in finished_runs if METHODS[run.method].answers]
    reward_models = [run for run in finished_runs if not METHODS[run.method].answers]
    busy_names = {"" if job is None else "align" if METHODS[job.method].answers else "reward"}
    activity = "" if job is None else "waiting" if job.state == "waiting" else "running"
    rows = [
        ("write", "Demonstrate", "demonstrate", {}, amount(counts, "demonstrations", "answer", WRITE_GOAL)),
        ("rank", "Rank", "rank", {}, amount(counts, "comparisons", "pair", RANK_GOAL)),
        (
            "reward",
            "Reward",
            "train",
            {"method": "reward"},
            f"run {reward_models[0].number}" if reward_models else "not trained",
        ),
        ("align", "Align", "train", {"method": THEN}, plural(len(policies), "run") if policies else "not started"),
        ("compare", "Compare", "compare", {}, amount(counts, "verdicts", "vote", 0) if votes else "nothing yet"),
    ]
    is_done = {
        "write": counts["demonstrations"] >= WRITE_GOAL or (counts["demonstrations"] > 0 and counts["comparisons"] > 0),
        "rank": counts["comparisons"] >= RANK_GOAL,
        "reward": bool(reward_models),
        "align": any(METHODS[run.method].source is not DEMONSTRATIONS for run in policies),
        "compare": votes >= VOTE_GOAL,
    }
    next_name = next_step(counts, finished_runs, job)["at"]
    return [
        {
            "label": label,
            "tab": tab,
            "options": options,
            "text": activity if name in busy_names else text,
            "state": "next" if name == next_name else "done" if is_done[name] and name not in busy_names else "open",
        }
        for name, label, tab, options, text in rows
    ]


def amount(counts: dict[str, int], what: str, noun: str, goal: int) -> str:
    """How many there are, towards the goal while below it; simulated ones are named."""
    n, simulated = counts[what], counts[f"simulated_{what}"]
    if simulated == n > 0:
        return f"{n:,} simulated"
    if simulated:
        return f"{n - simulated:,}, {simulated:,} simulated"
    goal_reached = n >= goal or (
        what == "demonstrations" and counts["comparisons"] > 0
    )  # ranking has begun: no goal any more
    return f"{n} of {goal}" if n and not goal_reached else plural(n, noun)


def next_step(counts: dict[str, int], finished_runs: list[Run], job: Run | None) -> dict[str, Any]:
    """The next step as one sentence with one link: before, link, after, tab to open, its options."""
    answers, pairs = counts["demonstrations"], counts["comparisons"]
    votes = counts["verdicts"] - counts["simulated_verdicts"]  # what people think is still to be asked
    methods = {run.method for run in finished_runs}

    def step(at: str, before: str, link: str, after: str, tab: str, **options: Any) -> dict[str, Any]:
        return {"at": at, "before": before, "link": link, "after": after, "opens": tab, "options": options}

    if job and not METHODS[job.method].answers:
        return step("reward", "Next: ", "watch it learn", " to score answers as you do", "train", run=job.number)
    if job:
        return step("align", "Next: see what changed in ", "Compare", f" when run {job.number} ends", "compare")
    if not answers and not pairs:
        return step("write", "Next: ", "write your ideal answers", "", "demonstrate")
    if answers < WRITE_GOAL and not pairs:
        rest = plural(WRITE_GOAL - answers, "more answer")
        return step("write", f"Next: {rest}, then ", f"train {METHODS[FIRST].label}", " on them", "train", method=FIRST)
    if answers >= WRITE_GOAL and not methods:
        return step(
            "align",
            "Next: ",
            f"train {METHODS[FIRST].label}",
            f" on the {plural(answers, 'answer')}",
            "train",
            method=FIRST,
        )
    if pairs < RANK_GOAL:
        rest = plural(RANK_GOAL - pairs, "more pair")
        return step("rank", f"Next: rank {rest}, then ", f"train {METHODS[THEN].label}", "", "train", method=THEN)
    if THEN not in methods:
        return step(
            "align", "Next: ", f"train {METHODS[THEN].label}", f" on the {plural(pairs, 'pair')}", "train", method=THEN
        )
    if votes < VOTE_GOAL:
        newest = next(run for run in finished_runs if METHODS[run.method].answers)
        return step("compare", "Next: ", "compare", f" the base and run {newest.number} blind", "compare")
    return step(
        "compare",
        f"{plural(votes, 'blind vote')} so far; voting more in ",
        "Compare",
        " narrows the interval",
        "compare",
    )


def chip(job: Run) -> dict[str, Any]:
    """The running job in the header: method, percent, time left."""
    status = job.status
    share = status.step / max(1, status.steps or 1)
    name = METHODS[job.method].label
    if job.state == "waiting":
        text = f"{name} waiting"
    elif job.state == "starting":
        text = f"{name} starting"
    else:
        eta = status.eta_s
        text = f"{name} {share:.0%}".replace("%", " %") + (f", {eta:.0f} s left" if eta is not None else "")
    return {
        "number": job.number,
        "method": job.method,
        "colour": METHODS[job.method].colour,
        "share": share,
        "text": text,
    }


def notices(faults: Sequence[str]) -> list[dict[str, Any]]:
    """What everybody at the page must know: on a Space, that its disk is lost on a restart; runs that cannot be read."""
    rows: list[dict[str, Any]] = [{"text": text} for text in faults]
    if os.environ.get("SPACE_ID"):
        text = "This Space loses everything when it restarts. Download your work:"
        rows.append({"text": text, "action": "Export everything", "download": "export_all"})
    return rows
