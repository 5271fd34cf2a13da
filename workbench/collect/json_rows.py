"""Rows of JSON however it is laid out: one object a line, one object after another, a list, or an object of rows.

Only one row and a chunk of text are in memory at a time; an object that is the whole file is read whole, up to
LONGEST_ROW.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from workbench.collect.reading import LONGEST_ROW, Bad, FileError, IsRow, Item, OpenText, Remark, item
from workbench.collect.row import ANSWERED, is_message

CHUNK = 1 << 16
SPACE = " \t\r\n\ufeff"
SOMETHING = re.compile(f"[^{SPACE}]")
DECODER = json.JSONDecoder(parse_constant=lambda name: None if name == "NaN" else float(name.replace("inity", "")))


def rows(open_text: OpenText, is_row: IsRow) -> Iterator[Item]:
    """The rows of a JSON text, its container told by how it begins. `is_row` says of an object that is the whole file
    whether it is a row itself."""
    with open_text() as text:
        pieces = _Pieces(text)
        begin = pieces.peek()
        if begin == "[":
            yield from _array(pieces)
            return
        first = _first_line(text, pieces)
    if begin == "{" and not _is_json(first):
        with open_text() as text:
            spread = isinstance(next(_objects(_Pieces(text)), None), tuple)
        if spread:  # objects over several lines, or several on one
            with open_text() as text:
                yield from _unwrapped(_objects(_Pieces(text)), is_row)
            return
    with open_text() as text:
        yield from _unwrapped(_lines(text), is_row)


def _first_line(text: TextIO, pieces: "_Pieces") -> str:
    return (pieces.text[pieces.at :] + text.readline(LONGEST_ROW)).split("\n", 1)[0]


def _is_json(line: str) -> bool:
    try:
        _parse(line.strip(SPACE).removesuffix(","))
    except ValueError:
        return False
    return True


def _parse(text: str) -> Any:
    try:
        value, end = DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        if text.startswith(("{'", "['")):
            raise ValueError("not valid JSON but a Python dict (single quotes); write it with json.dumps") from None
        raise ValueError(f"not valid JSON: {error.msg} (column {error.colno})") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"not usable JSON: {str(error).split(';')[0]}") from None
    if text[end:].strip(SPACE):
        raise ValueError(f"not valid JSON: Extra data (column {end + 1})")
    return value


def _lines(text: TextIO) -> Iterator[Item]:
    """One object a line; only "\\n" ends one, as U+2028 may stand in a text. A comma at its end is passed over."""
    number = 0
    while line := text.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            raise FileError(f"line {number} is longer than {LONGEST_ROW / 1e6:g} MB; write one object per line")
        line = line.strip(SPACE)
        if not line:
            continue
        try:
            if "\0" in line:
                raise ValueError("holds a NUL character; the file was damaged, or is not text")
            _check_utf8(line)
            yield item(number, _parse(line.removesuffix(",")))
        except ValueError as error:
            yield Bad(number, str(error))


def _check_utf8(line: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        at = len(line[: error.start].encode()) + 1
        raise ValueError(f"not UTF-8 (byte {at} of the line); save the file as UTF-8") from None


def _objects(pieces: "_Pieces") -> Iterator[Item]:
    """Objects one after another, over as many lines as they like, with or without commas between them."""
    while pieces.peek():
        line = pieces.line
        try:
            value = pieces.value()
        except ValueError as error:
            yield _broken(line, error)
            return
        yield item(line, value)
        if pieces.peek() == ",":
            pieces.at += 1


def _array(pieces: "_Pieces") -> Iterator[Item]:
    """The rows of a list, or of lists one after another. What stands before a broken place is kept."""
    while pieces.peek() == "[":
        pieces.at += 1
        while pieces.peek() not in ("", "]"):
            line = pieces.line
            try:
                value = pieces.value()
            except ValueError as error:
                yield _broken(line, error)
                return
            yield item(line, value)
            if pieces.peek() == ",":
                pieces.at += 1
            elif pieces.peek() != "]":
                yield Bad(pieces.line, "a comma or the closing ] is missing here; the rest was not read")
                return
        if not pieces.peek():
            yield Bad(pieces.line, "the closing ] is missing; the file may be cut short")
            return
        pieces.at += 1
    if pieces.peek():
        yield Bad(pieces.line, "text after the end of the list was not read")


def _broken(line: int, error: ValueError) -> Bad:
    return Bad(line, f"not valid JSON from here on ({str(error).split(':')[0]}); the rest was not read")


def _unwrapped(items: Iterator[Item], is_row: IsRow) -> Iterator[Item]:
    """The items; of a file that is one object, the rows it holds."""
    first = next(items, None)
    if first is None:
        return
    second = next(items, None)
    if second is None and isinstance(first, tuple):
        yield from from_object(*first, is_row)
        return
    yield first
    if second is not None:
        yield second
        yield from items


def from_object(line: int, document: dict[str, Any], is_row: IsRow) -> Iterator[Item]:
    """The rows of an object that is a whole file: columns or rows by name, as pandas writes them, splits, or a row."""
    if {"columns", "data"} <= document.keys() and isinstance(document["columns"], list):  # pandas, orient="split"
        for number, cells in enumerate(document["data"], 1):
            yield item(number, dict(zip(map(str, document["columns"]), cells, strict=False)))
    elif table := _columns(document):
        for number, cells in enumerate(zip(*table.values(), strict=True), 1):
            yield item(number, dict(zip(table, cells, strict=True)))
    elif document and all(name.isdecimal() and isinstance(row, dict) for name, row in document.items()):
        for number, row in enumerate(document.values(), 1):
            yield item(number, row)
    elif not is_row(document) and (parts := _parts(document)):
        if len(parts) > 1:
            yield Remark(f"the lists {', '.join(parts)} were all read; prompts are split here by their text")
        for number, row in enumerate((row for part in parts.values() for row in part), 1):
            yield item(number, row["row"] if isinstance(row, dict) and {"row_idx", "row"} <= row.keys() else row)
    else:
        yield item(line, document)


def _columns(document: dict[str, Any]) -> dict[str, list[Any]]:
    """The columns of {"prompt": [..], "chosen": [..]} or {"prompt": {"0": ..}, ..}; {} when it is none."""
    values = list(document.values())
    if values and all(isinstance(value, dict) and value for value in values):
        keys = values[0].keys()
        same = all(value.keys() == keys for value in values) and all(str(key).isdecimal() for key in keys)
        return {name: list(value.values()) for name, value in document.items()} if same else {}
    if len(values) < 2 or not all(isinstance(value, list) and value for value in values):
        return {}
    if len({len(value) for value in values}) > 1 or any(is_message(cell) for value in values for cell in value):
        return {}
    return document if ANSWERED & {name.lower() for name in document} else {}


def _parts(document: dict[str, Any]) -> dict[str, list[Any]]:
    """Lists of rows by their name, {"train": [..], "test": [..]}; {} when the object is a row itself."""
    lists = {
        name: value
        for name, value in document.items()
        if isinstance(value, list) and not any(is_message(cell) for cell in value)
    }
    if "rows" in lists and "features" in lists:  # the datasets server of Hugging Face
        return {"rows": lists["rows"]}
    return {name: value for name, value in lists.items() if any(isinstance(row, dict) for row in value)}


class _Pieces:
    """Values of a JSON text, read a chunk at a time. `line` is the line of the place that is looked at."""

    def __init__(self, text: TextIO):
        self.file, self.text, self.at, self.line = text, "", 0, 1

    def peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            match = SOMETHING.search(self.text, self.at)
            end = match.start() if match else len(self.text)
            self.line += self.text.count("\n", self.at, end)
            self.at = end
            if match or not self._more():
                return self.text[end] if match else ""

    def value(self) -> Any:
        """The value that begins here. Raises ValueError."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self._may_go_on(error) and self._more():
                    continue
                raise
            except RecursionError:
                raise ValueError("nested too deeply") from None
            if end == len(self.text) and not isinstance(value, dict | list | str) and self._more():
                continue  # a number may go on
            self.line += self.text.count("\n", self.at, end)
            self.at = end
            return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the text read so far may only be cut short, and not be broken."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - 8

    def _more(self) -> bool:
        """Read on; as much again as is held, so that a long row is decoded few times."""
        if self.at:
            self.text, self.at = self.text[self.at :], 0
        if len(self.text) > LONGEST_ROW:
            raise ValueError(f"a row of more than {LONGEST_ROW / 1e6:g} MB")
        chunk = self.file.read(max(CHUNK, len(self.text)))
        self.text += chunk
        return bool(chunk)
