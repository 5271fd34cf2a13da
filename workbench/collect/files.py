"""From a file to its rows, read in pieces: what the container is, what it is packed in, and how large it may be.

The container is told by the content, not by the name. json_rows.py, csv_rows.py and parquet_rows.py read one each.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from workbench.collect import csv_rows, json_rows, parquet_rows
from workbench.collect.reading import Bad, FileError, IsRow, Item, OpenText, Remark

__all__ = ["LIMIT_MB", "NAMES", "PACKED", "Bad", "FileError", "Item", "Remark", "inside", "plain_path", "read_rows"]

LIMIT_MB = 200
UNPACKED = 4  # what a file may unpack to, in multiples of the limit
TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
PACKED = (".gz", ".zst", ".xz", ".bz2")
NAMES = ".jsonl, .json, .csv or .parquet, or one of the first three with .gz, .zst, .xz or .bz2 after it"
HEAD = 64 * 1024  # bytes from which container and encoding are told
XZ_MEMORY = 256 * 1024 * 1024  # bytes of dictionary that an .xz file may ask for
MAGIC = {
    b"PAR1": "parquet",
    b"\x1f\x8b": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bz2",
    b"PK": "zip",
}
BOMS = {  # UTF-32 first: its mark begins with that of UTF-16
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}


def read_rows(
    path: str | Path, limit_mb: float = LIMIT_MB, follow_links: bool = False, is_row: IsRow = lambda row: True
) -> Generator[Item, None, None]:
    """The rows of a file of at most `limit_mb`, one at a time: (line, row), a Bad line, or a Remark on the whole file.

    Packed files may unpack to 4 times the limit. `is_row` says of an object that is the whole file whether it is a row,
    and no list of rows. Raises FileError, also while the rows are read.
    """
    path = plain_path(path)
    try:
        yield from _rows(path, int(limit_mb * 1e6), follow_links, is_row)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _rows(path: Path, limit: int, follow_links: bool, is_row: IsRow) -> Iterator[Item]:
    _check(path, limit, follow_links)
    with path.open("rb") as file:
        kind = magic(file.read(HEAD))
    if kind == "zip":
        raise FileError(f"{path.name} is an archive or a spreadsheet; unpack it, or save the sheet as CSV")
    if kind == "parquet":
        yield from parquet_rows.rows(path, UNPACKED * limit)
        return
    stream = partial(_unpacked, path, kind, UNPACKED * limit if kind else limit)
    with stream() as file:
        head = file.read(HEAD)
    if magic(head):
        raise FileError(f"{path.name} holds a {magic(head)} file; unpack it first")
    if not head.strip():
        raise FileError(f"{path.name} is empty")
    suffix = next((each.lower() for each in reversed(path.suffixes) if each.lower() in TEXT), ".jsonl")
    yield from _text_rows(stream, head, suffix, is_row)


def _text_rows(stream: Callable[[], BinaryIO], head: bytes, suffix: str, is_row: IsRow) -> Iterator[Item]:
    encoding = _encoding(head)

    def open_text(other: str | None = None, newline: str = "\n") -> io.TextIOWrapper:
        """The text from its beginning, line ends as they are; bytes that are none become lone surrogates."""
        name = other or encoding
        errors = "replace" if "16" in name or "32" in name else "surrogateescape"
        return io.TextIOWrapper(stream(), name, errors, newline=newline)

    with open_text() as text:
        begin = text.read(HEAD // 4).lstrip("\ufeff")
    opening: OpenText = open_text
    looks_json = begin.lstrip()[:1] in ("{", "[")
    if looks_json or (suffix not in (".csv", ".tsv") and not csv_rows.is_header(begin)):
        yield from json_rows.rows(opening, is_row)
    else:
        yield from csv_rows.rows(opening, begin)


def _check(path: Path, limit: int, follow_links: bool) -> None:
    """A regular file of a known name within the limit, and no link to one unless links are followed."""
    ends = [suffix.lower() for suffix in path.suffixes[-2:]]
    packed = ends[-1:] and ends[-1] in PACKED
    if not ends or (ends[0] if packed else ends[-1]) not in (*TEXT, *([] if packed else [".parquet"])):
        raise FileError(f"{path.name}: the name must end in {NAMES}; unpack archives first")
    if path.is_symlink() and not follow_links:
        raise FileError(f"{path} is a link to {path.readlink()}. Name that file, or add --follow-links")
    if not path.is_file():
        raise FileError(f"{path}: there is no such file" if not path.exists() else f"{path} is not a plain file")
    if path.stat().st_size > limit:
        raise FileError(f"{path.name} is larger than {limit / 1e6:g} MB. Split it, or raise the limit.")


def magic(head: bytes) -> str | None:
    """What the first bytes say that a file is: parquet, gz, zst, xz, bz2, zip, or None for text."""
    return next((kind for begin, kind in MAGIC.items() if head.startswith(begin)), None)


def _encoding(head: bytes) -> str:
    for mark, name in BOMS.items():
        if head.startswith(mark):
            return name
    nulls = head.count(0)
    if nulls > len(head) / 4:  # UTF-16 without a mark: every second byte of plain letters is 0
        return "utf-16-le" if head[1::2].count(0) > nulls / 2 else "utf-16-be"
    return "utf-8"


class _Limited(io.RawIOBase):
    """An unpacked stream that may not grow beyond a limit. Raises FileError when it does, or when it is damaged."""

    def __init__(self, stream: Any, name: str, limit: int):
        self.stream, self.name, self.limit, self.remaining = stream, name, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except Exception as error:
            if not isinstance(error, EOFError | OSError | zlib.error | lzma.LZMAError | _zst_error()):
                raise
            raise FileError(f"{self.name} is damaged or cut short: {str(error)[:200]}") from error
        self.remaining -= len(data)
        if self.remaining < 0:
            raise FileError(f"{self.name} unpacks to more than {self.limit / 1e6:g} MB; split it")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.stream.close()
        super().close()


def _unpacked(path: Path, kind: str | None, limit: int) -> BinaryIO:
    """The bytes of a file, unpacked on the way."""
    if kind is None:
        return path.open("rb")
    if kind == "xz":
        _check_xz(path)
    opener: Any = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open, "zst": _open_zst}[kind]
    return io.BufferedReader(_Limited(opener(path), path.name, limit))


def _check_xz(path: Path) -> None:
    """An .xz file says how much memory unpacking it takes, up to 4 GB; lzma.open takes it without asking."""
    with path.open("rb") as file:
        try:
            lzma.LZMADecompressor(memlimit=XZ_MEMORY).decompress(file.read(HEAD), max_length=1)
        except lzma.LZMAError as error:
            raise FileError(f"{path.name} cannot be unpacked: {error}") from error


def _open_zst(path: Path) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14

        return zstd.open(path)
    except ImportError:
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)


def _zst_error() -> type[Exception]:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14

        error: type[Exception] = zstd.ZstdError
    except ImportError:
        import zstandard

        error = zstandard.ZstdError
    return error


def plain_path(path: str | Path) -> Path:
    """The path, refused when it holds a NUL character or points to another machine (\\\\server\\share)."""
    if "\0" in str(path):
        raise FileError(f"{str(path)!r} is not a path: it holds a NUL character")
    if str(path).startswith(("\\\\", "//")):
        raise FileError(f"{path} is on another machine; copy the file here first")
    return Path(path)


def inside(folder: Path, name: str) -> Path:
    """`folder/name` for a name from outside. Raises FileError for anything that leads elsewhere, links too."""
    wrong = not name or name in (".", "..") or any(char in name for char in '/\\\0:*?"<>|') or not name.isprintable()
    if wrong or len(name.encode()) > 255:
        raise FileError(f"{name!r} is not a file name here: use only letters, digits, spaces, dots, - and _")
    path = Path(folder) / name
    if path.is_symlink():
        raise FileError(f"{name} is a link to somewhere else")
    return path
