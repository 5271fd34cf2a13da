"""From a row of somebody's format to records, one function per format; and which format a row is of.

A converter raises ValueError saying what is wrong with the row. Response ids in the records are local (1, 2, ...).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from workbench.collect.turns import split_answer, to_text, transcript, turns_of
from workbench.records import Comparison, Demonstration, Prompt, Response, Sampling, StepLabels

LONGEST = 100_000  # characters of one text; far beyond what a model here reads
LABELS = dict.fromkeys(("true", "1", "1.0", "yes"), True) | dict.fromkeys(("false", "0", "0.0", "no"), False)
RATINGS = {"true": 1, "false": -1, "1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
Record = Prompt | Demonstration | Comparison | StepLabels
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Origin:
    """What a file does not say about its rows: whose they are (unless a column says so) and where they come from."""

    rater: str
    source: str

    def rater_of(self, row: Row, column: str = "rater") -> str:
        name = row.get(column)
        return name if isinstance(name, str) and name.strip() else self.rater


def words(value: Any, what: str) -> str:
    """A text that is there, can be kept and is not endless. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is missing" if value is None else f"{what} must be text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    if len(value) > LONGEST:
        raise ValueError(f"{what} has {len(value):,} characters; at most {LONGEST:,} are read")
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half of a character (an unpaired surrogate)") from None
    return value


def true(value: Any) -> bool:
    """A flag of JSON, Parquet or CSV."""
    return value is True or str(value).strip().lower() in ("true", "1", "yes")


def instruction(row: Row) -> str:
    """Alpaca's instruction, with its input below when there is one."""
    text, more = words(row.get("instruction"), "the instruction"), row.get("input")
    return f"{text}\n\n{more}" if isinstance(more, str) and more.strip() else text


def prompt_text(value: Any) -> str:
    """A prompt as text, as messages, or as a transcript that ends where the assistant is to speak."""
    if isinstance(value, list):
        return words(to_text(turns_of(value)), "the prompt")
    text = words(value, "the prompt")
    if text.lstrip().startswith("Human:") and text.rstrip().endswith("\n\nAssistant:"):
        return words(to_text(transcript(text.rstrip() + " ")[:-1]), "the prompt")
    return text


def answer_text(value: Any, what: str) -> str:
    """An answer as text, or as messages that hold one assistant's turn."""
    if not isinstance(value, list):
        return words(value, what)
    turns = turns_of(value)
    if len(turns) != 1 or turns[0][0] != "assistant":
        raise ValueError(f"{what} must be one message of the assistant")
    return words(turns[0][1], what)


def demonstration(row: Row, origin: Origin, prompt: str, text: Any) -> Demonstration:
    source = row.get("source") if isinstance(row.get("source"), str) and row.get("source") else origin.source
    return Demonstration(
        0,
        0,
        words(prompt, "the prompt"),
        words(text, "the answer"),
        origin.rater_of(row),
        str(source),
        true(row.get("simulated")),
    )


def comparison(row: Row, origin: Origin, prompt: str, chosen: str, rejected: str, **more: Any) -> Comparison:
    words(prompt, "the prompt")
    if words(chosen, "the chosen answer") == words(rejected, "the rejected answer"):
        raise ValueError("the two answers are identical, so there is nothing to choose")
    models = more.pop("models", ("import", "import"))
    responses = tuple(
        Response(n, 0, text, model, author="import")
        for n, text, model in zip((1, 2), (chosen, rejected), models, strict=True)
    )
    values = {"groups": ((1,), (2,)), "rater": origin.rater_of(row)} | more
    return Comparison(
        0,
        0,
        prompt,
        responses,
        shown=(1, 2),
        acceptable=None,
        simulated=true(row.get("simulated")),
        source=origin.source,
        **values,
    )


# Prompts


def plain(row: Row, origin: Origin) -> list[Record]:
    if row.get("prompt") is None and row.get("instruction") is not None:
        text = instruction(row)
    else:
        text = prompt_text(
            next((row[name] for name in ("prompt", "text", "question") if row.get(name) is not None), None)
        )
    source, kind = row.get("source"), row.get("kind")
    return [Prompt(0, text, str(source) if source else origin.source, str(kind) if kind else None)]


# Demonstrations


def trl_demonstration(row: Row, origin: Origin) -> list[Record]:
    if row.get("label") is not None and not true(row["label"]):
        raise ValueError("labelled as an unwanted answer; only wanted ones are demonstrations")
    return [
        demonstration(row, origin, prompt_text(row.get("prompt")), answer_text(row.get("completion"), "the completion"))
    ]


def messages(row: Row, origin: Origin) -> list[Record]:
    return [demonstration(row, origin, *split_answer(turns_of(row.get("messages"))))]


def sharegpt(row: Row, origin: Origin) -> list[Record]:
    turns = turns_of(row.get("conversations"))
    if isinstance(row.get("system"), str) and row["system"].strip() and turns[0][0] != "system":
        turns = [("system", row["system"]), *turns]
    return [demonstration(row, origin, *split_answer(turns))]


def alpaca(row: Row, origin: Origin) -> list[Record]:
    return [demonstration(row, origin, instruction(row), row.get("output"))]


def self_instruct(row: Row, origin: Origin) -> list[Record]:
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(each, dict) for each in instances):
        raise ValueError("instances must be a list of objects with an input and an output, and not empty")
    return [
        demonstration(
            row,
            origin,
            instruction({"instruction": row.get("instruction"), "input": each.get("input")}),
            each.get("output"),
        )
        for each in instances
    ]


# Comparisons


def trl_comparison(row: Row, origin: Origin) -> list[Record]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, list) and isinstance(rejected, list):
        whole = row.get("prompt") is None or min(len(chosen), len(rejected)) > 1
        if whole:  # conversations that hold the prompt, too
            return [_shared_prompt(row, origin, turns_of(chosen), turns_of(rejected))]
    if row.get("prompt") is not None:
        prompt = prompt_text(row["prompt"])
        return [
            comparison(
                row,
                origin,
                prompt,
                answer_text(chosen, "the chosen answer"),
                answer_text(rejected, "the rejected answer"),
            )
        ]
    raise ValueError("the prompt is missing")


def hh_rlhf(row: Row, origin: Origin) -> list[Record]:
    turns = []
    for name in ("chosen", "rejected"):
        try:
            turns.append(transcript(row.get(name)))
        except ValueError as error:
            raise ValueError(f"{name} is {error}") from None
    return [_shared_prompt(row, origin, *turns)]


def _shared_prompt(row: Row, origin: Origin, chosen: list, rejected: list) -> Comparison:
    (prompt, better), (other, worse) = split_answer(chosen), split_answer(rejected)
    if prompt != other:
        raise ValueError("chosen and rejected differ before their last answer, so they do not answer the same prompt")
    return comparison(row, origin, prompt, better, worse)


def unpaired(row: Row, origin: Origin) -> list[Record]:
    """TRL's unpaired preference: one answer judged good (label true) or bad. It is kept as a comparison of one."""
    label = str(row.get("label")).strip().lower()
    if label not in LABELS:
        raise ValueError(f"the label must be true (a good answer) or false, not {str(row.get('label'))[:40]!r}")
    response = Response(1, 0, answer_text(row.get("completion"), "the completion"), "import", author="import")
    rest: dict[str, Any] = {
        "acceptable": int(LABELS[label]),
        "rater": origin.rater_of(row),
        "simulated": true(row.get("simulated")),
        "source": origin.source,
    }
    return [Comparison(0, 0, prompt_text(row.get("prompt")), (response,), ((1,),), (1,), **rest)]


def alpaca_eval(row: Row, origin: Origin) -> list[Record]:
    """`preference` is 1 + the probability that output_2 is better; 1.5 (in old files 0) is a tie."""
    first, second = row.get("output_1"), row.get("output_2")
    try:
        preference = float(row["preference"])
    except (KeyError, TypeError, ValueError):
        preference = math.nan
    if math.isnan(preference):
        raise ValueError("the preference is missing, so this pair was not judged")
    if preference != 0 and not 1 <= preference <= 2:
        raise ValueError(f"the preference is {preference:g}; it must be from 1 (output_1) to 2 (output_2)")
    groups: tuple[tuple[int, ...], ...] = ((1,), (2,)) if preference < 1.5 else ((2,), (1,))
    if preference in (0, 1.5):
        groups = ((1, 2),)
    models = tuple(str(row.get(name) or "import") for name in ("generator_1", "generator_2"))
    texts = words(first, "output_1"), words(second, "output_2")
    rater = origin.rater_of(row, "annotator")
    return [comparison(row, origin, instruction(row), *texts, groups=groups, models=models, rater=rater)]


def native(row: Row, origin: Origin) -> list[Record]:
    """Our own lossless form of a comparison; groups and shown are positions in responses."""
    answers, groups, shown = row.get("responses"), row.get("groups"), row.get("shown")
    if not isinstance(answers, list) or not isinstance(groups, list) or not isinstance(shown, list):
        raise ValueError("responses, groups and shown must be lists")
    try:
        responses = tuple(_response(number, answer) for number, answer in enumerate(answers, 1))
        value: dict[str, Any] = {
            name: _or_none(row.get(name), kind) for name, kind in (("seconds", float), ("acceptable", int))
        }
        value |= {name: _or_none(row.get(name), str) for name in ("why", "question")}
        ranked = tuple(tuple(int(n) + 1 for n in group) for group in groups)
        order = tuple(int(n) + 1 for n in shown)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not as the workbench writes it: {error}") from None
    positions = list(range(1, len(responses) + 1))
    if (
        len(positions) < (2 if value["acceptable"] is None else 1)
        or sorted(order) != positions
        or sorted(n for group in ranked for n in group) != positions
        or not all(ranked)
    ):
        raise ValueError("groups and shown must hold each response once, and there must be two or more")
    if value["acceptable"] is not None and not 0 <= value["acceptable"] <= len(ranked):
        raise ValueError(f"acceptable is {value['acceptable']}, but there are {len(ranked)} groups")
    rest: dict[str, Any] = {
        "rater": origin.rater_of(row),
        "simulated": true(row.get("simulated")),
        "source": str(row.get("source") or origin.source),
    }
    return [Comparison(0, 0, prompt_text(row.get("prompt")), responses, ranked, order, **value, **rest)]


def _or_none(value: Any, kind: type) -> Any:
    return None if value is None or value == "" else kind(value)


def _response(number: int, row: Row) -> Response:
    if row["text"] != "":  # a model may have said nothing
        words(row["text"], f"answer {number}")
    sampling = Sampling(**row["sampling"]) if row.get("sampling") else None
    values = {name: row[name] for name in ("run", "strength", "tokens", "ended", "author") if row.get(name) is not None}
    return Response(number, 0, row["text"], str(row["model"]), sampling=sampling, **values)


# Answers judged step by step


def trl_steps(row: Row, origin: Origin) -> list[Record]:
    """TRL's stepwise supervision. A label is true (right) or false (wrong), or -1, 0 (neutral), 1. Our own export says
    the neutral ones in `ratings`."""
    if row.get("ratings") is not None:
        return [judged(row, origin, row.get("prompt"), row.get("completions"), row["ratings"])]
    texts = as_list(row.get("completions"), "completions")
    return [judged(row, origin, row.get("prompt"), joined(texts), row.get("labels"))]


def native_steps(row: Row, origin: Origin) -> list[Record]:
    """Our own lossless form: the steps joined are the answer."""
    return [judged(row, origin, row.get("prompt"), row.get("steps"), row.get("labels"))]


def prm800k(row: Row, origin: Origin) -> list[Record]:
    """PRM800K (Lightman et al. 2023): at each step several continuations were rated, and one was gone on with.

    Each continuation that was left aside gives an answer that ends with it, and the chosen ones give one together; a
    step that a person wrote is right. What nobody rated is left out.
    """
    question, label = row.get("question"), row.get("label")
    if not isinstance(question, dict) or not isinstance(label, dict):
        raise ValueError("question and label must be objects, as in PRM800K")
    path: list[tuple[str, int]] = []
    found: list[list[tuple[str, int]]] = []
    whole = False  # whether the path goes beyond what ended elsewhere
    for number, step in enumerate(as_list(label.get("steps"), "label.steps"), 1):
        try:
            rated = [(each["text"], each["rating"]) for each in step["completions"] or []]
            chosen, own = step["chosen_completion"], step["human_completion"]
            taken = rated[chosen] if chosen is not None else (own["text"], 1) if own else None
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"step {number} is not as in PRM800K: {error!r}") from None
        aside = [each for i, each in enumerate(rated) if i != chosen and each[1] is not None]
        found += [[*path, each] for each in aside]
        if taken is None or taken[1] is None:
            whole = whole and not aside
            break
        path, whole = [*path, taken], True
    found += [path] if whole else []
    if not found:
        raise ValueError("no step of it was rated")
    who = origin.rater_of(row, "labeler")
    return [
        judged(
            row, Origin(who, origin.source), question.get("problem"), joined([t for t, _ in each]), [r for _, r in each]
        )
        for each in found
    ]


def judged(row: Row, origin: Origin, prompt: Any, steps: Any, labels: Any) -> StepLabels:
    """Steps with their labels. Raises ValueError naming the step that is no text or has no label."""
    texts, given = as_list(steps, "the steps"), as_list(labels, "the labels")
    if len(texts) != len(given) or not texts:
        raise ValueError(f"there are {len(texts)} steps, but {len(given)} labels")
    ratings = []
    for number, (text, label) in enumerate(zip(texts, given, strict=True), 1):
        words(text, f"step {number}")
        if str(label).strip().lower() not in RATINGS:
            raise ValueError(f"the label of step {number} must be true, false, -1, 0 or 1, not {str(label)[:40]!r}")
        ratings.append(RATINGS[str(label).strip().lower()])
    words("".join(texts), "the answer")
    return StepLabels(
        0,
        0,
        prompt_text(prompt),
        tuple(texts),
        tuple(ratings),
        origin.rater_of(row),
        true(row.get("simulated")),
        str(row.get("source") or origin.source),
        _or_none(row.get("seconds"), float),
    )


def as_list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} must be a list" + ("" if value is not None else " and are missing"))
    return value


def joined(texts: list[Any]) -> list[Any]:
    """Steps which joined are the answer: where neither of two brings the space between them, a line break, as in TRL."""
    found = texts[:1]
    for before, text in pairwise(texts):
        apart = (
            isinstance(text, str)
            and isinstance(before, str)
            and re.search(r"\S$", before)
            and re.match(r"[^\s,;:.!?)]", text)
        )
        found.append("\n" + text if apart else text)
    return found


@dataclass(frozen=True)
class Format:
    """`needs`: columns that tell the format. The first format whose columns are all there is recognised."""

    name: str
    kind: str
    needs: tuple[str, ...]
    convert: Callable[[Row, Origin], list[Record]]


FORMATS = [
    Format("native", "comparisons", ("responses", "groups"), native),
    Format("alpacaeval", "comparisons", ("instruction", "output_1", "output_2"), alpaca_eval),
    Format("trl", "comparisons", ("prompt", "chosen", "rejected"), trl_comparison),
    Format("hh-rlhf", "comparisons", ("chosen", "rejected"), hh_rlhf),
    Format("native", "steps", ("prompt", "steps", "labels"), native_steps),
    Format("trl", "steps", ("prompt", "completions", "labels"), trl_steps),
    Format("prm800k", "steps", ("question", "label"), prm800k),
    Format("unpaired", "comparisons", ("prompt", "completion", "label"), unpaired),
    Format("self-instruct", "demonstrations", ("instruction", "instances"), self_instruct),
    Format("sharegpt", "demonstrations", ("conversations",), sharegpt),
    Format("messages", "demonstrations", ("messages",), messages),
    Format("trl", "demonstrations", ("prompt", "completion"), trl_demonstration),
    Format("alpaca", "demonstrations", ("instruction", "output"), alpaca),
    Format("trl", "prompts", ("prompt",), plain),
    Format("plain", "prompts", ("text",), plain),
    Format("plain", "prompts", ("question",), plain),
    Format("plain", "prompts", ("instruction",), plain),
]


def format_of(row: Row) -> Format | None:
    """The format whose columns this row has; None when it is none of them."""
    there = {name for name, value in row.items() if value is not None}
    for format in FORMATS:
        if format.name == "prm800k" and not isinstance(row.get("question"), dict):
            continue
        if there.issuperset(format.needs):
            if format.name == "hh-rlhf" and isinstance(row["chosen"], list):
                return Format("trl", "comparisons", format.needs, trl_comparison)
            return format
    return None
