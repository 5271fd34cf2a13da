"""Which model a run belongs to: one spelling of its name, and a fingerprint of its weights. Imports no torch."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from workbench import settings


class ModelRecord(Protocol):
    """What keeps `of` a model: a run's config, or a dict."""

    def get(self, key: str, default: Any = None, /) -> Any: ...


WHOLE = 64 * 2**20  # bytes; a file up to this is read whole
PIECES, PIECE = 256, 64 * 2**10  # of a larger one its header and so many pieces of so many bytes are read


def fingerprint(model: str) -> str | None:
    """A hash of the model's weights, None when they are not on this machine.

    Of files over 64 MiB the header (names, shapes) and 16 MiB in 256 pieces spread over the file are read: training
    changes nearly every number, so another checkpoint shows, in milliseconds. One altered number may not.
    """
    try:
        folder = settings.model_folder(model)
    except FileNotFoundError:
        return None
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if not files:
        return None
    digest = blake2b(digest_size=16)
    for file in files:
        stat = file.stat()
        digest.update(f"{file.name}\0{_digest(file, stat.st_size, stat.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _digest(file: Path, size: int, changed: int) -> str:
    """Hash of the file's bytes; `changed`, its time, is a key of the cache only."""
    digest = blake2b(str(size).encode(), digest_size=16)
    with file.open("rb") as f:
        if size <= WHOLE:
            digest.update(f.read())
        else:
            head = f.read(8)
            digest.update(head + f.read(min(int.from_bytes(head, "little"), WHOLE)))
            for i in range(PIECES):
                f.seek((size - PIECE) * i // (PIECES - 1))
                digest.update(f.read(PIECE))
    return digest.hexdigest()


def of(model: str) -> dict[str, Any]:
    """What a run's config keeps of its model: {"model": its name, "weights": their fingerprint or None}."""
    return {"model": settings.model_name(model), "weights": fingerprint(model)}


def difference(config: ModelRecord, model: str) -> str | None:
    """Why a run with this config is not one of `model`, to follow "it" or "run 3"; None when it is.

    The fingerprint of a run that has none, from before there were any, is not asked for.
    """
    trained = str(config.get("model", ""))
    if trained != model and settings.model_name(trained) != settings.model_name(model):
        return f"was made for the model {trained}, not for {model}"
    recorded = config.get("weights")
    current = fingerprint(model) if recorded else None
    if current and recorded != current:
        return f"was made with weights different from those now in {model}"
    return None


def same(config: ModelRecord, model: str) -> bool:
    """Whether a run with this config is one of `model`."""
    return difference(config, model) is None
