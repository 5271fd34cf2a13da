"""Rows of a CSV file as spreadsheets and pandas write it."""

import ast
import csv
import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from workbench.collect.reading import LONGEST_ROW, Bad, FileError, Item, OpenText, Remark
from workbench.collect.row import KNOWN, canonical, is_message

LONGEST_PRINTED = 1_000_000  # characters of a list as Python prints it; parsing takes a hundred times that
DELIMITERS = ",;\t|"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run
# Columns whose cells hold JSON lists in our own files; in others any cell that is a list is read as one.
NESTED = {"messages", "conversations", "instances", "responses", "groups", "shown"}
NESTED |= {"completions", "steps", "labels", "ratings"}


def rows(open_text: OpenText, begin: str) -> Iterator[Item]:
    """The rows of a CSV text whose beginning is `begin`. Raises FileError for a first line that names no columns."""
    encoding = _encoding(open_text)
    if encoding:
        yield Remark("not UTF-8; read as Windows-1252")
    with open_text(encoding, newline="") as text:  # a line may end with \n, \r\n or \r
        yield from _rows(text, begin)


def _rows(text: TextIO, begin: str) -> Iterator[Item]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
    separator = _separator_line(begin)
    reader = csv.reader(text, delimiter=separator or _delimiter(begin))
    if separator:
        next(reader)
    header = _header(next(reader, []))
    own_export = {"split", "simulated"} <= set(header)
    for line, cells in _cells(reader):
        if isinstance(cells, Bad):
            yield cells
        elif not any(cells):
            continue
        elif len(cells) < len(header) or any(cells[len(header) :]):
            reason = f"{len(cells)} cells under {len(header)} column names; check the quotes and the delimiter"
            yield Bad(line, reason)
        elif any("\0" in cell for cell in cells):
            yield Bad(line, "holds a NUL character; the file was damaged, or is not text")
        else:
            try:
                yield line, {name: _cell(name, cell, own_export) for name, cell in zip(header, cells, strict=False)}
            except ValueError as error:
                yield Bad(line, str(error))


def is_header(begin: str) -> bool:
    """Whether a text begins as a CSV file does: a first line of several names, one of them known."""
    return bool(_separator_line(begin)) or _count(begin, _delimiter(begin))[0] > 0


def _separator_line(begin: str) -> str | None:
    """The delimiter that Excel writes on a line of its own, "sep=;"."""
    match = re.match(r'"?sep=(.)"?\r?\n?', begin)
    return match[1] if match else None


def _delimiter(begin: str) -> str:
    return max(DELIMITERS, key=lambda delimiter: _count(begin, delimiter))


def _count(begin: str, delimiter: str) -> tuple[int, int]:
    """(known column names, cells) of the first line; no known name counts in a line of one cell."""
    first_line = re.split(r"\r\n|\r|\n", begin, maxsplit=1)[0]
    cells = next(csv.reader([first_line], delimiter=delimiter), [])
    known_names = sum(canonical(cell) in KNOWN for cell in cells)
    return (known_names if len(cells) > 1 else 0), len(cells)


def _header(cells: list[str]) -> list[str]:
    """The column names without empty ones at the end. Raises FileError when one is there twice."""
    names = [name.strip() for name in cells]
    while names and not names[-1]:
        names.pop()
    if len(set(names)) != len(names):
        raise FileError(f"the first line must name each column once, but it is {', '.join(names)}")
    return names


def _cells(reader: Any) -> Iterator[tuple[int, list[str] | Bad]]:
    """(line a row begins on, its cells); a row may span lines."""
    while True:
        begin = reader.line_num + 1
        try:
            yield begin, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield begin, Bad(begin, f"not valid CSV: {error}")


def _cell(name: str, cell: str, own_export: bool) -> Any:
    """A cell's text, or the list it holds as JSON or as Python prints it. Raises ValueError for a list that is neither."""
    if own_export and cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")):
        cell = cell[1:]
    if not cell.startswith(("[", "{")):
        return cell
    value = _parsed(cell)
    if value is None and not own_export and re.match(r"\[\s*[\[{'\"]|\{'", cell):
        raise ValueError(
            f"the cell {name} looks like a list, but is neither JSON nor what Python prints; save as JSONL"
        )
    if isinstance(value, list) and (not own_export or canonical(name) in NESTED):
        return value
    messages = value if isinstance(value, list) else [value]
    return value if messages and all(is_message(each) for each in messages) else cell


def _parsed(cell: str) -> Any:
    """The list or object a cell holds, else None. What Python prints it prints again in the same letters: numpy leaves
    out commas, and 'It''s' would lose its apostrophe."""
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    if len(cell) > LONGEST_PRINTED:
        return None
    try:
        value = ast.literal_eval(cell)
        return value if repr(value) == cell else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def neutral(cell: str) -> str:
    """A cell that no spreadsheet runs: a quote before = + - @; reading a file of ours takes it off again."""
    return "'" + cell if cell.startswith((*FORMULA, "'")) else cell


def _encoding(open_text: OpenText) -> str | None:
    """Windows-1252 for a text with bytes that are no UTF-8 and no letter of several bytes that is; else None."""
    broken = False
    with open_text() as text:
        while chunk := text.read(1 << 20):
            if chunk.isascii():
                continue
            if any(char > "\x7f" and not "\udc80" <= char <= "\udcff" for char in chunk):
                return None
            broken = True
    return "cp1252" if broken else None
