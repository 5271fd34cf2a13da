"""One click to take everything along, for storage that does not survive a restart."""

from __future__ import annotations

import base64
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from workbench.jobs.runs import TRASH
from workbench.ui.context import Context, Refused
from workbench.ui.payload import takes

KINDS = ("prompts", "demonstrations", "comparisons", "steps")
LIMIT_MB = 200


@takes("export")
def export_all(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """What people wrote and judged as JSONL, and every finished run without its checkpoints, as one zip (base64).

    Refused when the files are too large for one download.
    """
    from workbench.collect import formats

    workspace = Path(context.settings.workspace)
    run_files = [
        path
        for path in sorted((workspace / "runs").rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not {"checkpoints", TRASH} & set(path.relative_to(workspace).parts)
    ]
    size = sum(path.stat().st_size for path in run_files) / 1e6
    if size > LIMIT_MB:
        raise Refused(
            f"The runs take {size:,.0f} MB, and one download holds at most {LIMIT_MB}. Delete some runs, then export again."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            file = Path(folder) / f"{kind}.jsonl"
            formats.write(context.store, kind, file, "native")
            archive.write(file, file.name)
        for path in run_files:
            archive.write(path, path.relative_to(workspace).as_posix())
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"name": "alignment-workbench.zip", "type": "application/zip", "data": data}
