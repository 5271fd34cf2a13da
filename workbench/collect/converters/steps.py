"""Answers judged step by step."""

import re
from itertools import pairwise
from typing import Any

from workbench.collect.conversation import prompt_text
from workbench.collect.converters.records import Origin, Record
from workbench.collect.row import Row, as_list, or_none, true, valid_text
from workbench.records import StepLabels

RATINGS = {"true": 1, "false": -1, "1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
MARK = "ки"  # Math-Shepherd's end of a step


def trl_steps(row: Row, origin: Origin) -> list[Record]:
    """TRL's stepwise supervision. A label is true (right) or false (wrong), or -1, 0 (neutral), 1. Our own export says
    the neutral ones in `ratings`."""
    if row.get("ratings") is not None:
        return [step_labels(row, origin, prompt_text(row), row.get("completions"), row.get("ratings"))]
    texts = as_list(row.get("completions"), "completions")
    return [step_labels(row, origin, prompt_text(row), joined_steps(texts), row.get("labels"))]


def native_steps(row: Row, origin: Origin) -> list[Record]:
    """Our own lossless form: the steps joined are the answer."""
    return [step_labels(row, origin, prompt_text(row), row.get("steps"), row.get("labels"))]


def prm800k(row: Row, origin: Origin) -> list[Record]:
    """PRM800K (Lightman et al. 2023): at each step several continuations were rated, and one was gone on with.

    Each continuation that was left aside gives an answer that ends with it, and the chosen ones give one together; a
    step that a person wrote is right. What nobody rated is left out.
    """
    question, label = row.get("question"), row.get("label")
    if not isinstance(question, dict) or not isinstance(label, dict):
        raise ValueError("question and label must be objects, as in PRM800K")
    path: list[tuple[str, int]] = []
    paths: list[list[tuple[str, int]]] = []
    extends = False  # whether the path goes beyond what ended elsewhere
    for number, step in enumerate(as_list(label.get("steps"), "label.steps"), 1):
        try:
            rated = [(each["text"], each["rating"]) for each in step["completions"] or []]
            chosen, own = step["chosen_completion"], step["human_completion"]
            continuation = rated[chosen] if chosen is not None else (own["text"], 1) if own else None
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"step {number} is not as in PRM800K: {error!r}") from None
        alternatives = [each for i, each in enumerate(rated) if i != chosen and each[1] is not None]
        paths += [[*path, each] for each in alternatives]
        if continuation is None or continuation[1] is None:
            extends = extends and not alternatives
            break
        path, extends = [*path, continuation], True
    paths += [path] if extends else []
    if not paths:
        raise ValueError("no step of it was rated")
    rater = origin.rater_of(row, "labeler")
    signature, problem = Origin(rater, origin.source), valid_text(question.get("problem"), "the problem")
    return [
        step_labels(row, signature, problem, joined_steps([t for t, _ in each]), [r for _, r in each]) for each in paths
    ]


def math_shepherd(row: Row, origin: Origin) -> list[Record]:
    """Math-Shepherd (Wang et al. 2023): in `label` each step ends with + or - where `input` has the mark ки."""
    solution, label = valid_text(row.get("input"), "the input"), valid_text(row.get("label"), "the label")
    if "Step 1:" not in solution:
        raise ValueError('the input has no "Step 1:", so the question cannot be separated from the steps')
    question, _, rest = solution.partition("Step 1:")
    steps = [step.strip() for step in f"Step 1:{rest}".split(MARK)]
    if steps[-1]:
        raise ValueError(f"the text after the last {MARK} has no label")
    labels, at = [], 0
    for number, step in enumerate(solution.split(MARK)[:-1], 1):
        at += len(step)
        if label[at : at + 1] not in ("+", "-"):
            raise ValueError(f"the label of step {number} must be + or -, not {label[at : at + 1]!r}")
        labels.append(label[at] == "+")
        at += 1
    return [step_labels(row, origin, valid_text(question.strip(), "the question"), joined_steps(steps[:-1]), labels)]


def process_bench(row: Row, origin: Origin) -> list[Record]:
    """ProcessBench (Zheng et al. 2024): label is the place of the first wrong step from 0, or -1; what comes after that
    step was not judged and is left out."""
    steps, first = as_list(row.get("steps"), "the steps"), row.get("label")
    if isinstance(first, bool) or not isinstance(first, int) or not -1 <= first < len(steps):
        raise ValueError(f"the label must be the place of the first wrong step, or -1, not {str(first)[:40]!r}")
    prefix = steps if first == -1 else steps[: first + 1]
    labels = [place != first for place in range(len(prefix))]
    return [step_labels(row, origin, prompt_text(row), joined_steps(prefix), labels)]


def step_labels(row: Row, origin: Origin, prompt: str, steps: Any, labels: Any) -> StepLabels:
    """Steps with their labels. Raises ValueError naming the step that is no text or has no label."""
    texts, marks = as_list(steps, "the steps"), as_list(labels, "the labels")
    if len(texts) != len(marks) or not texts:
        raise ValueError(f"there are {len(texts)} steps, but {len(marks)} labels")
    ratings = []
    for number, (text, label) in enumerate(zip(texts, marks, strict=True), 1):
        valid_text(text, f"step {number}")
        if str(label).strip().lower() not in RATINGS:
            raise ValueError(f"the label of step {number} must be true, false, -1, 0 or 1, not {str(label)[:40]!r}")
        ratings.append(RATINGS[str(label).strip().lower()])
    valid_text("".join(texts), "the answer")
    return StepLabels(
        0,
        0,
        prompt,
        tuple(texts),
        tuple(ratings),
        origin.rater_of(row),
        true(row.get("simulated")),
        str(row.get("source") or origin.source),
        or_none(row.get("seconds"), float),
    )


def joined_steps(texts: list[Any]) -> list[Any]:
    """Steps which joined are the answer: where neither of two brings the space between them, a line break, as in TRL."""
    steps = texts[:1]
    for before, text in pairwise(texts):
        needs_break = (
            isinstance(text, str)
            and isinstance(before, str)
            and re.search(r"\S$", before)
            and re.match(r"[^\s,;:.!?)]", text)
        )
        steps.append("\n" + text if needs_break else text)
    return steps
