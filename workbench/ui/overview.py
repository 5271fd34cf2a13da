"""What the header shows: the model, the steps with their counts, the next step, the running job. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from workbench.jobs.runs import read_runs
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
    runs, left_out = read_runs(context.settings.workspace)
    active = [run for run in reversed(runs) if run.active]
    job = next((run for run in active if run.state != "waiting"), active[0] if active else None)
    finished = [run for run in runs if run.state == "done"]
    loading = context.loading()
    return {
        "place": loading or context.place(),
        "loading": bool(loading),
        "counts": {str(name): n for name, n in counts.items()},  # the database's own names are no plain str
        "steps": steps(counts, finished, job),
        "next": next_step(counts, finished, job),
        "job": chip(job) if job else None,
        "notices": notices(left_out),
    }


def plural(n: int, one: str) -> str:
    """ "1 pair", "1,200 pairs"."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def steps(counts: dict[str, int], finished: list[Any], job: Any) -> list[dict[str, Any]]:
    """The loop's steps with their state ("done", "next" or "open") and a count in words."""
    votes = counts["verdicts"]
    aligned = [run for run in finished if METHODS[run.method].answers]
    scorers = [run for run in finished if not METHODS[run.method].answers]
    busy = {"" if job is None else "align" if METHODS[job.method].answers else "reward"}
    doing = "" if job is None else "waiting" if job.state == "waiting" else "running"
    rows = [
        ("write", "Demonstrate", "demonstrate", {}, amount(counts, "demonstrations", "answer", WRITE_GOAL)),
        ("rank", "Rank", "rank", {}, amount(counts, "comparisons", "pair", RANK_GOAL)),
        ("reward", "Reward", "train", {"method": "reward"}, f"run {scorers[0].number}" if scorers else "not trained"),
        ("align", "Align", "train", {"method": THEN}, plural(len(aligned), "run") if aligned else "not started"),
        ("compare", "Compare", "compare", {}, amount(counts, "verdicts", "vote", 0) if votes else "nothing yet"),
    ]
    done = {
        "write": counts["demonstrations"] >= WRITE_GOAL or (counts["demonstrations"] > 0 and counts["comparisons"] > 0),
        "rank": counts["comparisons"] >= RANK_GOAL,
        "reward": bool(scorers),
        "align": any(METHODS[run.method].source is not DEMONSTRATIONS for run in aligned),
        "compare": votes >= VOTE_GOAL,
    }
    nearest = next_step(counts, finished, job)["at"]
    return [
        {
            "label": label,
            "tab": tab,
            "options": options,
            "text": doing if name in busy else text,
            "state": "next" if name == nearest else "done" if done[name] and name not in busy else "open",
        }
        for name, label, tab, options, text in rows
    ]


def amount(counts: dict[str, int], what: str, one: str, goal: int) -> str:
    """How many there are, towards the goal while below it; simulated ones are named."""
    n, simulated = counts[what], counts[f"simulated_{what}"]
    if simulated == n > 0:
        return f"{n:,} simulated"
    if simulated:
        return f"{n - simulated:,}, {simulated:,} simulated"
    beyond = n >= goal or (
        what == "demonstrations" and counts["comparisons"] > 0
    )  # ranking has begun: no goal any more
    return f"{n} of {goal}" if n and not beyond else plural(n, one)


def next_step(counts: dict[str, int], finished: list[Any], job: Any) -> dict[str, Any]:
    """The next step as one sentence with one link: before, link, after, tab to open, its options."""
    written, ranked = counts["demonstrations"], counts["comparisons"]
    votes = counts["verdicts"] - counts["simulated_verdicts"]  # what people think is still to be asked
    methods = {run.method for run in finished}

    def say(at: str, before: str, link: str, after: str, tab: str, **options: Any) -> dict[str, Any]:
        return {"at": at, "before": before, "link": link, "after": after, "opens": tab, "options": options}

    if job and not METHODS[job.method].answers:
        return say("reward", "Next: ", "watch it learn", " to score answers as you do", "train", run=job.number)
    if job:
        return say("align", "Next: see what changed in ", "Compare", f" when run {job.number} ends", "compare")
    if not written and not ranked:
        return say("write", "Next: ", "write your ideal answers", "", "demonstrate")
    if written < WRITE_GOAL and not ranked:
        rest = plural(WRITE_GOAL - written, "more answer")
        return say("write", f"Next: {rest}, then ", f"train {METHODS[FIRST].label}", " on them", "train", method=FIRST)
    if written >= WRITE_GOAL and not methods:
        return say(
            "align",
            "Next: ",
            f"train {METHODS[FIRST].label}",
            f" on the {plural(written, 'answer')}",
            "train",
            method=FIRST,
        )
    if ranked < RANK_GOAL:
        rest = plural(RANK_GOAL - ranked, "more pair")
        return say("rank", f"Next: rank {rest}, then ", f"train {METHODS[THEN].label}", "", "train", method=THEN)
    if THEN not in methods:
        return say(
            "align", "Next: ", f"train {METHODS[THEN].label}", f" on the {plural(ranked, 'pair')}", "train", method=THEN
        )
    if votes < VOTE_GOAL:
        newest = next(run for run in finished if METHODS[run.method].answers)
        return say("compare", "Next: ", "compare", f" the base and run {newest.number} blind", "compare")
    return say(
        "compare",
        f"{plural(votes, 'blind vote')} so far; voting more in ",
        "Compare",
        " narrows the interval",
        "compare",
    )


def chip(job: Any) -> dict[str, Any]:
    """The running job in the header: method, percent, time left."""
    status = job.status
    share = status.step / max(1, status.steps or 1)
    name = METHODS[job.method].label
    if job.state == "waiting":
        text = f"{name} waiting"
    elif job.state == "starting":
        text = f"{name} starting"
    else:
        left = status.eta_s
        text = f"{name} {share:.0%}".replace("%", " %") + (f", {left:.0f} s left" if left is not None else "")
    return {
        "number": job.number,
        "method": job.method,
        "colour": METHODS[job.method].colour,
        "share": share,
        "text": text,
    }


def notices(left_out: Sequence[str]) -> list[dict[str, Any]]:
    """What everybody at the page must know: on a Space, that its disk is lost on a restart; runs that cannot be read."""
    found: list[dict[str, Any]] = [{"text": text} for text in left_out]
    if os.environ.get("SPACE_ID"):
        text = "This Space loses everything when it restarts. Download your work:"
        found.append({"text": text, "action": "Export everything", "download": "export_all"})
    return found
