"""Conversations as one prompt text, and back.

A prompt of a single user turn is that turn's text. Anything longer is written out as a transcript,
"Human: ...", "Assistant: ...", "System: ..." with a blank line between the turns, as in HH-RLHF.
"""

import re
from typing import Any

NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
ROLES = {name: role for role, name in NAMES.items()}
# What other programs call the three roles.
ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "prompter": "user",
}
TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant|System): ?")
Turn = tuple[str, str]  # (role, text)


def turns_of(messages: Any) -> list[Turn]:
    """Turns of a list of {"role", "content"} or {"from", "value"}. Raises ValueError saying what is wrong."""
    if not isinstance(messages, list) or not messages:
        raise ValueError("the conversation must be a list of messages, and not empty")
    turns = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise ValueError(f"message {number} must be an object with a role and a content")
        role = message.get("role") or message.get("from")
        text = message.get("content") if message.get("content") is not None else message.get("value")
        role = ALIASES.get(str(role).lower(), role)
        if role not in NAMES:
            raise ValueError(f"message {number} has the role {role!r}; known are user, assistant and system")
        if not isinstance(text, str):
            raise ValueError(f"message {number} has no text")
        turns.append((role, text))
    return turns


def to_text(turns: list[Turn]) -> str:
    """The prompt text of these turns."""
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    return "\n\n".join(f"{NAMES[role]}: {text}" for role, text in turns)


def from_text(prompt: str) -> list[Turn]:
    """The turns of a prompt text. A text that is no transcript is one user turn."""
    parts = TURN.split(prompt)
    turns = [(ROLES[name], text) for name, text in zip(parts[1::2], parts[2::2], strict=True)]
    if parts[0] or len(turns) < 2 or to_text(turns) != prompt:
        return [("user", prompt)]
    return turns


def to_messages(prompt: str) -> list[dict[str, str]]:
    """The prompt as TRL and chat templates want it."""
    return [{"role": role, "content": text} for role, text in from_text(prompt)]


def split_answer(turns: list[Turn]) -> tuple[str, str]:
    """(prompt text, answer) of a conversation that ends with the assistant's answer. Raises ValueError otherwise."""
    if turns[-1][0] != "assistant":
        raise ValueError(f"the conversation ends with the {turns[-1][0]}'s turn, so there is no answer")
    if all(role == "system" for role, _ in turns[:-1]):
        raise ValueError("the conversation has no user's turn before the answer")
    return to_text(turns[:-1]), turns[-1][1]


def transcript(text: Any) -> list[Turn]:
    """Turns of an HH-RLHF transcript, "\\n\\nHuman: ...\\n\\nAssistant: ..."; an answer's outer spaces are dropped."""
    parts = TURN.split(text.lstrip()) if isinstance(text, str) else []
    if len(parts) < 5 or parts[0]:
        raise ValueError('no transcript that starts with "Human: " and has "Assistant: " after it')
    return [(ROLES[name], said.strip()) for name, said in zip(parts[1::2], parts[2::2], strict=True)]
