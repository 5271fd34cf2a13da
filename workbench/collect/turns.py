"""Conversations as one prompt text, and back.

A prompt of a single user turn is that turn's text. Anything longer is written out as a transcript,
"Human: ...", "Assistant: ...", "System: ..." with a blank line between the turns, as in HH-RLHF.
"""

import re
from typing import Any

NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
ROLES = {name: role for role, name in NAMES.items()}
# What other programs call the three roles; letters may be small or capital.
ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "prompter": "user",
    "developer": "system",
}
TOOLS = ("tool", "function", "function_call", "function_response", "observation", "ipython")
TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant|System): ?")
Turn = tuple[str, str]  # (role, text)


def turns_of(messages: Any) -> list[Turn]:
    """Turns of a list of {"role", "content"} or {"from", "value"}, of {"input", "output"} or of texts in turn, the
    user's first. A system message without a text is passed over. Raises ValueError saying what is wrong."""
    if isinstance(messages, dict):
        messages = messages.get("messages", [messages])
    if not isinstance(messages, list) or not messages:
        raise ValueError("the conversation must be a list of messages, and not empty")
    if all(isinstance(message, str) for message in messages):
        return [("assistant" if number % 2 else "user", text) for number, text in enumerate(messages)]
    turns: list[Turn] = []
    for number, message in enumerate(messages, 1):
        turns += _turns(message, number)
    if not turns:
        raise ValueError("the conversation has no message with a text")
    return turns


def _turns(message: Any, number: int) -> list[Turn]:
    """The turns of one message: one, none of an empty system message, two of an exchange with its answer."""
    if not isinstance(message, dict):
        raise ValueError(f"message {number} must be an object with a role and a content")
    speaker = message.get("role") or message.get("from")
    if speaker is None and isinstance(message.get("input"), str):  # Capybara
        answer = message.get("output")
        return [("user", message["input"])] + ([("assistant", answer)] if isinstance(answer, str) and answer else [])
    role = str(speaker).strip().lower()
    role = ALIASES.get(role, role)
    if role in TOOLS or message.get("tool_calls") or message.get("function_call"):
        raise ValueError(f"message {number} (the role {speaker!r}) is part of a tool call; only text is read")
    if role not in NAMES:
        raise ValueError(f"message {number} has the role {speaker!r}; use user, assistant or system")
    value = next((message[name] for name in ("content", "value", "text") if message.get(name) is not None), None)
    text = _content(value, number)
    if role == "system" and not (text or "").strip():
        return []
    if text is None:
        raise ValueError(f"message {number} has no text")
    return [(role, text)]


def _content(value: Any, number: int) -> str | None:
    """A message's text; of parts, their texts joined. Raises ValueError naming what is no text."""
    if value is None or isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [value]
    text = ""
    for part in parts:
        kind = "text" if isinstance(part, str) else str(part.get("type", "text")) if isinstance(part, dict) else "?"
        content = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if "text" not in kind or not isinstance(content, str):
            raise ValueError(f"message {number} holds {_thing(kind)}; only text is read")
        text += ("\n" if text and content and not text[-1].isspace() and not content[0].isspace() else "") + content
    return text


def _thing(kind: str) -> str:
    for name, thing in (("image", "an image"), ("video", "a video"), ("audio", "audio"), ("file", "a file")):
        if name in kind:
            return thing
    return f"a part of the type {kind!r}"


def trained_on(messages: Any) -> bool:
    """Whether the last message is one to imitate: not so with OpenAI's weight of 0, or train false."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return not (isinstance(last, dict) and (last.get("weight") == 0 or last.get("train") is False))


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
        raise ValueError(
            f"the conversation ends with the {turns[-1][0]}'s turn, so there is no answer (for prompts: --as prompts)"
        )
    if all(role == "system" for role, _ in turns[:-1]):
        raise ValueError("the conversation has no user turn before the answer")
    return to_text(turns[:-1]), turns[-1][1]


def transcript(text: Any) -> list[Turn]:
    """Turns of an HH-RLHF transcript, "\\n\\nHuman: ...\\n\\nAssistant: ..."; an answer's outer spaces are dropped."""
    parts = TURN.split(text.lstrip()) if isinstance(text, str) else []
    if len(parts) < 5 or parts[0]:
        raise ValueError('not a transcript that starts with "Human: " and has "Assistant: " after it')
    return [(ROLES[name], turn.strip()) for name, turn in zip(parts[1::2], parts[2::2], strict=True)]
