"""Importing a file that was chosen or dropped on the page; its looks are in static/importing.js."""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.ui.context import Context, Refused
from workbench.ui.payload import read_text, takes

if TYPE_CHECKING:
    from workbench.collect.files import Bad

FILE_MB = 20  # larger files are for the command line, which reads them in pieces
NAMED = 20  # rows that a report names
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz", ".zst", ".xz", ".bz2")


@takes(name=str, data=str)
def import_file(context: Context, payload: dict[str, Any]) -> dict[str, Any]:
    """Read a file of prompts, demonstrations, comparisons or labelled steps (base64); its kind and format are recognised.

    The answer is a report: what was added, what was there already, which rows were left out and why.
    """
    from workbench.collect import formats

    name = Path(read_text(payload, "name", longest=255).replace("\\", "/")).name
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]  # .jsonl.gz
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise Refused(f"{name}: only {', '.join(SUFFIXES)} files can be imported.")
    data = payload["data"]
    if len(data) > FILE_MB * 1.4e6:
        raise Refused(
            f"{name} is larger than {FILE_MB} MB. Import it on the command line: python -m workbench import FILE"
        )
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Refused(f"{name} did not arrive complete. Choose it again.") from error
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"import{''.join(suffix for suffix in suffixes if suffix in SUFFIXES)}"
        file.write_bytes(content)
        report = formats.import_file(context.store, file, name=name, limit_mb=FILE_MB)
    return {
        "kind": report.what,
        "format": report.format,
        "added": report.added,
        "known": report.known,
        "bad": named(report.bad),
        "bad_total": len(report.bad),
        "notes": named(report.notes),
        "notes_total": len(report.notes),
        "remarks": report.remarks,
    }


def named(rows: list[Bad]) -> list[dict[str, Any]]:
    """The first rows that were left out, or kept though something is odd, each with its line and why."""
    return [{"line": row.line, "reason": row.reason} for row in rows[:NAMED]]
