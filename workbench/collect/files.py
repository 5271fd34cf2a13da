"""From a file of any supported container to rows with their line numbers, one broken line costing only itself."""

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_MB = 200
SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
# Columns whose cells hold JSON when they stand in a CSV file; in MAYBE only when that JSON is messages.
NESTED = {"messages", "conversations", "instances", "responses", "groups", "shown"}
NESTED |= {"completions", "steps", "labels", "ratings"}
MAYBE = {"prompt", "completion", "chosen", "rejected"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run


class FileError(ValueError):
    """The file as a whole cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True)
class Bad:
    """A row that was left out, by its line (in Parquet: its row), and why."""

    line: int
    reason: str


@dataclass
class Rows:
    """What a file holds: good rows with their line numbers, and the lines that are no rows."""

    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)

    def add(self, line: int, row: Any) -> None:
        if isinstance(row, dict):
            self.rows.append((line, row))
        else:
            self.bad.append(Bad(line, f"a row must be an object with named fields, not {type(row).__name__}"))


def read_rows(path: str | Path, limit_mb: float = LIMIT_MB) -> Rows:
    """The rows of a .jsonl, .json, .csv or .parquet file of at most `limit_mb`. Raises FileError."""
    path = plain_path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise FileError(f"{path.name}: the name must end in .jsonl, .json, .csv or .parquet; unpack archives first")
    limit = int(limit_mb * 1e6)
    try:
        if not path.is_file():
            raise FileError(f"{path}: there is no such file" if not path.exists() else f"{path} is not a plain file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    if len(content) > limit:
        raise FileError(f"{path.name} is larger than {limit_mb:g} MB. Split it, or raise the limit.")
    if not content.strip():
        raise FileError(f"{path.name} is empty")
    if kind == "parquet":
        return _parquet(content, path.name, limit)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(b"\xef\xbb\xbf")
    return {"jsonl": _jsonl, "json": _json, "csv": _csv}[kind](content)


def plain_path(path: str | Path) -> Path:
    """The path, refused when it holds a NUL character or points to another machine (\\\\server\\share)."""
    if "\0" in str(path):
        raise FileError(f"{str(path)!r} is no path: it holds a NUL character")
    if str(path).startswith(("\\\\", "//")):
        raise FileError(f"{path} is on another machine; copy the file here first")
    return Path(path)


def inside(folder: Path, name: str) -> Path:
    """`folder/name` for a name from outside. Raises FileError for anything that leads elsewhere, links too."""
    wrong = not name or name in (".", "..") or any(char in name for char in '/\\\0:*?"<>|') or not name.isprintable()
    if wrong or len(name.encode()) > 255:
        raise FileError(f"{name!r} is no name of a file: letters, digits, spaces, dots, - and _ only")
    path = Path(folder) / name
    if path.is_symlink():
        raise FileError(f"{name} is a link to somewhere else")
    return path


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON: {error.msg} (column {error.colno})") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"no usable JSON: {str(error).split(';')[0]}") from None


def _jsonl(content: bytes) -> Rows:
    found = Rows()
    for number, line in enumerate(content.split(b"\n"), 1):
        line = line.strip()
        if not line:
            continue
        try:
            if b"\0" in line:
                raise ValueError("holds a NUL character; the file was damaged, or is not text")
            found.add(number, _parse(_decode(line)))
        except ValueError as error:
            found.bad.append(Bad(number, str(error)))
    return found


def _json(content: bytes) -> Rows:
    """A list of rows, or an object that holds one list of rows. What stands before a broken place is kept."""
    found = Rows()
    try:
        text = _decode(content)
    except ValueError as error:
        raise FileError(str(error)) from error
    decoder, line, counted = json.JSONDecoder(), 1, 0
    at = _skip(text, 0)
    if text[at] != "[":
        try:
            return _from_object(_parse(text))
        except ValueError as error:
            raise FileError(str(error)) from error
    at = _skip(text, at + 1)
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            found.bad.append(
                Bad(line, f"no valid JSON from here on ({str(error).split(':')[0]}); the rest was not read")
            )
            return found
        found.add(line, row)
        at = _skip(text, end)
        if at < len(text) and text[at] == ",":
            at = _skip(text, at + 1)
        elif at >= len(text) or text[at] != "]":
            line += text.count("\n", counted, at)
            found.bad.append(Bad(line, "a comma or the closing ] is missing here; the rest was not read"))
            return found
    return found


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _from_object(whole: Any) -> Rows:
    found = Rows()
    fields = whole if isinstance(whole, dict) else {}
    lists = [value for name, value in fields.items() if isinstance(value, list) and name not in NESTED | MAYBE]
    if len(lists) == 1 and not {"prompt", "instruction"} & fields.keys():  # {"data": [row, row]}, not one row
        for number, row in enumerate(lists[0], 1):
            found.add(number, row)
    else:
        found.add(1, whole)
    return found


def _csv(content: bytes) -> Rows:
    found = Rows()
    try:
        text = _decode(content)
    except ValueError as error:
        raise FileError(str(error)) from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader)]
    if len(set(header)) != len(header):
        raise FileError(f"the first line must name each column once, but it is {', '.join(header)}")
    ours = {"split", "simulated"} <= set(header)
    for line, cells in _lines(reader, found):
        if not cells:
            continue
        if len(cells) != len(header):
            found.bad.append(
                Bad(
                    line, f"{len(cells)} cells under {len(header)} column names; check the quotes and the {delimiter!r}"
                )
            )
        elif any("\0" in cell for cell in cells):
            found.bad.append(Bad(line, "holds a NUL character; the file was damaged, or is not text"))
        else:
            found.add(line, {name: _cell(name, cell, ours) for name, cell in zip(header, cells, strict=True)})
    return found


def _lines(reader: Any, found: Rows) -> Iterator[tuple[int, list[str]]]:
    """(line a row begins on, its cells); a row may span lines."""
    while True:
        begin = reader.line_num + 1
        try:
            yield begin, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            found.bad.append(Bad(begin, f"no valid CSV: {error}"))


def _cell(name: str, cell: str, ours: bool) -> Any:
    if ours and cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")):
        cell = cell[1:]
    if name not in NESTED | MAYBE or not cell.startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    messages = isinstance(value, list) and all(isinstance(each, dict) and "role" in each for each in value)
    return value if name in NESTED or (value and messages) else cell


def neutral(cell: str) -> str:
    """A cell that no spreadsheet runs: a quote before = + - @; _cell takes it off again."""
    return "'" + cell if cell.startswith((*FORMULA, "'")) else cell


def _parquet(content: bytes, name: str, limit: int) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found, size, number = Rows(), 0, 0
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        for batch in file.iter_batches(batch_size=100):
            size += batch.nbytes
            if size > 4 * limit:  # a small file may unpack to a huge one
                raise FileError(f"{name} unpacks to more than {4 * limit / 1e6:g} MB; split it")
            for row in batch.to_pylist():
                number += 1
                found.add(number, row)
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{name} is no readable Parquet file: {str(error)[:200]}") from error
    return found


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
    return sink.getvalue().to_pybytes()
