"""Taking a run along: GET run-files/NUMBER/adapter, .../data and .../log, for whoever may see the page.

The route names a run by its number and a part by its name; no path comes from the browser. Gradio guards its own routes
alone, so this one asks for the login itself. Imports no gradio.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import disk
from workbench.jobs.runs import Run, find_run
from workbench.ui import access
from workbench.ui.context import VISITOR, Context

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

PREFIX = "/run-files/"
LABELS = {"adapter": "Adapter (zip)", "data": "Data (zip)", "log": "Log"}


def links(run: Run) -> list[dict[str, str]]:
    """What can be downloaded of a run: its label and its address, relative to the page."""
    return [
        {"label": label, "url": f"{PREFIX.lstrip('/')}{run.number}/{part}"}
        for part, label in LABELS.items()
        if _files(run, part)
    ]


def routes(context: Context) -> list[BaseRoute]:
    """The route, for the server that is being started."""
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Route

    def send(request: Request) -> Response:
        if not access.may_enter(request):
            return JSONResponse({"detail": "Log in first."}, 401)
        number, part = int(request.path_params["number"]), request.path_params["part"]
        try:
            run = find_run(context.settings.workspace, number)
        except ValueError as error:
            return JSONResponse({"detail": f"There is no run {number}: {error}"}, 404)
        files = _files(run, part)
        if not files:
            return JSONResponse({"detail": f"Run {number} has no {part[:40]} to download."}, 404)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        name = f"{run.folder.name}-{part}"
        if part == "log":
            return FileResponse(files[0], media_type="text/plain", filename=f"{name}.txt", headers=headers)
        card = run.folder / "README.md"  # it names the workspace, in the command
        is_owner = context.owns(run.config.started_by, access.user(request) or VISITOR)
        try:
            archive = _zip(run, files + ([card] if is_owner and card.is_file() else []), name)
        except OSError as error:
            if disk.is_full(error):
                return JSONResponse({"detail": disk.FULL}, 507)
            raise
        return FileResponse(archive, filename=f"{name}.zip", headers=headers, background=_removal(archive))

    return [Route(PREFIX + "{number:int}/{part}", send, methods=["GET"])]


def _files(run: Run, part: str) -> list[Path]:
    """The files of a part that are there, [] for no part that is known; links are left out."""
    places = {"adapter": run.folder / "adapter", "data": run.folder / "data", "log": run.folder / "log.txt"}
    if part not in places:
        return []
    files = [places[part]] if part == "log" else sorted(places[part].rglob("*"))
    return [file for file in files if file.is_file() and not file.is_symlink()]


def _zip(run: Run, files: list[Path], name: str) -> Path:
    """A zip of these files of the run, in a folder of that name."""
    handle, path = tempfile.mkstemp(suffix=".zip")
    try:
        with os.fdopen(handle, "wb") as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, f"{name}/{file.relative_to(run.folder).as_posix()}")
    except OSError:
        Path(path).unlink()
        raise
    return Path(path)


def _removal(file: Path) -> Any:
    from starlette.background import BackgroundTask

    return BackgroundTask(file.unlink, missing_ok=True)
