"""The files of a run folder as types: what writes them and what reads them share these. Imports no torch.

Keys that a newer version wrote are kept; keys that an older one did not write have their defaults. A file that a person
or a disk has spoiled raises SpoiledFile, which names it and what is wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat, TypeAdapter, ValidationError, field_validator, model_validator

from workbench.learn.catalogue import METHODS, OLD_NAMES


class SpoiledFile(ValueError):
    """A plain file of the workspace that cannot be read as what it should be."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file.parent.name}/{file.name}: {why}")
        self.file, self.why = file, why


class Stored(BaseModel):
    """One JSON object; its keys are attributes, and can be read as those of a dict too."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def __getitem__(self, key: str) -> Any:
        if key in type(self).model_fields or key in (self.model_extra or {}):
            return getattr(self, key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def as_json(self) -> dict[str, Any]:
        """What the file holds: nothing for keys that were never written."""
        return self.model_dump(exclude_unset=True)


class DataCounts(Stored):
    """How many rows a run has to learn from, and the hash of them."""

    n: int = 0
    train: int = 0
    heldout: int = 0
    simulated: int = 0
    unit: str = ""
    hash: str = "–"


class RunConfig(Stored):
    """config.json: what was asked for, complete before the run is seen, and never changed."""

    number: int
    method: str
    model: str
    weights: str | None = None
    """Fingerprint of the model's weights, None in folders made before there was one."""
    parent: int | None = None
    start: str | None = None
    """Hash of the copy of the parent's adapter, None in folders made before it was copied."""
    args: dict[str, Any] = {}
    """Every setting of the method, resolved."""
    preset: str = "own settings"
    reasons: dict[str, str] = {}
    data: DataCounts = DataCounts()
    seed: int = 0
    command: str = ""
    trust_remote_code: bool = False
    """Whether the model's own code may run."""
    despite: list[str] = []
    """What the person went past, in words."""
    started_by: str | None = None
    """The login under which the page started it, None without one."""
    versions: dict[str, str] = {}
    created: str | None = None

    @field_validator("method")
    @classmethod
    def current_name(cls, name: str) -> str:
        current = OLD_NAMES.get(name, name)
        if current not in METHODS:
            raise ValueError(f"there is no method {name!r}; there are: {', '.join(METHODS)}")
        return current

    @model_validator(mode="after")
    def with_all_settings(self) -> Self:
        try:
            args = asdict(_settings_of(self.method).validate_python(self.args))
        except ValidationError as error:
            raise ValueError(f"args, {_first(error)}") from None
        self.__dict__["args"] = self.args | args
        return self


@cache
def _settings_of(method: str) -> TypeAdapter[Any]:
    return TypeAdapter(METHODS[method].args)


class RunStatus(Stored):
    """status.json: how far a run is. Times are seconds."""

    state: str = "interrupted"
    step: int = 0
    steps: int | None = None
    message: str = ""
    pid: int | None = None
    pid_start: str | None = None
    queue: int = 0
    """Place in the line of waiting runs, from 1; 0 before it stands in it."""
    prepared: FiniteFloat = 0.0
    heartbeat: int | None = None
    eta_s: FiniteFloat | None = None
    seconds: FiniteFloat = 0.0
    seconds_before: FiniteFloat = 0.0
    saved_step: int | None = None
    frozen: str = ""
    """Hash of the frozen weights as loaded: only checkpoints made on these are used."""
    notices: list[str] = []
    last_lines: str = ""
    peak_mb: FiniteFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class Figure(NamedTuple):
    """A figure with its 95 % interval and the number of examples behind it."""

    value: float
    low: float
    high: float
    n: int


class BestOfN(Stored):
    """What choosing among n answers by a process reward model buys; shares are (value, low, high)."""

    n: int
    ns: list[int]
    reward: list[tuple[float, float, float]]
    majority: list[tuple[float, float, float]]
    one: tuple[float, float, float]
    difference: tuple[float, float, float]
    clear: bool


class RunResult(Stored):
    """result.json: what a run came to. A figure stands under its name, with `_low`, `_high` and `_n` beside it."""

    steps: int = 0
    seconds: FiniteFloat = 0.0
    train_seconds: FiniteFloat | None = None
    peak_mb: FiniteFloat = 0.0

    gold: float | None = None
    gold_low: float | None = None
    gold_high: float | None = None
    gold_n: int = 0
    base_gold: float | None = None
    base_gold_low: float | None = None
    base_gold_high: float | None = None
    base_gold_n: int = 0
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    win_rate_n: int = 0
    kl: float | None = None
    kl_low: float | None = None
    kl_high: float | None = None
    kl_n: int = 0
    heldout_loss: float | None = None
    heldout_loss_low: float | None = None
    heldout_loss_high: float | None = None
    heldout_loss_n: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    accuracy_n: int = 0
    answers: float | None = None
    answers_low: float | None = None
    answers_high: float | None = None
    answers_n: int = 0
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    overconfidence: float | None = None
    overconfidence_low: float | None = None
    overconfidence_high: float | None = None
    heldout_margin: float | None = None

    parts: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    length: dict[str, Any] | None = None
    verdict: str = ""
    reason: str = ""
    best_of_n: BestOfN | None = None

    def figure(
        self, name: Literal["gold", "base_gold", "win_rate", "kl", "heldout_loss", "accuracy", "answers"]
    ) -> Figure | None:
        """The figure of that name with its interval, None where the run has none."""
        value, low, high = (getattr(self, key) for key in (name, f"{name}_low", f"{name}_high"))
        if value is None:
            return None
        return Figure(value, value if low is None else low, value if high is None else high, getattr(self, f"{name}_n"))


class Rate(Stored):
    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    n: int = 0


class Check(Rate):
    """One of a gate's checks."""

    check: str
    level: str
    says: str
    helps: str = ""


class RunLabel(Stored):
    """label.json: what people call a run, what they note of it, and whether it is starred. No job writes it."""

    name: str = ""
    note: str = ""
    starred: bool = False


class Gate(Stored):
    """gate.json: what the test on held-out judgements said of a reward model."""

    verdict: Literal["green", "amber", "red"]
    reason: str
    helps: str = ""
    findings: list[Check] = []
    accuracy: Rate = Rate()
    simulated: int = 0


class Scale(Stored):
    """score.json: how a reward model's raw scores become scores, and how a process reward model cuts answers."""

    mean: FiniteFloat
    std: FiniteFloat
    pooling: str = "end"
    split: str | None = None


File = TypeVar("File", bound=Stored)
Value = TypeVar("Value")

FRESH_NS = 2 * 10**9  # a file changed so lately may change once more without its time or its size showing it
KEPT = 10_000  # files
_kept: dict[tuple[Path, Hashable], tuple[tuple[int, int, int], Any]] = {}


def kept(file: Path, kind: Hashable, parse: Callable[[Path], Value]) -> Value | None:
    """What `parse` makes of the file, kept as `kind` until the file changes; None where there is none."""
    try:
        stat = file.stat()
        stamp = stat.st_mtime_ns, stat.st_size, stat.st_ino
        known = _kept.get((file, kind))
        if known is not None and known[0] == stamp:
            value: Value = known[1]
            return value
        value = parse(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if time.time_ns() - stat.st_mtime_ns > FRESH_NS:
        if len(_kept) >= KEPT:
            _kept.clear()
        _kept[file, kind] = stamp, value
    return value


def read(kind: type[File], file: Path) -> File | None:
    """The file as that kind, read again only once it has changed; None where there is none. Raises SpoiledFile."""
    return kept(file, kind, lambda file: _read(kind, file))


def _read(kind: type[File], file: Path) -> File:
    try:
        values = json.loads(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise SpoiledFile(file, "it is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise SpoiledFile(
            file, f"it is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise SpoiledFile(file, "it is nested too deeply") from None
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SpoiledFile(file, _first(error)) from None


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, after its place: "args, steps: Input should be a valid integer"."""
    first = error.errors(include_url=False)[0]
    place = ", ".join(map(str, first["loc"]))
    text = first["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


class Lines(NamedTuple):
    """Rows of a file with one JSON object a line: where to read on, and what is wrong with lines that are left out."""

    rows: list[dict[str, Any]]
    next: int
    faults: list[str]


METRIC: Mapping[str, Any] = {"step": int}
SAMPLE: Mapping[str, Any] = {"step": int, "prompt": str, "answer": str}
ANSWER: Mapping[str, Any] = {"prompt": str, "gold": (int, float)}


def read_lines(file: Path, needed: Mapping[str, Any], since: int = 0) -> Lines:
    """The rows from line `since` on that have the keys `needed`, of those types, or say {"back_to": step}."""
    if not file.is_file():
        return Lines([], 0, [])
    lines = file.read_bytes().split(b"\n")[:-1]  # what follows the last line break is still being written
    rows, faults = [], []
    for number, line in enumerate(lines[since:], since + 1):
        if not line.strip():
            continue
        fault: str | None
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # spoiled by hand, or torn by a power cut
            row, fault = None, "is not valid JSON"
        else:
            fault = _fault(row, needed)
        if fault:
            faults.append(f"{file.name}, line {number} is left out: it {fault}.")
        else:
            rows.append(row)
    return Lines(rows, max(len(lines), since), faults)


def first_figures(file: Path) -> RunResult:
    """The figures of metrics.jsonl from before the first step, where a run writes them; those it lacks are None."""
    return kept(file, first_figures, _first_figures) or RunResult()


def _first_figures(file: Path) -> RunResult:
    figures: dict[str, Any] = {}
    with file.open("rb") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if _fault(row, METRIC) is None and "step" in row:
                if row["step"] > 0:
                    break
                figures |= {k: v for k, v in row.items() if isinstance(v, int | float) and isfinite(v)}
    try:
        return RunResult.model_validate(figures)
    except ValidationError:  # such as n 3.5: spoiled by hand
        return RunResult()


def _fault(row: Any, needed: Mapping[str, Any]) -> str | None:
    if not isinstance(row, dict):
        return "is not a JSON object"
    if isinstance(row.get("back_to"), int):
        return None
    wrong = [
        key for key, kind in needed.items() if isinstance(row.get(key), bool) or not isinstance(row.get(key), kind)
    ]
    return f"has no usable {' and no '.join(wrong)}" if wrong else None


def config_of(folder: Path) -> RunConfig | None:
    """The config of a run folder, None where it is missing or spoiled."""
    try:
        return read(RunConfig, folder / "config.json")
    except SpoiledFile:
        return None
