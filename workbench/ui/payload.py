"""Reading what the page sent: every field is checked before anything is done with it."""

from __future__ import annotations

from typing import Any

from workbench.ui.context import Refused


def number(payload: dict[str, Any], name: str) -> int:
    """A whole number, such as an id. Raises Refused naming the field."""
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise Refused(f"The page sent no number as {name}. Reload the page; nothing saved is lost.")
    return value


def words(payload: dict[str, Any], name: str, empty_ok: bool = False, longest: int = 1_000_000) -> str:
    """A text. Raises Refused naming the field when it is missing, empty or too long."""
    value = payload.get(name)
    if not isinstance(value, str):
        raise Refused(f"The page sent no text as {name}. Reload the page; nothing saved is lost.")
    if not empty_ok and not value.strip():
        raise Refused("There is nothing to save yet: the text is empty.")
    if len(value) > longest:
        raise Refused(f"This text has {len(value):,} characters; at most {longest:,} are kept.")
    return value


def token(payload: dict[str, Any]) -> str:
    """What the page made up for this one act, so that sending it twice stores it once."""
    value = words(payload, "token", longest=64)
    if len(value) < 8:
        raise Refused("The page sent too short a token. Reload the page; nothing saved is lost.")
    return value


def seconds(payload: dict[str, Any]) -> float | None:
    """How long a judgement took, None when not measured or longer than an hour (somebody went away)."""
    value = payload.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        return None
    return float(value)
