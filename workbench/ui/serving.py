"""Starting the page: the address, who may come in, and what runs behind it once the page answers."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from workbench import settings as app_settings
from workbench.processes import standby
from workbench.settings import Settings
from workbench.ui import access, attempts, downloads, proxies, routes

if TYPE_CHECKING:
    from workbench.ui.context import Context


def main(argv: Sequence[str] | None = None) -> int:
    """`python app.py`: read the command line, serve until stopped. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python app.py", description="Serve the alignment workbench.")
    parser.add_argument("--workspace", metavar="DIR", help="where everything is kept (~/.alignment-workbench)")
    add_options(parser)
    return begin(parser.parse_args(argv))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python app.py` and of `python -m workbench serve`, beside --workspace."""
    parser.add_argument("--host", help="address to listen on (127.0.0.1); any other needs a login")
    parser.add_argument("--port", help="port to listen on (7860)")
    parser.add_argument(
        "--share", action="store_true", help="reach it from elsewhere through a Gradio link; needs a login"
    )
    parser.add_argument("--model", metavar="NAME", help="sandbox, a folder, or a Hugging Face name")
    parser.add_argument("--auth-file", metavar="FILE", help="name:password lines (or set WORKBENCH_AUTH=name:password)")
    parser.add_argument("--rewards", metavar="DIR", help="let the page use the Python files in DIR as rewards")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that comes with the model; it can do whatever you can",
    )


def begin(args: argparse.Namespace) -> int:
    """Serve what was asked for on a command line. Returns the exit status: 2 when it did not start."""
    try:
        settings = app_settings.load(
            args.workspace,
            args.model,
            host=args.host,
            port=args.port,
            share=args.share or None,
            rewards=args.rewards,
            trust_remote_code=args.trust_remote_code,
        )
        return serve(settings, args.auth_file)
    except (access.NoAccess, ValueError) as error:
        print(f"The workbench did not start. {error}", file=sys.stderr)
        return 2


def serve(settings: Settings, auth_file: str | Path | None = None) -> int:
    """Serve the page until it is interrupted or terminated. Returns the exit status.

    Raises access.NoAccess when strangers could come in.
    """
    if access.on_space():
        settings = dataclasses.replace(settings, host="0.0.0.0")
    logins = access.login(auth_file)
    access.check(settings, logins)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with proxies.exempt_loopback(settings.share):
        server = _start(settings, logins)
    if server is None:
        return 2
    page, context, address = server
    print(f"Alignment workbench: {address}   workspace: {settings.workspace}   stop: Ctrl C", flush=True)
    start_background(context)
    try:
        page.block_thread()
    finally:
        page.close(verbose=False)
        stop_background(context)
    return 0


def _start(settings: Settings, logins: access.Login) -> tuple[Any, Context, str] | None:
    """The page, its context and its address, once it answers; None, and why on stderr, when it does not."""
    # Imported only now, so that a wrong command line is answered at once.
    from workbench.store import Store, StoreError
    from workbench.ui import shell
    from workbench.ui.context import Context

    try:
        settings.workspace.mkdir(parents=True, exist_ok=True)
        context = Context(settings, Store(settings.database))
    except (OSError, StoreError) as error:
        print(f"The workbench did not start: {error}", file=sys.stderr)
        return None
    page = shell.build(context)
    try:
        _, url, link = page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            prevent_thread_lock=True,
            **_guards(settings, logins, context),
            **shell.launch_options(),
        )
    except OSError as error:
        context.close()
        print(
            f"The workbench did not start: port {settings.port} on {settings.host} cannot be used. If a workbench is already "
            f"running there, open it in the browser; otherwise choose another port: --port {settings.port + 1}",
            file=sys.stderr,
        )
        logging.getLogger(__name__).debug("launch", exc_info=error)
        return None
    return page, context, link or url


def _guards(settings: Settings, logins: access.Login, context: Context) -> dict[str, Any]:
    """What launch() needs so that only those who may reach the page do, and only what the page itself uses."""
    from starlette.middleware import Middleware

    local = settings.host in access.LOOPBACK and not settings.share
    context.shared = bool(logins) or not local or access.on_space()
    guard = [] if access.on_space() else [Middleware(access.SameOrigin, local=local)]
    guard += [Middleware(routes.OpenRoutes), Middleware(attempts.ClientAddress)]
    if not (settings.share or access.on_space()):
        # uvicorn believes this machine's own X-Forwarded-For; here nobody forwards, and it would get past `attempts`
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    return {
        "auth": attempts.guard(access.checker(logins), attempts.Attempts()) if logins else None,
        "auth_message": attempts.NOTE,
        "app_kwargs": {
            "middleware": guard,
            "routes": downloads.routes(context),
            "exception_handlers": {KeyError: routes.component_not_found},
        },
    }


def start_background(context: Context) -> None:
    """What the first page does not wait for: the model, and a process that stands by for the first job."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # block_thread ends by it, and the store is closed

    signal.signal(signal.SIGTERM, terminate)
    context.load_in_background()
    standby.start()


def stop_background(context: Context) -> None:
    """End what runs behind the page. Jobs go on: they are processes of their own."""
    standby.stop()
    context.close()
