"""What a tokenizer's chat template does to a conversation, found by rendering one. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from workbench.models.checkpoint import one_line
from workbench.models.errors import ModelError

QUESTION, ANSWER = "Qx7Question", "Qx7Answer"  # words that no template writes by itself

# What a model without a chat template of its own is spoken to with; trained on by SFT as well, so it must not change.
PLAIN_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}### Answer:\n{{ m['content'] }}{{ eos_token }}\n"
    "{% else %}### Question:\n{{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Answer:\n{% endif %}"
)


@dataclass(frozen=True)
class Framing:
    """How a template takes a message and ends an answer.

    parts: content must be a list of parts, [{"type": "text", "text": ...}]; end: id of the token that closes the
    assistant's turn, None when neither the template nor the tokenizer names one.
    """

    parts: bool
    end: int | None


_framings: WeakKeyDictionary[Any, tuple[str, Framing]] = WeakKeyDictionary()


def plain_template(tokenizer: Any) -> str:
    """The template for a tokenizer without one; it begins as the tokenizer begins plain text."""
    bos = tokenizer.bos_token_id
    begins = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return ("{{ bos_token }}" if begins else "") + PLAIN_TEMPLATE


def messages(tokenizer: Any, prompt: str) -> list[dict[str, Any]]:
    """A conversation of one question, as the chat template takes it. Raises ModelError as `framing` does."""
    return [_message("user", prompt, framing(tokenizer).parts)]


def end_id(tokenizer: Any) -> int:
    """The token that the chat template ends an answer with: <end_of_turn>, <|eot_id|>, ...; else the tokenizer's own.

    Raises ModelError when there is neither.
    """
    end = framing(tokenizer).end
    if end is None:
        raise ModelError(
            "Nothing ends an answer: the chat template closes a turn with no special token, and the tokenizer has no "
            "end-of-sequence token. Name one as eos_token in tokenizer_config.json."
        )
    return end


def framing(tokenizer: Any) -> Framing:
    """What the tokenizer's template does, rendered once. Raises ModelError for a template that cannot be rendered or
    leaves the question out."""
    template, result = _framings.get(tokenizer, (None, None))
    if result is None or template != tokenizer.chat_template:
        parts = _takes_parts(tokenizer)
        result = Framing(parts, _end_of_turn(tokenizer, parts))
        _framings[tokenizer] = tokenizer.chat_template, result
    return result


def openings(tokenizer: Any) -> str:
    """How the template's answers begin in two ways, as a sentence; "" where they begin in one, white space aside.

    A prompt ends where an answer is asked for; a finished conversation may have more there (the role's mark, where the
    template knows no generation prompt; an empty thought) or less. Raises ModelError as `framing` does.
    """
    parts = framing(tokenizer).parts
    question = _message("user", QUESTION, parts)
    prompt, _ = _render(tokenizer, [question], add_generation_prompt=True)
    conversation, error = _render(tokenizer, [question, _message("assistant", ANSWER, parts)])
    finished, answer, _ = conversation.partition(ANSWER)
    pairs = zip(prompt, finished, strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(finished)))
    asked, answered = prompt[shared:].strip(), finished[shared:].strip()
    if error is not None or not answer or asked == answered:
        return ""
    return (
        f"The model's chat template begins an answer in two ways: with {_quoted(asked)} where one is asked for, with "
        f"{_quoted(answered)} in a finished conversation. The workbench learns and samples answers in the first way; if "
        "the model was trained in the second, correct chat_template in its folder."
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else "nothing"


def _message(role: str, text: str, parts: bool) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}] if parts else text}


def _takes_parts(tokenizer: Any) -> bool:
    text, error = _render(tokenizer, [_message("user", QUESTION, parts=False)], add_generation_prompt=True)
    if QUESTION in text:
        return False
    if QUESTION in _render(tokenizer, [_message("user", QUESTION, parts=True)], add_generation_prompt=True)[0]:
        return True
    if error is None:
        raise ModelError(
            "its chat template leaves the prompt out, so the model would never see it. Correct chat_template in the "
            "model's folder, or remove it to use a plain one."
        )
    raise ModelError(
        f"its chat template cannot be used for one question without a system message: {one_line(error)}"
    ) from error


def _end_of_turn(tokenizer: Any, parts: bool) -> int | None:
    end: int | None = tokenizer.eos_token_id
    text, error = _render(tokenizer, [_message("user", QUESTION, parts), _message("assistant", ANSWER, parts)])
    if error is not None:  # it frames questions alone
        return end
    rest = text.rpartition(ANSWER)[2]
    # tokens added to the vocabulary; some tokenizers add runs of spaces as well
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    ids: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in marks), end)


def _render(
    tokenizer: Any, conversation: list[dict[str, Any]], add_generation_prompt: bool = False
) -> tuple[str, Exception | None]:
    """The conversation as the template writes it; where it raises an error, "" and that."""
    from jinja2.exceptions import TemplateError

    try:
        text = tokenizer.apply_chat_template(conversation, add_generation_prompt=add_generation_prompt, tokenize=False)
    # templates are code: a list where one joins strings, a key that a message lacks
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        return "", error
    return str(text), None
