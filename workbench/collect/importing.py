"""Reading a file of prompts, demonstrations, comparisons or step labels: what it is, its good rows, and why others are none."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from workbench.collect.converters import FORMATS, Format, Origin, Record, Row, format_of
from workbench.collect.files import LIMIT_MB, Bad, FileError, Rows, plain_path, read_rows
from workbench.records import Comparison, Demonstration, Prompt, StepLabels
from workbench.store import Store

Kind = Literal["prompts", "demonstrations", "comparisons", "steps"]
KINDS: tuple[Kind, ...] = ("prompts", "demonstrations", "comparisons", "steps")
# what else each kind can be taken as
GIVES = {
    "prompts": (),
    "demonstrations": ("prompts",),
    "comparisons": ("prompts", "demonstrations"),
    "steps": ("prompts",),
}
ALIASES = {
    "alpaca_eval": "alpacaeval",
    "hh": "hh-rlhf",
    "self_instruct": "self-instruct",
    "conversational": "trl",
    "chatml": "messages",
    "kto": "unpaired",
}
LOOKED_AT = 1000  # rows from which the format is recognised
SHOWN = 20  # bad lines that a report prints


@dataclass(frozen=True)
class Imported:
    """What a file holds. `bad` was left out; `notes` names rows that were kept though something is odd."""

    kind: str
    format: str
    rows: list[Record]
    bad: list[Bad]
    notes: list[Bad] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What an import did: how many rows are new (`added`), were there already (`known`), or are `bad`."""

    file: str
    kind: str
    format: str
    added: int
    known: int
    bad: list[Bad]
    notes: list[Bad] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What was counted, in words."""
        return "answers with labelled steps" if self.kind == "steps" else self.kind

    def __str__(self) -> str:
        lines = [
            f"{self.file}: {self.added} new {self.what} "
            f"({self.format}), {self.known} known already, {len(self.bad)} left out."
        ]
        lines += [f"  line {bad.line}: left out, {bad.reason}" for bad in self.bad[:SHOWN]]
        if len(self.bad) > SHOWN:
            lines.append(f"  and {len(self.bad) - SHOWN} more lines left out")
        lines += [f"  line {note.line}: kept, but {note.reason}" for note in self.notes[:SHOWN]]
        return "\n".join(lines)


def read(
    path: str | Path,
    as_: str | None = None,
    format: str | None = None,
    rater: str = "import",
    name: str | None = None,
    limit_mb: float = LIMIT_MB,
) -> Imported:
    """Read a .jsonl, .json, .csv or .parquet file; its kind and format are recognised unless given.

    `as_` takes the rows as another kind: prompts out of anything, demonstrations out of comparisons (the best
    answer). A bad row is left out and named by its line, never the whole file with it. `rater` signs rows that
    name nobody. Raises FileError when the file cannot be read at all or no format fits.
    """
    found = read_rows(path, limit_mb)
    chosen = _choose(found, as_, format)
    origin = Origin(rater, f"import:{source_name(name or Path(path).name)}")
    kept: dict[Record, int] = {}
    ids: dict[str, int] = {}
    bad, notes = list(found.bad), []
    for line, row in found.rows:
        try:
            records = [part for record in chosen.convert(row, origin) for part in _as(record, as_ or chosen.kind)]
        except ValueError as error:
            bad.append(Bad(line, _with_columns(str(error), row, chosen)))
            continue
        for record in records:
            if record in kept:
                bad.append(Bad(line, f"the same as line {kept[record]}"))
                continue
            kept[record] = line
            known = ids.setdefault(str(row["id"]), line) if row.get("id") not in (None, "") else line
            if known != line:
                notes.append(Bad(line, f"line {known} has the same id {row['id']!r} with other content"))
    notes += _never_wrong(kept)
    return Imported(as_ or chosen.kind, chosen.name, list(kept), sorted(bad, key=lambda each: each.line), notes)


def import_file(
    store: Store,
    path: str | Path,
    as_: str | None = None,
    format: str | None = None,
    rater: str = "import",
    name: str | None = None,
    limit_mb: float = LIMIT_MB,
) -> Report:
    """Read a file (see `read`) and store its good rows, all or none. `name` is what the file was called elsewhere.

    Importing a file again adds only what is new in it.
    """
    found = read(path, as_, format, rater, name, limit_mb)
    added = store.add_many(found.rows)
    new = {
        "prompts": added.prompts,
        "demonstrations": added.demonstrations,
        "comparisons": added.comparisons,
        "steps": added.steps,
    }[found.kind]
    return Report(
        source_name(name or Path(path).name),
        found.kind,
        found.format,
        new,
        len(found.rows) - new,
        found.bad,
        found.notes,
    )


def source_name(name: str) -> str:
    """A file's name without folders or odd characters, as it is kept with the rows."""
    last = str(plain_path(name)).replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(char for char in last if char.isprintable())[:200] or "file"


def _choose(found: Rows, as_: str | None, name: str | None) -> Format:
    """The asked-for format, or the one that most of the first rows have."""
    if as_ is not None and as_ not in KINDS:
        raise FileError(f"--as {as_}: it must be one of {', '.join(KINDS)}")
    candidates = FORMATS
    if name is not None:
        name = ALIASES.get(name.lower(), name.lower())
        candidates = [each for each in FORMATS if each.name == name]
        if not candidates:
            raise FileError(f"--format {name}: known are {', '.join(dict.fromkeys(each.name for each in FORMATS))}")
    if not found.rows:
        reasons = "; ".join(f"line {bad.line}: {bad.reason}" for bad in found.bad[:3])
        raise FileError(f"No line of the file could be read: {reasons}" if reasons else "The file holds no rows")
    rows = [row for _, row in found.rows[:LOOKED_AT]]
    recognised = Counter(each.name + each.kind for row in rows if (each := format_of(row)))
    best = max(candidates, key=lambda each: (recognised[each.name + each.kind], each.kind == as_))
    if name is not None and not recognised[best.name + best.kind]:
        best = next((each for each in candidates if each.kind == as_), best)
    elif not recognised[best.name + best.kind]:
        raise FileError(
            f"No known format has the columns {', '.join(sorted(map(str, rows[0])))}. Known are "
            + "; ".join(f"{each.name} {each.kind}: {', '.join(each.needs)}" for each in FORMATS)
            + ". Rename the columns, or name the format."
        )
    if as_ is not None and as_ not in (best.kind, *GIVES[best.kind]):
        raise FileError(f"These are {best.kind} ({best.name}); {as_} cannot be made of them")
    return next((each for each in FORMATS if each.name == best.name and each.kind == best.kind), best)


def _as(record: Record, kind: str) -> list[Record]:
    """The record taken as this kind."""
    if kind == "prompts" and not isinstance(record, Prompt):
        return [Prompt(0, record.prompt, record.source)]
    if kind == "demonstrations" and isinstance(record, Comparison):
        if record.acceptable == 0:
            raise ValueError("judged bad; only good answers are demonstrations")
        best = {response.id: response for response in record.responses}[record.groups[0][0]]
        if len(record.groups[0]) > 1:
            raise ValueError("a tie: no answer is the best one")
        return [Demonstration(0, 0, record.prompt, best.text, record.rater, record.source, record.simulated)]
    return [replace(record)]


def _never_wrong(kept: dict[Record, int]) -> list[Bad]:
    """A note on the first 0 of a file whose labels are all 0 or 1: some write 0 for wrong, and here it is neutral."""
    rows = [row for row in kept if isinstance(row, StepLabels)]
    neutral = next((row for row in rows if 0 in row.labels), None)
    if neutral is None or any(-1 in row.labels for row in rows):
        return []
    return [Bad(kept[neutral], "its 0 is read as neutral, and no step of the file is wrong; wrong is -1 or false")]


def _with_columns(reason: str, row: Row, chosen: Format) -> str:
    """The reason; for a row of another shape, which columns it lacks."""
    lacking = [name for name in chosen.needs if row.get(name) is None]
    if not lacking or (chosen.name == "trl" and lacking == ["prompt"] and chosen.kind == "comparisons"):
        return reason
    return f"the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} missing ({reason})"
