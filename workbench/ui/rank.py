"""Rank: two answers, one choice. The page's functions; its looks and its queue of unsent choices are in static/rank.js."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from workbench.collect import prompts as choice
from workbench.collect.pairs import Pair
from workbench.intervals import wilson
from workbench.records import Comparison
from workbench.ui import payload as sent
from workbench.ui import stepwise
from workbench.ui.context import Context, Refused
from workbench.ui.overview import RANK_GOAL
from workbench.ui.payload import takes
from workbench.ui.shell import panel

AT_ONCE = 6  # pairs a page may hold: enough that a vote never waits, few enough that others get some
PAGES = 300  # pages whose pairs are remembered
BATCH = 20  # prompts added by "Write answers" and "Make more"
NAMED = 40  # characters of a prompt in a sentence about it
HABITS_FROM = 20  # choices after which habits are shown
QUESTION = "Which answer is better? Correctness first, then politeness, then brevity."


class Desk:
    """Which pairs lie before which page, so that a reload shows the same pair again and no pair is lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, dict[str, Pair]] = OrderedDict()

    def deal(self, context: Context, page: str, rater: str, have: list[str], n: int) -> list[Pair]:
        """Up to n pairs for a page that holds those named in `have`: first what lies before it already, then new."""
        with self._lock:
            held = self._pages.setdefault(page, {})
            self._pages.move_to_end(page)
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
            again = [pair for name, pair in held.items() if name not in have][:n]
        new = context.pairs.take(rater, n - len(again)) if n > len(again) else []
        with self._lock:
            held.update({key(pair): pair for pair in new})
        return again + new

    def clear(self, page: str, shown: tuple[int, int]) -> None:
        """This pair was judged or skipped."""
        with self._lock:
            self._pages.get(page, {}).pop(f"{shown[0]}-{shown[1]}", None)


def key(pair: Pair) -> str:
    """One name per pair and order of sides."""
    return f"{pair.left.id}-{pair.right.id}"


def desk(context: Context) -> Desk:
    """The one desk of this page's process."""
    return context.part("desk", Desk)


@takes(page=str, n=int, have=list[str], retry=bool | None)
def rank_pairs(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The next pairs for this page, at once with what is ready; and why there are none, if there are none."""
    page, have = sent.words(payload, "page", longest=64), payload["have"]
    n = max(0, min(sent.number(payload, "n"), AT_ONCE - len(have)))
    answer: dict[str, Any] = {"pairs": [], "loading": context.loading(), "error": None, "empty": False}
    answer["passed"] = ""
    if not context.store.counts()["prompts"]:
        return {**answer, "empty": True, "loading": ""}
    if context.model_state == "failed":
        return {**answer, "error": context.loading(), "loading": ""}
    if not answer["loading"]:
        if payload.get("retry"):
            context.pairs.retry()
        answer["pairs"] = [show(pair) for pair in desk(context).deal(context, page, payload["rater"], have, n)]
        state = context.pairs.state()
        answer |= {"error": state["error"], "passed": passed_over(context, state["passed"])}
    return answer


def passed_over(context: Context, passed: dict[int, int]) -> str:
    """Which prompts are left out because the model cannot read so many tokens, as a sentence; "" without any."""
    if not passed:
        return ""
    id, tokens = next(iter(passed.items()))
    text = " ".join(context.store.prompt(id).text.split())
    named = f"“{text[:NAMED]}{'…' if len(text) > NAMED else ''}” has {tokens:,} tokens; {context.reads()}."
    if len(passed) == 1:
        return f"1 prompt is too long and is left out: {named}"
    return f"{len(passed):,} prompts are too long and are left out. {named}"


def show(pair: Pair) -> dict[str, Any]:
    """A pair without anything that would tell who wrote which answer."""
    return {
        "key": key(pair),
        "prompt_id": pair.prompt.id,
        "prompt": pair.prompt.text,
        "shown": list(pair.shown),
        "texts": [pair.left.text, pair.right.text],
    }


def sides(payload: dict[str, Any]) -> tuple[int, int]:
    """The two response ids in the order shown. Raises Refused for anything else."""
    shown = payload["shown"]
    if len(shown) != 2:
        raise Refused("A choice needs the two answers it is about. Reload the page; nothing saved is lost.")
    left, right = (sent.number({"shown": each}, "shown") for each in shown)
    return left, right


def ranking(shown: tuple[int, ...], said: str) -> tuple[list[list[int]], int | None]:
    """Groups and how many of them are acceptable, for "a", "b", "tie" or "bad". Raises Refused for anything else."""
    left, right = shown
    choices: dict[str, tuple[list[list[int]], int | None]] = {
        "a": ([[left], [right]], None),
        "b": ([[right], [left]], None),
        "tie": ([[left, right]], None),
        "bad": ([[left, right]], 0),
    }
    if said not in choices:
        raise Refused("A choice is a, b, tie or bad. Reload the page; nothing saved is lost.")
    return choices[said]


@takes(prompt_id=int, shown=list[int], choice=str, seconds=Any, token=str, page=str)
def vote(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store one choice. Sent twice with the same token, it is stored once."""
    shown = sides(payload)
    groups, acceptable = ranking(shown, payload["choice"])
    saved = context.store.add_comparison(
        sent.number(payload, "prompt_id"),
        shown,
        groups,
        shown,
        payload["rater"],
        acceptable=acceptable,
        seconds=sent.seconds(payload),
        question=QUESTION,
        token=sent.token(payload),
    )
    desk(context).clear(sent.words(payload, "page", longest=64), shown)
    return {"id": saved.id, "version": saved.version}


@takes(prompt_id=int, shown=list[int], text=str, seconds=Any, token=str, page=str)
def own(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """ "My own answer beats both": a demonstration and a comparison in one act."""
    shown = sides(payload)
    _, saved = context.store.add_demonstration_and_comparison(
        sent.number(payload, "prompt_id"),
        sent.words(payload, "text").strip(),
        shown,
        shown,
        payload["rater"],
        seconds=sent.seconds(payload),
        question=QUESTION,
        token=sent.token(payload),
    )
    desk(context).clear(sent.words(payload, "page", longest=64), shown)
    return {"id": saved.id, "version": saved.version}


@takes(prompt_id=int, shown=list[int], page=str)
def skip_pair(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over a pair: its prompt comes later."""
    shown = sides(payload)
    id = context.store.skip(payload["rater"], sent.number(payload, "prompt_id"))
    desk(context).clear(sent.words(payload, "page", longest=64), shown)
    return {"id": id}


def mine(context: Context, rater: str) -> list[Comparison]:
    """What this person chose on this page: no imported and no simulated votes."""
    return [each for each in context.store.comparisons(rater) if each.source == "person" and not each.simulated]


@takes(op=str | None, id=int | None)
def undo_choice(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take back a choice of this rater by its id, or their newest skip."""
    if payload.get("op") == "skip":
        return {"undone": context.store.undo(payload["rater"], ("skip",)) is not None}
    id = sent.number(payload, "id")
    if not any(each.id == id for each in mine(context, payload["rater"])):
        return {"undone": False}
    context.store.delete_comparison(id)
    return {"undone": True}


@takes(id=int, version=int, choice=str)
def change_choice(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Judge a pair of one's own again. Raises Conflict when it was changed elsewhere since it was read."""
    id = sent.number(payload, "id")
    before = next((each for each in mine(context, payload["rater"]) if each.id == id), None)
    if before is None or len(before.shown) != 2:
        raise Refused("This choice no longer exists, so it was not changed.")
    groups, acceptable = ranking(before.shown, payload["choice"])
    saved = context.store.change_comparison(id, groups, acceptable, version=sent.number(payload, "version"))
    return {"id": saved.id, "version": saved.version}


@takes()
def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How many choices this rater made, the last of them, and their habits."""
    made = mine(context, payload["rater"])
    counts = context.store.counts()
    return {
        "place": context.key,
        "question": QUESTION,
        "goal": RANK_GOAL,
        "mine": len(made),
        "simulated": counts["simulated_comparisons"],
        "last": [past(each) for each in made[-20:]],
        "habits": habits(made) if len(made) >= HABITS_FROM else [],
    }


def past(each: Comparison) -> dict[str, Any]:
    """A choice as the list of last choices needs it, with its pair, so that it can be changed or undone."""
    by_id = {response.id: response for response in each.responses}
    left, right, *more = each.shown
    if more:
        said = "own"
    elif len(each.groups) == 1:
        said = "bad" if each.acceptable == 0 else "tie"
    else:
        said = "a" if each.groups[0] == (left,) else "b"
    return {
        "id": each.id,
        "version": each.version,
        "choice": said,
        "pair": {
            "key": f"{left}-{right}",
            "prompt_id": each.prompt_id,
            "prompt": each.prompt,
            "shown": [left, right],
            "texts": [by_id[left].text, by_id[right].text],
        },
    }


def habits(made: list[Comparison]) -> list[dict[str, Any]]:
    """How often the longer and the left answer was chosen, each with n and its 95 % interval (Wilson)."""
    decided = [each for each in made if len(each.shown) == 2 and len(each.groups) == 2]
    longer, left = [], []
    for each in decided:
        chosen, rejected = each.pairs()[0]
        left.append(chosen.id == each.shown[0])
        if len(chosen.text) != len(rejected.text):
            longer.append(len(chosen.text) > len(rejected.text))
    rows = []
    for label, hits in (("Chose the longer answer", longer), ("Chose the left answer", left)):
        if hits:
            low, high = wilson(sum(hits), len(hits))
            value = sum(hits) / len(hits)
            rows.append({"label": label, "value": value, "low": low, "high": high, "n": len(hits)})
    return rows


@takes()
def make_pairs(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put the next prompts that come with the workbench into the list, for the model to answer."""
    known = {prompt.text for prompt in context.store.prompts()}
    offered = choice.starter(len(known) + BATCH)
    new = [text for text in offered if text not in known][:BATCH]
    if new:
        context.store.add_prompts(new, "sandbox")
        context.pairs.retry()
    return {"added": len(new)}


FUNCTIONS = [rank_pairs, vote, own, skip_pair, undo_choice, change_choice, choices, make_pairs]


def tab(context: Context) -> None:
    """Build the tab: two answers to choose from, or the steps of one to judge."""
    panel(context, "stepwise", stepwise.FUNCTIONS)
    panel(context, "rank", FUNCTIONS)
