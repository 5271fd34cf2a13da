"""Reading what the page sent: every field is checked before anything is done with it.

Each function that the page may call says by `takes` which fields it reads and of what types; what a field of the right
type may hold is checked by the functions below, or by the caller.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, ValidationError, create_model

from workbench.ui.context import Context, Refused

# Answers one call of the page: the context, and the payload with the rater's name put in by the server.
Endpoint = Callable[[Context, dict[str, Any]], dict[str, Any]]
STRICT = ConfigDict(strict=True)  # "7" is no number and true is none either
NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "nothing",
}


def takes(**fields: Any) -> Callable[[Endpoint], Endpoint]:
    """`@takes(id=int, text=str | None)`: the payload's fields and their types; what may be None may also be missing.

    The function is given these fields alone, and "rater", which the server adds. Raises Refused naming the first field
    that is missing or of another type.
    """
    definitions: dict[str, Any] = {
        name: (kind, None if NoneType in get_args(kind) or kind is Any else ...) for name, kind in fields.items()
    }
    schema = create_model("Payload", __config__=STRICT, **definitions)

    def wrap(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        def endpoint(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
            try:
                values = schema.model_validate(payload).model_dump(exclude_unset=True)
            except ValidationError as error:
                raise Refused(_fault(error, fields)) from None
            rater = {"rater": payload["rater"]} if "rater" in payload else {}
            return function(context, values | rater)

        endpoint.takes = fields  # type: ignore[attr-defined]  # an attribute of our own
        return endpoint

    return wrap


def _fault(error: ValidationError, fields: dict[str, Any]) -> str:
    """The first fault in words: the field, what was sent as it, and what belongs there."""
    first = error.errors(include_url=False)[0]
    name, *inside = first["loc"]
    place = str(name)
    kinds = get_args(fields[place]) if isinstance(fields[place], UnionType) else (fields[place],)
    if inside and any(get_origin(kind) in (list, dict) for kind in kinds):
        place += f"[{inside[0]!r}]"
    if first["type"] == "string_unicode":
        return f"The text sent as {place} holds half a character (an unpaired surrogate). Remove it; nothing is lost."
    actual = "nothing" if first["type"] == "missing" else NAMES.get(type(first["input"]), "something else")
    expected = _type_name(fields[str(name)], inside != [])
    return f"The page sent {actual} as {place}, but {expected} is needed. Reload the page; nothing saved is lost."


def _type_name(kind: Any, inside: bool) -> str:
    """A type in words; `inside` means what its list or its dict holds."""
    if isinstance(kind, UnionType):
        return " or ".join(_type_name(each, inside) for each in get_args(kind) if each is not NoneType)
    if inside and get_origin(kind) in (list, dict):
        return _type_name(get_args(kind)[-1], False)
    return NAMES[get_origin(kind) or kind]


def read_number(payload: dict[str, Any], name: str) -> int:
    """A whole number, such as an id. Raises Refused naming the field."""
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise Refused(f"The page sent no number as {name}. Reload the page; nothing saved is lost.")
    return value


def read_text(payload: dict[str, Any], name: str, empty_ok: bool = False, longest: int = 1_000_000) -> str:
    """A text. Raises Refused naming the field when it is missing, empty or too long."""
    value = payload.get(name)
    if not isinstance(value, str):
        raise Refused(f"The page sent no text as {name}. Reload the page; nothing saved is lost.")
    if not empty_ok and not value.strip():
        raise Refused("There is nothing to save: the text is empty.")
    if len(value) > longest:
        raise Refused(f"This text has {len(value):,} characters; at most {longest:,} are kept.")
    return value


def read_token(payload: dict[str, Any]) -> str:
    """What the page made up for this one act, so that sending it twice stores it once."""
    value = read_text(payload, "token", longest=64)
    if len(value) < 8:
        raise Refused("The page sent a token that is too short. Reload the page; nothing saved is lost.")
    return value


def read_seconds(payload: dict[str, Any]) -> float | None:
    """How long a judgement took, None when not measured or longer than an hour (somebody went away)."""
    value = payload.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        return None
    return float(value)
