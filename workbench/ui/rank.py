"""Rank: two answers, one choice. The page's functions; its looks and its queue of unsent choices are in static/rank.js."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from workbench.collect.pairs import TRIES, Pair
from workbench.collect.prompts import starter
from workbench.intervals import wilson
from workbench.records import Comparison
from workbench.ui import stepwise
from workbench.ui.context import Context, Refused
from workbench.ui.importing import import_file
from workbench.ui.overview import RANK_GOAL
from workbench.ui.payload import WrongField, read_number, read_seconds, read_text, read_token, takes
from workbench.ui.shell import panel

AT_ONCE = 6  # pairs a page may hold: enough that a vote never waits, few enough that others get some
PAGES = 300  # pages whose pairs are remembered
BATCH = 20  # prompts added by "Write answers" and "Make more"
PREVIEW = 40  # characters of a prompt in a sentence about it
HABITS_FROM = 20  # choices after which habits are shown
QUESTION = "Which answer is better? Correctness first, then politeness, then brevity."


class Desk:
    """Which pairs lie before which page, so that a reload shows the same pair again and no pair is lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: OrderedDict[str, dict[str, Pair]] = OrderedDict()

    def deal(self, context: Context, page: str, rater: str, names_held: list[str], n: int) -> list[Pair]:
        """Up to n pairs for a page that holds those named in `have`: first what lies before it already, then new."""
        with self._lock:
            pairs = self._pages.setdefault(page, {})
            self._pages.move_to_end(page)
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
            repeats = [pair for name, pair in pairs.items() if name not in names_held][:n]
        fresh_pairs = context.pairs.take(rater, n - len(repeats)) if n > len(repeats) else []
        with self._lock:
            pairs.update({key(pair): pair for pair in fresh_pairs})
        return repeats + fresh_pairs

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


@takes("next_pairs", n=int, page=str | None, have=list[str] | None, retry=bool | None)
def rank_pairs(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """The next pairs for this page, at once with what is ready; and why there are none, if there are none."""
    page, have = page_of(payload), payload.get("have") or []
    n = max(0, min(read_number(payload, "n"), AT_ONCE - len(have)))
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
        notices = [skip_notice(context, state["passed"]), repeat_notice(context, state["identical"])]
        answer |= {"error": state["error"], "passed": " ".join(filter(None, notices))}
    return answer


def page_of(payload: dict[str, Any]) -> str:
    """The page that asks. A rater's programs, which name none, are one page together."""
    if payload.get("page") is None:
        return f"programs of {payload['rater']}"
    return read_text(payload, "page", longest=64)


def skip_notice(context: Context, lengths: dict[int, int]) -> str:
    """Which prompts are left out because the model cannot read so many tokens, as a sentence; "" without any."""
    if not lengths:
        return ""
    id, tokens = next(iter(lengths.items()))
    example = f"{preview(context, id)} has {tokens:,} tokens; {context.prompt_limit()}."
    if len(lengths) == 1:
        return f"1 prompt is too long and is left out: {example}"
    return f"{len(lengths):,} prompts are too long and are left out. {example}"


def repeat_notice(context: Context, ids: list[int]) -> str:
    """Which prompts are passed over because there was nothing to choose between, as a sentence; "" without any."""
    if not ids:
        return ""
    if len(ids) == 1:
        return (
            f"{preview(context, ids[0])} is passed over for now: {TRIES} times in a row, "
            "the model gave it the same answer twice."
        )
    return (
        f"{len(ids):,} prompts are passed over for now, such as {preview(context, ids[0])}: {TRIES} times in a row, "
        "the model gave each the same answer twice."
    )


def preview(context: Context, prompt_id: int) -> str:
    """The beginning of a prompt in quotation marks, on one line."""
    text = " ".join(context.store.prompt(prompt_id).text.split())
    return f"“{text[:PREVIEW]}{'…' if len(text) > PREVIEW else ''}”"


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
    """The two response ids in the order shown. Raises WrongField for anything else."""
    shown = payload["shown"]
    if len(shown) != 2:
        raise WrongField("This call did not send two answers as shown.")
    left, right = (read_number({"shown": id}, "shown") for id in shown)
    return left, right


def ranking(shown: tuple[int, ...], choice: str) -> tuple[list[list[int]], int | None]:
    """Groups and how many of them are acceptable, for "a", "b", "tie" or "bad". Raises WrongField for anything else."""
    left, right = shown
    choices: dict[str, tuple[list[list[int]], int | None]] = {
        "a": ([[left], [right]], None),
        "b": ([[right], [left]], None),
        "tie": ([[left, right]], None),
        "bad": ([[left, right]], 0),
    }
    if choice not in choices:
        raise WrongField(f"This call sent {choice[:20]!r} as choice, but a, b, tie or bad is needed.")
    return choices[choice]


@takes(prompt_id=int, shown=list[int], choice=str, seconds=float | None, token=str | None, page=str | None)
def vote(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Store one choice, "a", "b", "tie" or "bad", between the two answers `shown`. The same token is stored once."""
    shown = sides(payload)
    groups, acceptable = ranking(shown, payload["choice"])
    comparison = context.store.add_comparison(
        read_number(payload, "prompt_id"),
        shown,
        groups,
        shown,
        payload["rater"],
        acceptable=acceptable,
        seconds=read_seconds(payload),
        question=QUESTION,
        token=read_token(payload),
    )
    desk(context).clear(page_of(payload), shown)
    return {"id": comparison.id, "version": comparison.version}


@takes("beat_both", prompt_id=int, shown=list[int], text=str, seconds=float | None, token=str | None, page=str | None)
def own(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """ "My own answer beats both": a demonstration and a comparison in one act."""
    shown = sides(payload)
    _, comparison = context.store.add_demonstration_and_comparison(
        read_number(payload, "prompt_id"),
        read_text(payload, "text").strip(),
        shown,
        shown,
        payload["rater"],
        seconds=read_seconds(payload),
        question=QUESTION,
        token=read_token(payload),
    )
    desk(context).clear(page_of(payload), shown)
    return {"id": comparison.id, "version": comparison.version}


@takes(prompt_id=int, shown=list[int], page=str | None)
def skip_pair(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Pass over a pair: its prompt comes later."""
    shown = sides(payload)
    id = context.store.skip(payload["rater"], read_number(payload, "prompt_id"))
    desk(context).clear(page_of(payload), shown)
    return {"id": id}


def own_comparisons(context: Context, rater: str) -> list[Comparison]:
    """What this person chose on this page: no imported and no simulated votes."""
    return [
        comparison
        for comparison in context.store.comparisons(rater)
        if comparison.source == "person" and not comparison.simulated
    ]


@takes("undo_vote", op=str | None, id=int | None)
def undo_choice(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Take back a choice of this rater by its id, or their newest skip (`op` is "skip")."""
    if payload.get("op") == "skip":
        return {"undone": context.store.undo(payload["rater"], ("skip",)) is not None}
    id = read_number(payload, "id")
    if not any(comparison.id == id for comparison in own_comparisons(context, payload["rater"])):
        return {"undone": False}
    context.store.delete_comparison(id)
    return {"undone": True}


@takes("change_vote", id=int, version=int, choice=str)
def change_choice(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Judge a pair of one's own again. Refused when it was changed elsewhere since it was read at `version`."""
    id = read_number(payload, "id")
    comparison = next((row for row in own_comparisons(context, payload["rater"]) if row.id == id), None)
    if comparison is None or len(comparison.shown) != 2:
        raise Refused("This choice no longer exists, so it was not changed.")
    groups, acceptable = ranking(comparison.shown, payload["choice"])
    comparison = context.store.change_comparison(id, groups, acceptable, version=read_number(payload, "version"))
    return {"id": comparison.id, "version": comparison.version}


@takes("votes")
def choices(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """How many choices this rater made, the last of them, and their habits."""
    comparisons = own_comparisons(context, payload["rater"])
    counts = context.store.counts()
    return {
        "place": context.key,
        "question": QUESTION,
        "goal": RANK_GOAL,
        "mine": len(comparisons),
        "simulated": counts["simulated_comparisons"],
        "last": [comparison_row(comparison) for comparison in comparisons[-20:]],
        "habits": habits(comparisons) if len(comparisons) >= HABITS_FROM else [],
    }


def comparison_row(comparison: Comparison) -> dict[str, Any]:
    """A choice as the list of last choices needs it, with its pair, so that it can be changed or undone."""
    by_id = {response.id: response for response in comparison.responses}
    left, right, *extra = comparison.shown
    if extra:
        choice = "own"
    elif len(comparison.groups) == 1:
        choice = "bad" if comparison.acceptable == 0 else "tie"
    else:
        choice = "a" if comparison.groups[0] == (left,) else "b"
    return {
        "id": comparison.id,
        "version": comparison.version,
        "choice": choice,
        "pair": {
            "key": f"{left}-{right}",
            "prompt_id": comparison.prompt_id,
            "prompt": comparison.prompt,
            "shown": [left, right],
            "texts": [by_id[left].text, by_id[right].text],
        },
    }


def habits(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    """How often the longer and the left answer was chosen, each with n and its 95 % interval (Wilson)."""
    strict_choices = [
        comparison for comparison in comparisons if len(comparison.shown) == 2 and len(comparison.groups) == 2
    ]
    longer_hits, left_hits = [], []
    for comparison in strict_choices:
        chosen, rejected = comparison.pairs()[0]
        left_hits.append(chosen.id == comparison.shown[0])
        if len(chosen.text) != len(rejected.text):
            longer_hits.append(len(chosen.text) > len(rejected.text))
    rows = []
    for label, hits in (("Chose the longer answer", longer_hits), ("Chose the left answer", left_hits)):
        if hits:
            low, high = wilson(sum(hits), len(hits))
            value = sum(hits) / len(hits)
            rows.append({"label": label, "value": value, "low": low, "high": high, "n": len(hits)})
    return rows


@takes("add_pair_prompts")
def make_pairs(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Put the next prompts that come with the workbench into the list, for the model to answer."""
    texts = {prompt.text for prompt in context.store.prompts()}
    candidates = starter(len(texts) + BATCH)
    new_texts = [text for text in candidates if text not in texts][:BATCH]
    if new_texts:
        context.store.add_prompts(new_texts, "sandbox")
        context.pairs.retry()
    return {"added": len(new_texts)}


FUNCTIONS = [rank_pairs, vote, own, skip_pair, undo_choice, change_choice, choices, make_pairs]


def tab(context: Context) -> None:
    """Build the tab: two answers to choose from, or the steps of one to judge."""
    panel(context, "stepwise", [*stepwise.FUNCTIONS, import_file], before=("importing",))
    panel(context, "rank", FUNCTIONS)
