"""Prompts, demonstrations, and answers with a label."""

from typing import Any

from workbench.collect.conversation import answer_text, no_attachments, prompt_column, prompt_text, with_context
from workbench.collect.converters.records import Origin, Record, Unused, demonstration, thumb
from workbench.collect.row import (
    ANSWERS,
    CONVERSATIONS,
    NAMES,
    Row,
    flag_of,
    is_empty,
    judges,
    metadata,
    number,
    valid_text,
)
from workbench.collect.turns import ALIASES, Turn, from_text, split_answer, to_text, trained_on, turns_of
from workbench.records import Demonstration, Prompt

FLAGS = dict.fromkeys(("true", "1", "1.0", "yes", "good", "desirable", "chosen", "thumbs_up", "up"), True)
FLAGS |= dict.fromkeys(("false", "0", "0.0", "-1", "-1.0", "no", "bad", "undesirable", "rejected"), False)
FLAGS |= dict.fromkeys(("thumbs_down", "down"), False)
# Labels that judge an answer, though not as good or bad: such a row is no demonstration.
VERDICTS = {"toxic", "safe", "unsafe", "harmful", "harmless", "correct", "incorrect", "wrong", "right", "positive"}
VERDICTS |= {"negative", "neutral", "accept", "accepted", "reject", "like", "dislike", "spam", "fail", "pass", "tie"}
RENDERED = (
    "<|im_start|>assistant",
    "<|assistant|>",
    "### Assistant:",
    "### Response:",
    "[/INST]",
    "<start_of_turn>model",
)


def prompt(row: Row, origin: Origin) -> list[Record]:
    """A prompt alone. Raises Unused for a row with columns that may hold answers or judgements."""
    text = prompt_text(row)
    source, kind = row.get("source"), row.get("kind")
    if not row.is_own_export:
        holds_answer(text)
    unused = [row.spelling[name] for name in row.unread_columns() if not metadata(name, row[name])]
    records: list[Record] = [Prompt(0, text, str(source) if source else origin.source, str(kind) if kind else None)]
    if unused:
        raise Unused(unused, "prompts", records)
    return records


def prompt_alone(row: Row, origin: Origin) -> list[Record]:
    """The prompt of a row whose answers are of no use, or missing."""
    return [Prompt(0, prompt_text(row), origin.source)]


def holds_answer(text: str) -> None:
    """Raises ValueError for a text that is a whole conversation, its answer included."""
    turns = from_text(text)
    if len(turns) > 1 and turns[-1][0] == "assistant" and turns[-1][1].strip():
        raise ValueError("it is a conversation that ends with the assistant's answer, not a prompt alone")
    for mark in RENDERED:
        if text.partition(mark)[2].strip():
            raise ValueError(f"it holds a rendered conversation ({mark}), its answer included; split it into messages")


def verl(row: Row, origin: Origin) -> list[Record]:
    """verl's prompts for rule-based rewards: what the rule compares with (reward_model) has no place here."""
    source = row.get("data_source")
    return [Prompt(0, prompt_text(row), str(source) if source else origin.source)]


def completion(row: Row, origin: Origin) -> list[Record]:
    """A prompt with the answer to imitate. Raises Unused for one that is judged in a column of its own."""
    name = answer_column(row)
    value = row.get(name)
    if isinstance(value, list) and not all(isinstance(each, dict) for each in value) and len(value) > 1:
        raise ValueError(f"{name} must be one answer, not a list of {len(value)}")
    what = "the answer" if name != "completion" else "the completion"
    text = prompt_text(row)
    return accept(row, value, demonstration(row, origin, text, answer_text(value, what)))


def answer_column(row: Row) -> str:
    """The one column that holds the row's answer. Raises ValueError when two do."""
    names = [name for name in ANSWERS if not is_empty(row.columns.get(name)) and name != prompt_column(row)]
    if len(names) > 1 and names != ["solution", "answer"]:
        raise ValueError(f"{' and '.join(names)} both hold an answer; choose one with --map completion={names[0]}")
    return names[0] if names else row.name_of("completion") or "completion"


def conversation(row: Row, origin: Origin) -> list[Record]:
    """A conversation whose last answer is the one to imitate."""
    value, turns = conversation_of(row)
    if {text.strip() for role, text in turns if role == "assistant"} in ({"+"}, {"-"}, {"+", "-"}):
        raise ValueError(
            "the answers in it are only + and -, which are labels of steps; write steps and labels as lists"
        )
    return accept(row, value, demonstration(row, origin, *split_answer(turns)))


def conversation_of(row: Row) -> tuple[Any, list[Turn]]:
    """(the messages as they are, their turns with the row's system prompt and history)."""
    name = next((name for name in CONVERSATIONS if row.peek(name) is not None), CONVERSATIONS[0])
    value = row.get(name)
    turns = turns_of(value)
    no_attachments(row)
    prompt_value = row.peek("prompt")
    if isinstance(prompt_value, str) and prompt_value.strip() in to_text(turns):
        row.get("prompt")
    return value, with_context(row, turns)


def accept(row: Row, value: Any, record: Demonstration) -> list[Record]:
    """The demonstration, unless it is not to be imitated (ValueError) or a column that nothing reads judges it (Unused)."""
    name = row.name_of("label")
    if name is not None and not is_foreign(row.peek("label")) and FLAGS.get(flag_of(row.get("label"))) is not True:
        raise ValueError("labelled as an unwanted answer; only wanted ones are demonstrations")
    if not trained_on(value):
        raise ValueError("its last message has the weight 0; only wanted answers are demonstrations")
    judging = [row.spelling[each] for each in row.unread_columns() if judges(each) and each != name]
    if judging:
        raise Unused(judging, "demonstrations", [record])
    return [record]


def is_foreign(value: Any) -> bool:
    """Whether a column called label holds something else, such as a topic: a text that is no flag and no verdict."""
    flag = flag_of(value)
    return isinstance(value, str) and flag not in FLAGS and flag not in VERDICTS and number(value) is None


def is_labelled(row: Row) -> bool:
    """Whether the row has a label that judges its answer."""
    value = row.peek("label")
    return value is not None and not isinstance(value, list | dict) and not is_foreign(value)


def unpaired(row: Row, origin: Origin) -> list[Record]:
    """TRL's and LLaMA-Factory's unpaired preference: one answer judged good (label or kto_tag true) or bad."""
    flag = flag_of(row.get("label"))
    if flag not in FLAGS:
        raise ValueError(f"the label must be true (a good answer) or false, not {str(row.peek('label'))[:40]!r}")
    if any(not is_empty(row.columns.get(name)) for name in ANSWERS) or not has_conversation(row):
        name = answer_column(row)
        text = answer_text(row.get(name), "the completion" if name == "completion" else "the answer")
        return [thumb(row, origin, prompt_text(row), text, FLAGS[flag])]
    text, answer = split_answer(conversation_of(row)[1])
    return [thumb(row, origin, valid_text(text, "the prompt"), valid_text(answer, "the answer"), FLAGS[flag])]


def has_conversation(row: Row) -> bool:
    return any(isinstance(row.peek(name), list | dict) for name in CONVERSATIONS)


def is_conversation(row: Row) -> bool:
    """Whether the row's answer is the last turn of a conversation, and not in a column beside one that ends with a
    question."""
    value = next((row[name] for name in CONVERSATIONS if isinstance(row.peek(name), list | dict)), None)
    if value is None or not has_answer(row):
        return value is not None
    last = value[-1] if isinstance(value, list) and value else None
    role = str(last.get("role") or last.get("from")).lower() if isinstance(last, dict) else "assistant"
    return ALIASES.get(role, role) != "user"


def has_answer(row: Row) -> bool:
    prompt = prompt_column(row)
    return prompt is not None and any(
        row.columns.get(name) is not None for name in NAMES["completion"] if name != prompt
    )


def self_instruct(row: Row, origin: Origin) -> list[Record]:
    """One demonstration per instance of the task."""
    instances = row.get("instances")
    if not isinstance(instances, list) or not instances or not all(isinstance(each, dict) for each in instances):
        raise ValueError("instances must be a list of objects with an input and an output, and not empty")
    records: list[Record] = []
    for each in instances:
        task = Row({"instruction": row.get("instruction"), "input": each.get("input")})
        records.append(demonstration(row, origin, prompt_text(task), each.get("output")))
    return records
