"""What a tokenizer's chat template does to a conversation, found by rendering one. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

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
    """What the tokenizer's template does, rendered once. Raises ModelError for a template that leaves the question out."""
    template, known = _framings.get(tokenizer, (None, None))
    if known is None or template != tokenizer.chat_template:
        parts = _takes_parts(tokenizer)
        known = Framing(parts, _end_of_turn(tokenizer, parts))
        _framings[tokenizer] = tokenizer.chat_template, known
    return known


def _message(role: str, text: str, parts: bool) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}] if parts else text}


def _takes_parts(tokenizer: Any) -> bool:
    from jinja2.exceptions import TemplateError

    reason = "its rendering does not hold the question"
    for parts in (False, True):
        try:
            talk = [_message("user", QUESTION, parts)]
            if QUESTION in tokenizer.apply_chat_template(talk, add_generation_prompt=True, tokenize=False):
                return parts
        except (TemplateError, TypeError) as error:  # a list where the template joins strings, or the other way round
            reason = str(error)
    raise ModelError(f"The chat template cannot be used with a single question: {reason}")


def _end_of_turn(tokenizer: Any, parts: bool) -> int | None:
    from jinja2.exceptions import TemplateError

    talk = [_message("user", QUESTION, parts), _message("assistant", ANSWER, parts)]
    try:
        text = tokenizer.apply_chat_template(talk, tokenize=False)
    except (TemplateError, TypeError):  # it frames questions alone
        return tokenizer.eos_token_id
    after = text.rpartition(ANSWER)[2]
    # tokens added to the vocabulary; some tokenizers add runs of spaces as well
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in marks), tokenizer.eos_token_id)
