"""Writing rows to a file of any supported container, whole or not at all."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from workbench.collect.csv_rows import neutral
from workbench.collect.files import FileError, plain_path

SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write rows to .jsonl, .json, .csv or .parquet: whole or not at all. Raises FileError."""
    path = plain_path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise FileError(f"{path.name}: the name must end in .jsonl, .json, .csv or .parquet")
    if path.is_dir() or path.is_symlink():
        raise FileError(f"{path} is a {'folder' if path.is_dir() else 'link'}; choose another name")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write({"jsonl": _to_jsonl, "json": _to_json, "csv": _to_csv, "parquet": _to_parquet}[kind](rows))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FileError(f"{path} could not be written: {error.strerror}. Nothing was changed.") from error


def _to_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _to_json(rows: list[dict[str, Any]]) -> bytes:
    return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()


def _to_csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(rows[0] if rows else [])
    for row in rows:
        writer.writerow([_to_cell(value) for value in row.values()])
    return file.getvalue().encode()


def _to_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return neutral(value) if isinstance(value, str) else value


def _to_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data
