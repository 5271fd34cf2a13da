"""Which of gradio's routes are open: those that the page itself uses, with no more data than it sends.

Gradio brings many more (uploads, recordings, icons, monitoring, ...); some write files, some fail on odd input. A panel
that needs another route adds it here. Imports no gradio.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from workbench.ui.downloads import PREFIX

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api"
CALL = f"{API}/component_server"  # of the page
JOIN = f"{API}/queue/join"  # of a program that calls an endpoint
CALLS = (CALL, JOIN)
POSTS = {"/login", *CALLS, f"{API}/cancel", f"{API}/reset"}
PAGES = {"/", "/config", "/logout", "/theme.css", "/favicon.ico", "/robots.txt"}
QUERIES = ("info", "user", "login_check", "token", "app_id", "startup-events", "queue/data", "theme.css")
PAGES |= {f"{API}/{name}" for name in QUERIES}
FOLDERS = ("/assets/", "/static/", "/svelte/", f"{API}/file=", f"{API}/heartbeat/", PREFIX)
LARGEST = 30_000_000  # bytes of one call: an imported file of importing.FILE_MB in base64, and some
SMALL = 100_000  # bytes of any other request
TOO_LARGE = "This request is too large. Import larger files on the command line: python -m workbench import FILE"


class OpenRoutes:
    """ASGI middleware: any other route is answered 404, a body that is too large 413, an upload of files 415."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008, "reason": "The page uses no websocket."})
        headers = {name.lower(): value for name, value in scope.get("headers", [])}
        answer = refusal(scope["method"], scope["path"], headers)
        if answer is not None:
            return await _respond(send, *answer)
        return await self.app(scope, _with_limit(receive, scope["path"]), send)


def refusal(method: str, path: str, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
    """(status, reason) of a request that the page does not make, None for one that it does."""
    route = path.rstrip("/") or "/"
    if method in ("GET", "HEAD"):
        is_open = route in PAGES or path.startswith(FOLDERS)
    else:
        is_open = method == "POST" and route in POSTS
    if not is_open:
        return 404, f"The workbench has no {method} {path[:200]}. Import files on Demonstrate."
    if route in CALLS and headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
        return 415, "The workbench accepts no uploads. Import files on Demonstrate."
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12 or int(length) > _limit(path):
        return 413, TOO_LARGE
    return None


def _limit(path: str) -> int:
    return LARGEST if path.rstrip("/") in CALLS else SMALL


def _with_limit(receive: Receive, path: str) -> Receive:
    """`receive` that fails with status 413 past the limit, whatever the header announced."""
    size, limit = 0, _limit(path)

    async def receive_within() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            from starlette.exceptions import HTTPException

            raise HTTPException(413, TOO_LARGE)
        return message

    return receive_within


async def _respond(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def component_not_found(request: Request, error: Exception) -> Response:
    """Handler of KeyError: gradio looks a call's component or endpoint up by its number. Any other is a fault of ours."""
    from starlette.responses import JSONResponse

    if request.url.path.rstrip("/") not in CALLS:
        raise error
    return JSONResponse({"detail": "This page is out of date; reload it."}, 404)
