"""Rows as token ids: cut in one way for all methods, and what a model cannot learn from left out. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from workbench.learn.catalogue import METHODS, AnswerArgs, TrainArgs
from workbench.learn.catalogue.facts import PROMPTS, Row
from workbench.models import tokens
from workbench.records import how_many

FRAME = 256  # tokens that a chat template adds to a question, at most


class NothingToLearn(ValueError):
    """Every row had to be left out. The message says why, and what to do."""


@dataclass(frozen=True)
class Limits:
    """What fits: `tokens` of prompt and answer together in training; `context` is what the model reads, and
    `new_tokens` of it are kept free for a sampled answer."""

    tokens: int
    context: int
    new_tokens: int = 0

    @classmethod
    def of(cls, args: TrainArgs, context: int) -> Limits:
        return cls(min(args.max_tokens, context), context, args.max_new_tokens if isinstance(args, AnswerArgs) else 0)


@dataclass(frozen=True)
class Example:
    """A row as token ids: the prompt with any one answer has at most `Limits.tokens` of them.

    `answers` go by the names that `texts` gives them, each with its end token unless its end was cut; a labelled answer
    has its steps' `places` in it. `cut` says what was shortened: "prompt", "answer", "both" or "".
    """

    row: Row
    prompt: list[int]
    answers: dict[str, list[int]]
    cut: str = ""
    places: tuple[int, ...] = ()


def fit(
    prompt: Sequence[int], answers: Sequence[Sequence[int]], limit: int, keep_end: bool = False
) -> tuple[list[int], list[list[int]]]:
    """A prompt and its answers, cut so that the prompt with any one of them has at most `limit` tokens.

    The prompt may take what the longest answer leaves, and half of the limit in any case. What is too much goes from
    its beginning: at its end stand the question's last words and where the answer begins. An answer loses its end,
    or with `keep_end`, for a score that is read there, what comes before its last token.
    """
    longest = max(map(len, answers), default=0)
    prompt_room = max(limit - longest, limit // 2)
    start = list(prompt[-prompt_room:]) if len(prompt) > prompt_room else list(prompt)
    room = limit - len(start)
    cut = [list(ids) if len(ids) <= room else [*ids[: room - keep_end], *ids[len(ids) - keep_end :]] for ids in answers]
    return start, cut


def example(tokenizer: Any, method: str, row: Row, limits: Limits) -> Example | str:
    """The row as the method learns from it, or why nothing can be learned from it."""
    prompt = tokens.prompt_ids(tokenizer, row["prompt"])
    m = METHODS[method]
    sampled = m.source is PROMPTS
    # a sampled answer is scored with an end token behind it
    if reason := too_long(prompt, limits, limits.new_tokens + 1 if sampled else 1):
        return reason
    if sampled:
        return Example(row, prompt, {})
    answer_of = m.texts(row)
    places: list[int] = []
    if m.scores == "steps":
        ids, places = tokens.step_ids(tokenizer, row["steps"])
        answers = [ids]
    else:
        answers = [tokens.answer_ids(tokenizer, text) for text in answer_of.values()]
    start, cuts = fit(prompt, answers, limits.tokens, keep_end=m.scores == "answers")
    if len(cuts) > 1 and all(ids == cuts[0] for ids in cuts):
        return "their answers do not differ" if cuts == answers else "their answers do not differ within max_tokens"
    places = [place for place in places if place < len(cuts[0])]
    if m.scores == "steps" and not places:
        return "none of their steps fit into max_tokens"
    shortened = ("prompt" if len(start) < len(prompt) else "", "answer" if cuts != answers else "")
    return Example(
        row,
        start,
        dict(zip(answer_of, cuts, strict=True)),
        "both" if all(shortened) else "".join(shortened),
        tuple(places),
    )


def too_long(prompt: Sequence[int], limits: Limits, room: int = 1) -> str:
    """Why the prompt leaves no `room`, in tokens, for an answer; "" when it does."""
    if len(prompt) + room <= limits.context:
        return ""
    subject = "the prompt" if room == 1 else f"the prompt with max_new_tokens ({limits.new_tokens})"
    return f"{subject} is longer than the {limits.context:,} tokens that the model reads"


def examples(
    tokenizer: Any, method: str, rows: Iterable[Row], limits: Limits
) -> tuple[list[Example], dict[str, list[str]]]:
    """What can be learned from, in order; and the prompts of what cannot, by reason."""
    usable: list[Example] = []
    exclusions: dict[str, list[str]] = {}
    for row in rows:
        outcome = example(tokenizer, method, row, limits)
        if isinstance(outcome, str):
            exclusions.setdefault(outcome, []).append(row["prompt"])
        else:
            usable.append(outcome)
    return usable, exclusions


def answerable(tokenizer: Any, prompts: dict[str, list[str]], limits: Limits) -> tuple[dict[str, list[str]], list[str]]:
    """`prompts` without those that leave no room for an answer of `new_tokens`; and these, each once."""
    texts = dict.fromkeys(text for some in prompts.values() for text in some)
    long = [text for text in texts if too_long(tokens.prompt_ids(tokenizer, text), limits, limits.new_tokens)]
    return {name: [text for text in some if text not in long] for name, some in prompts.items()}, long


def check_learnable(tokenizer: Any, method: str, rows: Sequence[Row], limits: Limits) -> None:
    """Raise NothingToLearn when every row would be left out; reads no further than it has to."""
    exclusions: dict[str, list[str]] = {}
    usable: list[Row] = []
    for row in rows:
        outcome = example(tokenizer, method, row, limits)
        if isinstance(outcome, str):
            exclusions.setdefault(outcome, []).append(row["prompt"])
            continue
        usable.append(row)
        if not METHODS[method].shortage([usable[0], row]):
            return
    if not usable:
        raise nothing_to_learn(method, exclusions)
    raise NothingToLearn(
        f"{METHODS[method].shortage(usable)} {_why(method, exclusions) if exclusions else ''}".rstrip()
    )


def surely_learnable(method: str, rows: Iterable[Row], limits: Limits) -> bool:
    """Whether some row fits as it is, told by its length in bytes: no text has more tokens. Reading a tokenizer takes
    seconds in a process that has not yet done so, and hardly any data set needs it for this question."""
    candidates = [row for row in rows if _surely_fits(method, row, limits)]
    return bool(candidates) and not METHODS[method].shortage(candidates)


def _surely_fits(method: str, row: Row, limits: Limits) -> bool:
    m = METHODS[method]
    prompt = len(row["prompt"].encode()) + FRAME
    if m.source is PROMPTS:
        return prompt + limits.new_tokens < limits.context
    answers = list(m.texts(row).values())
    differ = len(answers) == 1 or len(set(answers)) > 1
    return differ and prompt + max(len(text.encode()) for text in answers) < limits.tokens


def nothing_to_learn(method: str, exclusions: dict[str, list[str]]) -> NothingToLearn:
    return NothingToLearn(f"Nothing is left to learn from. {_why(method, exclusions)}")


def _why(method: str, exclusions: dict[str, list[str]]) -> str:
    total = sum(map(len, exclusions.values()))
    sentences = [exclusion_text(method, reason, prompts, total) for reason, prompts in exclusions.items()]
    return " ".join([*sentences, "Shorten the prompts, or change max_tokens and max_new_tokens."])


def notices(
    method: str, usable: Sequence[Example], exclusions: dict[str, list[str]], limits: Limits, held_out: bool = False
) -> list[str]:
    """What the person should know of the whole data set: what is left out and what is cut, with numbers."""
    total = len(usable) + sum(map(len, exclusions.values()))
    lines = [exclusion_text(method, reason, prompts, total, held_out) for reason, prompts in exclusions.items()]
    cuts = [one.cut for one in usable]
    parts = [
        f"{n:,} {'loses' if n == 1 else 'lose'} {what}"
        for n, what in (
            (sum(cut in ("prompt", "both") for cut in cuts), "the beginning of the prompt"),
            (sum(cut in ("answer", "both") for cut in cuts), "the end of an answer"),
        )
        if n
    ]
    if parts:
        n = sum(map(bool, cuts))
        lines.append(
            f"{n:,} of {how_many(total, _unit(method, held_out))} {'is' if n == 1 else 'are'} longer than {limits.tokens:,} "
            f"tokens and {'is' if n == 1 else 'are'} cut: "
            f"{' and '.join(parts)}."
        )
    return lines


def exclusion_text(method: str, reason: str, prompts: Sequence[str], total: int, held_out: bool = False) -> str:
    verb = "is" if len(prompts) == 1 else "are"
    return (
        f"{len(prompts):,} of {how_many(total, _unit(method, held_out))} {verb} left out: {reason}. {instance(prompts)}"
    )


def instance(prompts: Sequence[str]) -> str:
    """The first of the prompts, shortened, as a sentence."""
    first = " ".join(prompts[0].split())
    excerpt = first if len(first) <= 60 else f"{first[:59]}\u2026"
    return f'For example: "{excerpt}"'


def _unit(method: str, held_out: bool) -> str:
    return ("held-out " if held_out else "") + METHODS[method].unit


def digest(rows: Iterable[Example]) -> str:
    """A hash of all token ids, in order."""
    hashed = blake2b(digest_size=16)
    for one in rows:
        hashed.update(json.dumps([one.prompt, *one.answers.values()]).encode())
    return hashed.hexdigest()
