"""Reading what a caller sent: every field is checked before anything is done with it.

Each function that the page may call says by `takes` which fields it reads and of what types; what a field of the right
type may hold is checked by the functions below, or by the caller. From the same declaration it is an endpoint that
programs call by name (api.py).
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, ValidationError, create_model

from workbench.ui.context import Context, Refused

# Answers one call: the context, and the payload with the rater's name put in by the server.
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


class WrongField(Refused):
    """A field that is missing or that no caller means to send so: a program's mistake, or a page that is out of date."""


def takes(api_name: str | None = None, /, **fields: Any) -> Callable[[Endpoint], Endpoint]:
    """`@takes(id=int, text=str | None)`: the payload's fields and their types; what may be None may also be missing.

    The function is given these fields alone, and "rater", which the server adds. `api_name` is what programs call it,
    where its own name says too little outside its tab. Raises WrongField naming the first field that is missing or of
    another type.
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
                raise WrongField(_fault(error, fields)) from None
            rater = {"rater": payload["rater"]} if "rater" in payload else {}
            return function(context, values | rater)

        endpoint.takes = fields  # type: ignore[attr-defined]  # an attribute of our own
        endpoint.api_name = api_name or function.__name__  # type: ignore[attr-defined]
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
    return f"This call sent {actual} as {place}, but {expected} is needed."


def _type_name(kind: Any, inside: bool) -> str:
    """A type in words; `inside` means what its list or its dict holds."""
    if isinstance(kind, UnionType):
        return " or ".join(_type_name(each, inside) for each in get_args(kind) if each is not NoneType)
    if inside and get_origin(kind) in (list, dict):
        return _type_name(get_args(kind)[-1], False)
    return NAMES[get_origin(kind) or kind]


def read_number(payload: dict[str, Any], name: str) -> int:
    """A whole number, such as an id. Raises WrongField naming the field."""
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise WrongField(f"This call sent {value!r:.20} as {name}, but a whole number from 0 is needed.")
    return value


def read_text(payload: dict[str, Any], name: str, empty_ok: bool = False, longest: int = 1_000_000) -> str:
    """A text. Raises Refused when it is empty or too long, WrongField naming the field when there is none."""
    value = payload.get(name)
    if not isinstance(value, str):
        raise WrongField(f"This call sent no text as {name}.")
    if not empty_ok and not value.strip():
        raise Refused("There is nothing to save: the text is empty.")
    if len(value) > longest:
        raise Refused(f"This text has {len(value):,} characters; at most {longest:,} are kept.")
    return value


def read_token(payload: dict[str, Any]) -> str:
    """What the caller made up for this one act, so that sending it twice stores it once; a new one where it has none."""
    if payload.get("token") is None:
        return secrets.token_hex(16)
    value = read_text(payload, "token", longest=64)
    if len(value) < 8:
        raise WrongField("This call sent a token that is too short; it needs 8 characters.")
    return value


def read_seconds(payload: dict[str, Any]) -> float | None:
    """How long a judgement took, None when not measured or longer than an hour (somebody went away)."""
    value = payload.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        return None
    return float(value)
