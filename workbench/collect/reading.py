"""What reading a file gives: rows with their lines, lines that are none, and what is to be said of the whole file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

LONGEST_ROW = 64_000_000  # characters of one row; a row is held in memory, a file is not


class FileError(ValueError):
    """The file as a whole cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True)
class Bad:
    """A row that was left out, by its line (in Parquet: its row), and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Remark:
    """How the whole file was read, where that is not obvious."""

    text: str


Item = tuple[int, dict[str, Any]] | Bad | Remark
IsRow = Callable[[dict[str, Any]], bool]
OpenText = Callable[..., TextIO]  # the text from its beginning; takes another encoding, and newline as open does


def item(line: int, value: Any) -> Item:
    """A row, or what is none."""
    if isinstance(value, dict):
        return line, value
    return Bad(line, f"a row must be an object with named fields, not {type(value).__name__}")
