"""A full disk: told from other errors, said in one sentence, and room kept for a last word. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

FULL = "The disk is full. What was saved before is safe. Free some space and try again."
RESERVE, RESERVE_BYTES = ".reserve", 64 * 1024
_CODES = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
# as safetensors words it (Rust), and Windows: 28 and 122 are Linux's ENOSPC and EDQUOT, 112 is ERROR_DISK_FULL
_TEXT = re.compile(r"No space left on device|Disk quota exceeded|\(os error (28|112|122)\)|disk is full")


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk, or a quota used up, is behind `error`."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in _CODES) or _TEXT.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def fullness_tolerated() -> Iterator[None]:
    """For writes that may be left out: a full disk is no error within it."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise


def keep_reserve(folder: Path) -> None:
    """Hold some of the disk in `folder`, so that `free_reserve` makes room on a full one. Raises OSError."""
    if (folder / RESERVE).exists():
        return
    with (folder / RESERVE).open("wb") as f:
        f.write(os.urandom(RESERVE_BYTES))  # zeros could be kept as a hole or compressed away
        f.flush()
        os.fsync(f.fileno())


def free_reserve(folder: Path) -> None:
    (folder / RESERVE).unlink(missing_ok=True)
