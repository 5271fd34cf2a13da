"""Who may reach the page: this machine's own browser alone, or whoever logs in. Imports no gradio."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workbench.settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
SHORTEST = 8  # characters of a password

Login = dict[str, str]  # name -> password


class NoAccess(ValueError):
    """A way of serving that would let strangers in, or a login that cannot be used; the text says what to do."""


def login(auth_file: str | Path | None = None) -> Login:
    """Names and passwords from a file of name:password lines, else from WORKBENCH_AUTH; {} for neither.

    Raises NoAccess naming the file and the line that is wrong, never showing a password.
    """
    if auth_file is not None:
        try:
            lines = Path(auth_file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise NoAccess(f"--auth-file {auth_file} cannot be read: {error}") from error
        logins = dict(
            _pair(line, f"--auth-file {auth_file}, line {number}")
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith("#")
        )
        if not logins:
            raise NoAccess(f"--auth-file {auth_file} is empty. Write one name:password per line.")
        return logins
    text = os.environ.get("WORKBENCH_AUTH", "")
    return dict([_pair(text, "WORKBENCH_AUTH")]) if text else {}


def _pair(line: str, where: str) -> tuple[str, str]:
    name, colon, password = line.strip().partition(":")
    if not colon or not name or len(password) < SHORTEST:
        raise NoAccess(f"{where}: write name:password, with a password of at least {SHORTEST} characters.")
    return name, password


def checker(logins: Login) -> Callable[[str, str], bool]:
    """A function that says whether a name has this password. It takes as long for an unknown name as for a wrong password."""

    def verify(name: str, password: str) -> bool:
        secret = logins.get(name, "")
        is_equal = hmac.compare_digest(secret.encode(), password.encode("utf-8", "surrogatepass"))
        return is_equal and bool(secret)

    return verify


def on_space() -> bool:
    """Whether this runs as a Hugging Face Space, whose front door is not ours."""
    return bool(os.environ.get("SPACE_ID"))


def check(settings: Settings, logins: Login) -> None:
    """Raises NoAccess when others could reach the page and nobody would be asked who they are."""
    if logins or on_space() or (settings.host in LOOPBACK and not settings.share):
        return
    option = "--share" if settings.share else f"--host {settings.host}"
    raise NoAccess(
        f"{option} lets others reach this workbench, so it needs a login. Write name:password lines into a file and add "
        "--auth-file FILE, or set WORKBENCH_AUTH=name:password. To serve this machine only, without a login, omit "
        f"{option}."
    )


def user(request: Any) -> str | None:
    """The name that a request's cookies are logged in by, None without one. Gradio keeps tokens and cookies so."""
    app, cookies = getattr(request, "app", None), getattr(request, "cookies", None)
    if app is None or not cookies or getattr(app, "auth", None) is None:
        return None
    for name in (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}"):
        if login_name := app.tokens.get(cookies.get(name)):
            return str(login_name)
    return None


def may_enter(request: Request) -> bool:
    """Whether a request is logged in, or nobody needs to be."""
    return request.app.auth is None or user(request) is not None


class SameOrigin:
    """ASGI middleware: other web sites may not use this server through the visitor's browser (DNS rebinding, CSRF).

    A request's Origin must be the Host it was sent to. With `local`, the Host must be this machine by one of its
    loopback names. Anything else is answered 403.
    """

    def __init__(self, app: ASGIApp, local: bool = True) -> None:
        self.app = app
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        reason = refusal(scope.get("headers", []), self.local)
        if reason is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        body = reason.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return None


def refusal(headers: list[tuple[bytes, bytes]], local: bool) -> str | None:
    """Why these request headers are refused, None when they are fine."""
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value.decode("latin-1"))
    hosts, origins = values.get(b"host", []), values.get(b"origin", [])
    if len(hosts) != 1 or len(origins) > 1:
        return "A request needs exactly one Host header and at most one Origin header."
    if local and _name(f"//{hosts[0]}") not in LOOPBACK:
        return "This workbench serves this machine only, as 127.0.0.1 or localhost. To reach it by another name, start it with --host and --auth-file."
    if origins and urlsplit(origins[0]).netloc.lower() != hosts[0].lower():
        return "Another web site may not use this workbench."
    return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
