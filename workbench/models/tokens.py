"""Text as the token ids a model reads: a prompt in its chat template, an answer with its end. Imports no torch.

The one place where prompts and answers become ids, for training, sampling and scoring alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from workbench.models import chat

NOW = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


def freeze_date(tokenizer: Any, when: datetime) -> None:
    """Have the chat template name the date of `when` where it would name today's, as Llama 3's does: its calls of
    `strftime_now` become that date. Transformers hands templates no functions, so it cannot be given another."""

    def dated(template: str) -> str:
        return NOW.sub(lambda call: json.dumps(when.strftime(call[2])), template)

    template = tokenizer.chat_template
    if isinstance(template, dict):
        tokenizer.chat_template = {name: dated(text) for name, text in template.items()}
    elif template is not None:
        tokenizer.chat_template = dated(template)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Token ids of a prompt as the chat template frames it, up to where the answer begins."""
    talk = chat.messages(tokenizer, prompt)
    return list(tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False))


def answer_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of an answer, the token that ends the turn included: the model shall learn to stop."""
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], chat.end_id(tokenizer)]


def step_ids(tokenizer: Any, steps: Sequence[str]) -> tuple[list[int], list[int]]:
    """(token ids of an answer and its end token; the place among them at which each step is read).

    A step is read at its last token, the last step at the end token, where it is seen that the answer stops.
    """
    encoding = tokenizer("".join(steps), add_special_tokens=False, return_offsets_mapping=True)
    begins = [begin for begin, _ in encoding["offset_mapping"]]
    places, end = [], 0
    for step in steps[:-1]:
        end += len(step)
        places.append(max(sum(begin < end for begin in begins) - 1, 0))
    ids = [*encoding["input_ids"], chat.end_id(tokenizer)]
    return ids, [*places, len(ids) - 1]
