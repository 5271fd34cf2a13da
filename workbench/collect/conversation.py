"""The prompt and the answers of a row, whatever its columns are called and whatever shape they have."""

from typing import Any

from workbench.collect.row import ATTACHED, CONVERSATIONS, MORE, PROMPTS, SYSTEM, Row, is_empty, is_message, valid_text
from workbench.collect.turns import Turn, split_answer, to_text, transcript, turns_of

PROMPT_COLUMNS = (*PROMPTS[:6], *CONVERSATIONS, *PROMPTS[6:])


def prompt_text(row: Row) -> str:
    """The prompt of a row with its system prompt, its history and its input. Raises ValueError."""
    turns = prompt_turns(row)
    if turns[-1][0] != "user":
        raise ValueError(f"the prompt ends with the {turns[-1][0]}'s turn, not with the user's")
    return valid_text(to_text(turns), "the prompt")


def prompt_turns(row: Row) -> list[Turn]:
    """The turns before the answer."""
    no_attachments(row)
    name = prompt_column(row)
    if name is None:
        raise ValueError(f"the prompt is missing (it may be called {', '.join((*PROMPTS[:5], *CONVERSATIONS[:4]))})")
    turns = as_prompt(row.get(name))
    for extra in MORE:
        value = row.peek(extra)
        if extra != name and not is_empty(value):
            valid_text(value, extra)
            if len(turns) > 1 or turns[0][0] != "user":
                raise ValueError(f"both {name} and {extra} are filled in; only a plain text has an input below it")
            turns = [("user", f"{turns[0][1]}\n\n{row.get(extra)}")]
    _no_other_prompt(row, name, turns)
    _same_conversation(row, name, turns)
    return with_context(row, turns)


def prompt_column(row: Row) -> str | None:
    """The column that holds the prompt: the first of the usual names that is filled in, else that is there."""
    names = [name for name in PROMPT_COLUMNS if row.columns.get(name) is not None]
    if isinstance(row.peek("context"), list) and (not names or names[0] in PROMPTS[6:]):
        names = ["context", *names]
    return next((name for name in names if not is_empty(row.peek(name))), names[0] if names else None)


def as_prompt(value: Any) -> list[Turn]:
    """Turns of a prompt given as text, messages, texts in turn, or a transcript that ends where the assistant is to
    speak."""
    if isinstance(value, dict) and not is_message(value) and "messages" not in value:
        value = next((value[name] for name in ("full_text", "text", "content", "problem") if name in value), value)
    if isinstance(value, dict) and not is_empty(value.get("tools")):
        raise ValueError("its prompt has tools; only text is read")
    if isinstance(value, list | dict):
        return turns_of(value)
    text = valid_text(value, "the prompt")
    if text.lstrip().startswith("Human:") and text.rstrip().endswith("\n\nAssistant:"):
        return transcript(text.rstrip() + " ")[:-1]
    return [("user", text)]


def plain_prompt(value: Any) -> str:
    """A prompt that stands in one column, with nothing beside it."""
    return valid_text(to_text(as_prompt(value)), "the prompt")


def with_context(row: Row, turns: list[Turn]) -> list[Turn]:
    """The turns with the row's system prompt and its history before them. Raises ValueError where they contradict."""
    turns = [*_history(row), *turns]
    system = next(
        (row.get(name) for name in SYSTEM if isinstance(row.peek(name), str) and row.peek(name).strip()), None
    )
    non_text = next((name for name in SYSTEM if not isinstance(row.peek(name), str | None)), None)
    if non_text is not None:
        raise ValueError(f"{non_text} must be text, not {type(row.peek(non_text)).__name__}")
    if system is None or turns[0] == ("system", system):
        return turns
    if turns[0][0] == "system":
        raise ValueError("the system column and the conversation's first message are two different system prompts")
    return [("system", system), *turns]


def _history(row: Row) -> list[Turn]:
    """Earlier turns: pairs of question and answer, as in Alpaca's files, or messages."""
    value = row.get("history")
    if is_empty(value):
        return []
    if not isinstance(value, list):
        raise ValueError("the history must be a list of pairs of a question and an answer")
    if all(isinstance(each, list) and len(each) == 2 for each in value):
        roles = ("user", "assistant")
        return [(roles[place], valid_text(text, "the history")) for pair in value for place, text in enumerate(pair)]
    return turns_of(value)


def no_attachments(row: Row) -> None:
    """Raises ValueError for a row with images or tools: the prompt alone would not say what the answer is to."""
    for name in ATTACHED:
        value = row.peek(name)
        if not is_empty(value) and not (isinstance(value, str) and value.strip() in ("[]", "{}")):
            raise ValueError(f"it has {name}, which a prompt cannot hold; only text is read")
        row.get(name)


def _no_other_prompt(row: Row, name: str, turns: list[Turn]) -> None:
    """Raises ValueError when a second column holds another prompt: one of the two would be dropped."""
    for other in PROMPTS:
        if other in (name, *MORE) or is_empty(row.peek(other)) or not isinstance(row.peek(other), str | list | dict):
            continue
        text, other_text = _single_spaced(turns), _single_spaced(as_prompt(row.peek(other)))
        if text not in other_text and other_text not in text:
            raise ValueError(f"{name} and {other} hold different prompts; choose one with --map prompt={other}")
        row.get(other)


def _same_conversation(row: Row, name: str, turns: list[Turn]) -> None:
    """Raises ValueError when beside the prompt there is a conversation that says more than it."""
    if name in CONVERSATIONS:
        return
    for other in CONVERSATIONS:
        value = row.peek(other)
        if not isinstance(value, list) or not value:
            continue
        history = turns_of(value)
        history = history[:-1] if history[-1][0] == "assistant" else history
        if len(history) > len(turns) or _single_spaced(history) not in _single_spaced(turns):
            raise ValueError(f"{name} and {other} hold different prompts; choose one with --map prompt={other}")
        row.get(other)


def _single_spaced(turns: list[Turn]) -> str:
    return " ".join(" ".join(text for _, text in turns).split())


def answer_turns(value: Any, what: str) -> list[Turn]:
    """Turns of an answer given as text, a message, messages, or a conversation or transcript that ends with it."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if isinstance(value, dict) and not is_message(value) and "messages" not in value:
        value = next((value[name] for name in ("content", "value", "text") if name in value), value)
    if isinstance(value, list) and not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{what} must be one text or messages, not a list of {len(value)}")
    if isinstance(value, list | dict) and (is_message(value) or isinstance(value, list)):
        return turns_of(value)
    text = valid_text(value, what)
    if text.lstrip().startswith("Human: ") and "\n\nAssistant: " in text:
        return transcript(text)
    return [("assistant", text)]


def answer_text(value: Any, what: str) -> str:
    """An answer alone, as text or as messages that hold one assistant's turn."""
    return one_answer(answer_turns(value, what), what)


def one_answer(turns: list[Turn], what: str) -> str:
    if len(turns) != 1 or turns[0][0] != "assistant":
        raise ValueError(f"{what} must be one message of the assistant")
    return valid_text(turns[0][1], what)


def prompt_and_answers(row: Row, values: list[tuple[Any, str]]) -> tuple[str, list[str]]:
    """(prompt, answers) of a row whose answers stand alone or each end a conversation that holds the prompt too."""
    answers = [answer_turns(value, what) for value, what in values]
    if all(turns[0][0] == "assistant" for turns in answers):
        texts = [one_answer(turns, what) for turns, (_, what) in zip(answers, values, strict=True)]
        return prompt_text(row), texts
    names = " and ".join(what.removeprefix("the ").removesuffix(" answer") for _, what in values)
    if any(len(turns) == 1 for turns in answers):
        what = next(what for turns, (_, what) in zip(answers, values, strict=True) if len(turns) == 1)
        raise ValueError(f"{what} must be one message of the assistant")
    no_attachments(row)
    parts = [split_answer(with_context(row, turns)) for turns in answers]
    if len({prompt for prompt, _ in parts}) > 1:
        raise ValueError(f"{names} differ before their last answer, so they do not answer the same prompt")
    _holds_prompt(row, answers[0])
    return valid_text(parts[0][0], "the prompt"), [answer for _, answer in parts]


def _holds_prompt(row: Row, turns: list[Turn]) -> None:
    """Raises ValueError when the row has a prompt that its conversations do not hold."""
    name = prompt_column(row)
    if name is None or is_empty(row.peek(name)):
        return
    prompt = as_prompt(row.get(name))
    conversation = _single_spaced(turns)
    rendered = all(" ".join(text.split()) in _single_spaced(prompt) for _, text in turns[:-1])
    if not rendered and not all(" ".join(text.split()) in conversation for _, text in prompt):
        raise ValueError(f"{name} is not in the conversations of the answers; leave one of the two out")
