"""The steps of an answer: how a text is cut into them, and what a process reward learns from. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from workbench.records import StepLabels, split_of
from workbench.store import Store

Split = Callable[[str], list[str]]


def sentences(text: str) -> list[str]:
    """Steps of any text: its sentences and lines, joined the text again."""
    return _merge_wordless(re.split(r"(?<=[.!?])(?=\s)|(?=\n)", text))


def lines(text: str) -> list[str]:
    """Steps that stand on lines of their own, joined the text again."""
    return _merge_wordless(re.split(r"(?=\n)", text))


def sandbox(text: str) -> list[str]:
    """Steps as the sandbox's labels cut them."""
    from workbench.sandbox.steps import split_steps

    return split_steps(text)


def whole(text: str) -> list[str]:
    """One step, the answer as a whole: labels for an outcome reward."""
    return [text] if re.search(r"\w", text) else []


def _merge_wordless(parts: Sequence[str]) -> list[str]:
    joined: list[str] = []
    for part in filter(None, parts):
        if joined and not re.search(r"\w", part):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


SPLITS: dict[str, Split] = {"sandbox": sandbox, "lines": lines, "sentences": sentences, "whole": whole}


def split_for(model: str) -> str:
    """How answers of a model are cut before anybody has labelled any: the bundled one's as its world cuts them."""
    return "sandbox" if model == "sandbox" else "sentences"


def split_of_rows(rows: Sequence[Sequence[str]], first: str = "sentences") -> tuple[str, int]:
    """Which of SPLITS cuts the most of these answers, given as their steps, as they were cut, and how many that is; of
    equals `first`."""
    names = [first, *(name for name in SPLITS if name != first)]
    matches = {name: sum(SPLITS[name]("".join(steps)) == list(steps) for steps in rows) for name in names}
    best = max(names, key=lambda name: matches[name])
    return best, matches[best]


def step_rows(store: Store) -> list[dict[str, Any]]:
    """One row per answer judged step by step, oldest first: prompt, steps, labels, split, id, rater, simulated."""
    return [_row(record) for record in store.step_labels()]


def _row(record: StepLabels) -> dict[str, Any]:
    return {
        "prompt": record.prompt,
        "steps": list(record.steps),
        "labels": list(record.labels),
        "split": split_of(record.prompt),
        "id": record.id,
        "rater": record.rater,
        "simulated": record.simulated,
    }
