"""What the header shows: the model, the steps with their counts, the next step, the running job. No torch."""

from __future__ import annotations

import os
from typing import Any

from workbench import jobs
from workbench.ui.context import Context

WRITE_GOAL = 30  # answers after which the page suggests a first SFT run
RANK_GOAL = 100  # pairs after which the page suggests DPO
VOTE_GOAL = 10  # blind votes from which on Compare shows a win rate

RUNNING = ("waiting", "starting", "running")


def overview(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Everything above the tabs in one small answer, for the page's light poll."""
    counts = context.store.counts()
    runs = jobs.runs(context.settings.workspace)
    job = next((run for run in reversed(runs) if run.status.get("state") in RUNNING), None)
    finished = [run for run in runs if run.status.get("state") == "done"]
    loading = context.loading()
    return {
        "place": loading or context.place(),
        "loading": bool(loading),
        "counts": {str(name): n for name, n in counts.items()},  # the database's own names are no plain str
        "steps": steps(counts, finished, job),
        "next": next_step(counts, finished, job),
        "job": chip(job) if job else None,
        "notices": notices(),
    }


def plural(n: int, one: str) -> str:
    """ "1 pair", "1,200 pairs"."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


def steps(counts: dict[str, int], finished: list[Any], job: Any) -> list[dict[str, Any]]:
    """The loop's steps with their state ("done", "next" or "open") and a count in words."""
    written, ranked, votes = counts["demonstrations"], counts["comparisons"], counts["verdicts"]
    nearest = next_step(counts, finished, job)["tab"]
    aligned = [run for run in finished if run.method != "sft"]
    if job:
        align = f"{job.method.upper()} {'waiting' if job.status.get('state') == 'waiting' else 'running'}"
    else:
        align = plural(len(finished), "run") if finished else "not started"
    wrote = f"{written} of {WRITE_GOAL}" if 0 < written < WRITE_GOAL and not ranked else plural(written, "answer")
    told = f"{ranked} of {RANK_GOAL}" if 0 < ranked < RANK_GOAL else plural(ranked, "pair")
    done = {
        "demonstrate": written >= WRITE_GOAL or (written > 0 and ranked > 0),
        "rank": ranked >= RANK_GOAL,
        "train": bool(aligned) and not job,
        "compare": votes >= VOTE_GOAL,
    }
    rows = [
        ("Write", "demonstrate", wrote),
        ("Rank", "rank", told),
        ("Align", "train", align),
        ("Compare", "compare", plural(votes, "vote") if votes else "nothing yet"),
    ]
    return [
        {"label": label, "tab": tab, "text": text, "state": step_state(tab, nearest, done[tab])}
        for label, tab, text in rows
    ]


def step_state(tab: str, nearest: str, done: bool) -> str:
    """ "next" for the suggested step, else "done" or "open"."""
    return "next" if tab == nearest else "done" if done else "open"


def next_step(counts: dict[str, int], finished: list[Any], job: Any) -> dict[str, Any]:
    """The next step as one sentence with one link: before, link, after, tab to open, its options."""
    written, ranked, votes = counts["demonstrations"], counts["comparisons"], counts["verdicts"]
    methods = {run.method for run in finished}

    def say(before: str, link: str, after: str, tab: str, at: str = "", **options: Any) -> dict[str, Any]:
        return {"before": before, "link": link, "after": after, "tab": at or tab, "opens": tab, "options": options}

    if job:
        return say("Next: see what changed in ", "Compare", f" when run {job.number} ends", "compare", at="train")
    if not written and not ranked:
        return say("Next: ", "write the answers you wish it gave", "", "demonstrate")
    if written < WRITE_GOAL and not ranked:
        rest = plural(WRITE_GOAL - written, "more answer")
        return say(f"Next: {rest}, then ", "train SFT", " on them", "train", at="demonstrate", method="sft")
    if written >= WRITE_GOAL and not methods:
        return say("Next: ", "train SFT", f" on your {plural(written, 'answer')}", "train", method="sft")
    if ranked < RANK_GOAL:
        rest = plural(RANK_GOAL - ranked, "more pair")
        return say(f"Next: rank {rest}, then ", "train DPO", "", "train", at="rank", method="dpo")
    if "dpo" not in methods:
        return say("Next: ", "train DPO", f" on the {plural(ranked, 'pair')}", "train", method="dpo")
    if votes < VOTE_GOAL:
        return say("Next: ", "compare", f" base and run {finished[0].number} blind", "compare")
    return say(f"{plural(votes, 'blind vote')} so far; more in ", "Compare", " narrow the interval", "compare")


def chip(job: Any) -> dict[str, Any]:
    """The running job in the header: method, percent, time left."""
    status = job.status
    share = status.get("step", 0) / max(1, status.get("steps") or 1)
    name = job.method.upper()
    if status["state"] == "waiting":
        text = f"{name} waits"
    elif status["state"] == "starting":
        text = f"{name} starting"
    else:
        left = status.get("eta_s")
        text = f"{name} {share:.0%}".replace("%", " %") + (f", {left:.0f} s left" if left is not None else "")
    return {"number": job.number, "method": job.method, "colour": job.method, "share": share, "text": text}


def notices() -> list[dict[str, Any]]:
    """What everybody at the page must know: on a Space, that its disk is lost on a restart."""
    if not os.environ.get("SPACE_ID"):
        return []
    text = "This Space forgets everything when it restarts. Take your work with you:"
    return [{"text": text, "action": "Export everything", "download": "export_all"}]
