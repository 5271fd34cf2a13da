"""Two answers of which one is better, and two whose judgement stands in a column of its own."""

import json
import re
from typing import Any

from workbench.collect.conversation import (
    answer_text,
    answer_turns,
    one_answer,
    prompt_and_answers,
    prompt_column,
    prompt_text,
    with_context,
)
from workbench.collect.converters.answers import answer_column, conversation_of, has_answer, has_conversation
from workbench.collect.converters.records import Origin, Record, comparison, thumb
from workbench.collect.row import Row, flag_of, is_empty, number, true, valid_text
from workbench.collect.turns import split_answer

SIDES = {"a": "b", "0": "1", "1": "2", "left": "right"}
ANSWER = re.compile(
    r"(response|answer|output|completion|reply|generation|summary|candidate|human_ref|conversation)_?(a|0|1|left)"
)
CHOICES: tuple[str, ...] = (
    "winner",
    "preference",
    "preferred",
    "choice",
    "better",
    "better_response_id",
    "better_response",
    "chosen",
)
CHOICES += ("label", "labels", "verdict", "vote", "selected", "judgement", "judgment", "preferred_response")
PLACES: dict[str, tuple[tuple[int, ...], ...]] = {
    "left": ((1,), (2,)),
    "first": ((1,), (2,)),
    "right": ((2,), (1,)),
    "second": ((2,), (1,)),
}
TIES = ("tie", "tied", "equal", "both", "same", "draw", "neither")


def pair(row: Row, origin: Origin) -> list[Record]:
    """A chosen and a rejected answer, with a prompt of any name or inside them."""
    values = [(row.get("chosen"), "the chosen answer"), (row.get("rejected"), "the rejected answer")]
    if prompt_column(row) is None and all(isinstance(value, str) for value, _ in values):
        for value, what in values:
            if not is_transcript(value):
                raise ValueError(
                    f'the prompt is missing, and {what} is not a transcript that starts with "Human: " and has "Assistant: "'
                    " after it"
                )
    prompt, texts = prompt_and_answers(row, values)
    if str(row.get("status")).lower() == "tie":  # distilabel's Orca pairs
        return [comparison(row, origin, prompt, texts, groups=((1, 2),))]
    return [comparison(row, origin, prompt, texts)]


def answer_and_rejected(row: Row, origin: Origin) -> list[Record]:
    """An answer or a conversation with a worse answer in a column beside it, as in ms-swift; a rejected one alone is an
    answer judged bad."""
    rejected = row.get("rejected")
    if str(rejected).strip().lower() in ("true", "false", "0", "1", "yes", "no"):
        raise ValueError(
            "rejected is a flag and not an answer; name the column that labels good answers with --map label=COLUMN"
        )
    if has_conversation(row) and not has_answer(row):
        prompt, answer = split_answer(conversation_of(row)[1])
        worse = answer_turns(rejected, "the rejected answer")
        other, text = split_answer(with_context(row, worse)) if len(worse) > 1 else (prompt, one_answer(worse, "it"))
        if other != prompt:
            raise ValueError("the conversation and the rejected one differ before their last answer")
        return [comparison(row, origin, prompt, [answer, text])]
    worse_text = answer_text(rejected, "the rejected answer")
    if not has_answer(row):
        return [thumb(row, origin, prompt_text(row), worse_text, False)]
    better = answer_text(row.get(answer_column(row)), "the answer")
    return [comparison(row, origin, prompt_text(row), [better, worse_text])]


def is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def best_first(row: Row, origin: Origin) -> list[Record]:
    """LLaMA-Factory's older ranking: an output of two texts, the better one first."""
    texts = [valid_text(text, "the answer") for text in row.get("output")]
    return [comparison(row, origin, prompt_text(row), texts)]


def is_best_first(row: Row) -> bool:
    value = row.peek("output")
    return row.has("instruction") and isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def alpaca_eval(row: Row, origin: Origin) -> list[Record]:
    """`preference` is 1 + the probability that output_2 is better; 1.5 (in old files 0) is a tie."""
    preference = number(row.get("preference"))
    if preference is None:
        raise ValueError("the preference is missing, so this pair was not judged")
    if preference != 0 and not 1 <= preference <= 2:
        raise ValueError(f"the preference is {preference:g}; it must be from 1 (output_1) to 2 (output_2)")
    groups: tuple[tuple[int, ...], ...] = ((1,), (2,)) if preference < 1.5 else ((2,), (1,))
    if preference in (0, 1.5):
        groups = ((1, 2),)
    models = [str(row.get(name) or "import") for name in ("generator_1", "generator_2")]
    texts = [valid_text(row.get(name), name) for name in ("output_1", "output_2")]
    rater = origin.rater_of(row, "annotator")
    return [comparison(row, origin, prompt_text(row), texts, groups=groups, models=models, rater=rater)]


def sides(row: Row) -> tuple[str, str] | None:
    """The columns of two answers that differ in their last letter or digit, such as response_a and response_b."""
    for name in row:
        match = ANSWER.fullmatch(name)
        if match:
            other = name[: -len(match[2])] + SIDES[match[2]]
            if not is_empty(row.peek(name)) and not is_empty(row.peek(other)):
                return name, other
    return None


def is_judged(row: Row) -> bool:
    """Whether the row has two answers and something that says which is better."""
    columns = sides(row)
    return columns is not None and (_choice(row) is not None or _scores(row, columns) is not None)


def _choice(row: Row) -> str | None:
    return next((name for name in CHOICES if name in row and row.peek(name) is not None), None)


def _scores(row: Row, columns: tuple[str, str]) -> list[str] | None:
    for stem in ("score", "rating", "reward"):
        names = [f"{stem}{'_' if '_' in name else ''}{_side(name)}" for name in columns]
        if all(number(row.peek(name)) is not None for name in names):
            return names
    return None


def _side(name: str) -> str:
    """The letter, digit or word in which the names of two answers differ."""
    return next(end for end in ("left", "right", name[-1]) if name.endswith(end))


def two_answers(row: Row, origin: Origin) -> list[Record]:
    """Two answers of which a column says which is better (by side, name of the column, or "tie"), or their scores do."""
    columns = sides(row)
    if columns is None:
        raise ValueError("there are no two answers to choose between")
    choice = _choice(row)
    if choice is not None:
        groups, acceptable = _groups_of(row.get(choice), choice, columns), None
        if flag_of(row.peek(choice)) in ("both_bad", "tie_(bothbad)", "bothbad", "neither"):
            acceptable = 0
    else:
        scores, acceptable = [number(row.get(name)) or 0.0 for name in _scores(row, columns) or ()], None
        groups = by_difference(scores[0] - scores[1])
    prompt, texts = prompt_and_answers(row, [(row.get(name), name) for name in columns])
    models = [str(row.get(f"model_{name[-1]}") or "import") for name in columns]
    return [comparison(row, origin, prompt, texts, groups=groups, models=models, acceptable=acceptable)]


def by_difference(difference: float) -> tuple[tuple[int, ...], ...]:
    """Groups of two answers: the first is better when the difference is above 0."""
    return ((1,), (2,)) if difference > 0 else ((2,), (1,)) if difference < 0 else ((1, 2),)


def _groups_of(value: Any, choice: str, columns: tuple[str, str]) -> tuple[tuple[int, ...], ...]:
    """The groups that a choice means. Raises ValueError for one that names neither side."""
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{choice} is {value}; it must name one of {' and '.join(columns)}, or be a tie")
    flag = flag_of(value)
    flag = str(int(number(value) or 0)) if number(value) is not None and float(value).is_integer() else flag
    if flag.split("_")[0].rstrip("()") in TIES or "both" in flag:
        return ((1, 2),)
    if flag in PLACES:
        return PLACES[flag]
    for place, name in enumerate(columns):
        if flag in (name, _side(name)) or re.fullmatch(rf"[a-z_]*_{_side(name)}", flag):
            return ((1,), (2,)) if place == 0 else ((2,), (1,))
    raise ValueError(f"{choice} is {str(value)[:40]!r}; it must name one of {' and '.join(columns)}, or be a tie")


def shp(row: Row, origin: Origin) -> list[Record]:
    """Stanford's SHP: labels is 1 when the first of two comments was preferred, 0 when the second was."""
    label = number(row.get("labels"))
    if label not in (0, 1):
        raise ValueError(f"labels must be 1 (human_ref_A) or 0 (human_ref_B), not {str(row.peek('labels'))[:40]!r}")
    texts = [valid_text(row.get(name), name) for name in ("human_ref_a", "human_ref_b")]
    return [
        comparison(row, origin, valid_text(row.get("history"), "the history"), texts, groups=by_difference(label - 0.5))
    ]


def helpsteer3(row: Row, origin: Origin) -> list[Record]:
    """HelpSteer3: from -3 (response1 is much better) to 3 (response2 is); 0 is a tie."""
    preference = number(row.get("overall_preference"))
    if preference is None or not -3 <= preference <= 3:
        raise ValueError("overall_preference must be from -3 (response1) to 3 (response2)")
    texts = [answer_text(row.get(name), name) for name in ("response1", "response2")]
    return [comparison(row, origin, prompt_text(row), texts, groups=by_difference(-preference))]


def arena(row: Row, origin: Origin) -> list[Record]:
    """The Arena's 55k votes: one flag each for model a, model b and a tie, texts as JSON lists of turns."""
    won = [true(row.get(name)) for name in ("winner_model_a", "winner_model_b", "winner_tie")]
    if sum(won) != 1:
        raise ValueError("one of winner_model_a, winner_model_b and winner_tie must be 1")
    prompt = Row({"prompt": _turn_list(row.get("prompt"))})
    texts = [answer_text(_turn_list(row.get(name)), name) for name in ("response_a", "response_b")]
    models = [str(row.get(name) or "import") for name in ("model_a", "model_b")]
    return [comparison(row, origin, prompt_text(prompt), texts, groups=by_difference(won[0] - won[1]), models=models)]


def _turn_list(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    except ValueError:
        return value


def summaries(row: Row, origin: Origin) -> list[Record]:
    """OpenAI's summarize_from_feedback: two summaries of a post, in the layout of the paper (Stiennon et al. 2020)."""
    info, pair, choice = row.get("info"), row.get("summaries"), number(row.get("choice"))
    if not isinstance(info, dict) or not isinstance(pair, list) or len(pair) != 2 or choice not in (0, 1):
        raise ValueError("there must be an info, two summaries and a choice of 0 or 1")
    parts = [("SUBREDDIT: r/", "subreddit"), ("TITLE: ", "title"), ("POST: ", "post"), ("", "article")]
    prompt = "\n".join(f"{label}{info[name]}" for label, name in parts if info.get(name)) + "\nTL;DR:"
    try:
        texts = [valid_text(each["text"], "the summary").strip() for each in pair]
        models = [str(each.get("policy") or "import") for each in pair]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the summaries are not as OpenAI writes them: {error!r}") from None
    rater = origin.rater_of(row, "worker")
    return [comparison(row, origin, prompt, texts, groups=by_difference(0.5 - choice), models=models, rater=rater)]
