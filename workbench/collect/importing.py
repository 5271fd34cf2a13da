"""Reading a file of prompts, demonstrations, comparisons or step labels: what it is, its good rows, and why others are none."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from workbench.collect.converters import FORMATS, Format, Origin, Record, Unused, format_of, prompt_alone
from workbench.collect.files import LIMIT_MB, Bad, FileError, Item, Remark, plain_path, read_rows
from workbench.collect.row import KNOWN, Row, canonical, is_empty, judges, thoughts
from workbench.records import Comparison, Demonstration, Prompt, StepLabels, how_many
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
    "ultrafeedback": "ranked",
    "nectar": "ranked",
    "distilabel": "ranked",
}
# What a column may be called by --map.
MAPPED = ("prompt", "completion", "chosen", "rejected", "label", "messages", "system", "history", "input", "rater")
TARGETS = {"steps", "labels", "completions", "ratings", "id", "source", "kind", "simulated", "generations", "rater"}
LOOKED_AT = 1000  # rows from which the format is recognised, fewer of long ones
LOOKED_AT_CHARACTERS = 16_000_000
MANY_BAD = 100_000  # lines without use after which a file with hardly a good one is not read on
SHOWN = 20  # bad lines that a report prints


@dataclass(frozen=True)
class Imported:
    """What a file holds. `bad` was left out; `notes` names rows that were kept though something is odd; `remarks` are on
    the whole file, such as the columns that were not used."""

    kind: str
    format: str
    rows: list[Record]
    bad: list[Bad]
    notes: list[Bad] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


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
    remarks: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What was counted, in words."""
        return "answers with labelled steps" if self.kind == "steps" else self.kind

    @property
    def empty(self) -> bool:
        """Whether the file gave nothing at all, nothing known either."""
        return self.added + self.known == 0

    def __str__(self) -> str:
        lines = [
            f"{self.file}: {how_many(self.added, f'new {self.what}')} "
            f"({self.format}), {self.known:,} already known, {len(self.bad):,} left out."
        ]
        lines += [f"  {remark}" for remark in self.remarks]
        lines += [f"  line {bad.line}: left out, {bad.reason}" for bad in self.bad[:SHOWN]]
        if len(self.bad) > SHOWN:
            lines.append(f"  and {how_many(len(self.bad) - SHOWN, 'more lines')} left out")
        lines += [f"  line {note.line}: kept, but {note.reason}" for note in self.notes[:SHOWN]]
        if len(self.notes) > SHOWN:
            lines.append(f"  and {how_many(len(self.notes) - SHOWN, 'more notes')}")
        return "\n".join(lines)


def read(
    path: str | Path,
    as_: str | None = None,
    format: str | None = None,
    rater: str = "import",
    name: str | None = None,
    limit_mb: float = LIMIT_MB,
    columns: Mapping[str, str] | None = None,
    follow_links: bool = False,
) -> Imported:
    """Read a .jsonl, .json, .csv or .parquet file; its kind and format are recognised unless given.

    `as_` takes the rows as another kind: prompts out of anything, demonstrations out of comparisons (the best
    answer). `columns` names columns of the file otherwise, {"prompt": "frage"}; "a.b" is b inside a. A bad row is left
    out and named by its line, never the whole file with it. `rater` signs rows that name nobody. Raises FileError when
    the file cannot be read at all, when no format fits, or when nothing but prompts would be taken of rows whose other
    columns may hold answers or judgements.
    """
    if as_ is not None and as_ not in KINDS:
        raise FileError(f"--as {as_}: it must be one of {', '.join(KINDS)}")
    source, columns = source_name(name or Path(path).name), columns or {}

    def is_row(values: dict[str, Any]) -> bool:
        return format_of(Row(renamed(values, columns))) is not None

    with closing(read_rows(path, limit_mb, follow_links, is_row)) as items:
        file = _File(items, columns)
        head = file.head()
        row_format = _choose(head, file.bad, as_, format)
        origin = Origin(rater, f"import:{source}")
        conversion = _Conversion(row_format, as_, origin, mixed=format is None and row_format.gather is None)
        rows = chain(head, file.rows)
        for line, row in row_format.gather(rows) if row_format.gather else rows:
            conversion.add(line, row)
    conversion.check()
    bad = sorted([*file.bad, *conversion.bad], key=lambda each: each.line)
    remarks = [*file.remarks, *conversion.remarks()]
    notes = conversion.notes + _never_wrong(conversion.lines)
    return Imported(conversion.kind, row_format.name, list(conversion.lines), bad, notes, remarks)


class _File:
    """The rows of a file under their asked-for names, and what was said of it while they were read."""

    def __init__(self, items: Iterable[Item], columns: Mapping[str, str]):
        self.bad: list[Bad] = []
        self.remarks: list[str] = []
        self.columns, self.good = columns, 0
        self.rows = self._rows(items)

    def _rows(self, items: Iterable[Item]) -> Iterator[tuple[int, dict[str, Any]]]:
        for each in items:
            if isinstance(each, Bad):
                self.bad.append(each)
                _check_hopeful(self.bad, self.good)
            elif isinstance(each, Remark):
                self.remarks.append(each.text)
            else:
                self.good += 1
                yield each[0], renamed(each[1], self.columns) if self.columns else each[1]

    def head(self) -> list[tuple[int, dict[str, Any]]]:
        """The rows from which the format is recognised. Raises FileError where the columns to rename are in none."""
        head: list[tuple[int, dict[str, Any]]] = []
        size = 0
        for each in self.rows:
            head.append(each)
            size += len(repr(each))
            if len(head) == LOOKED_AT or size > LOOKED_AT_CHARACTERS:
                break
        for new, old in self.columns.items():
            if canonical(new) not in KNOWN | TARGETS:
                raise FileError(f"--map {new}={old}: no format has a column {new}; choose one of {', '.join(MAPPED)}")
            if head and not any(new in row for _, row in head):
                raise FileError(f"--map {new}={old}: there is no column {old}, only {', '.join(head[0][1])}")
        return head


class _Conversion:
    """The records of the rows taken so far, and why the other rows were not."""

    def __init__(self, row_format: Format, as_: str | None, origin: Origin, mixed: bool):
        self.row_format, self.as_, self.kind, self.origin = row_format, as_, as_ or row_format.kind, origin
        self.mixed = mixed  # whether a row of another format of the same kind is read as that
        self.lines: dict[Record, int] = {}
        self.bad: list[Bad] = []
        self.notes: list[Bad] = []
        self.unread_columns: Counter[str] = Counter()
        self.unused_columns: dict[str, None] = {}  # columns for which rows were not taken
        self.ids: dict[str, int] = {}

    def add(self, line: int, values: dict[str, Any]) -> None:
        row = Row(values)
        try:
            records = [part for record in self._converted(row) for part in _as_kind(record, self.kind)]
        except Unused as error:
            self.unused_columns |= dict.fromkeys(error.columns)
            self._leave_out(line, f"{error} (see --as and --map)")
            return
        except ValueError as error:
            self._leave_out(line, _with_columns(str(error), row, self.row_format))
            return
        self.unread_columns.update(row.spelling[name] for name in row.unread_columns())
        self.unread_columns.update(thoughts(row))
        for record in records:
            if record in self.lines:
                self._leave_out(line, f"the same as line {self.lines[record]}")
                continue
            self.lines[record] = line
            first_line = line if is_empty(row.peek("id")) else self.ids.setdefault(str(row.peek("id")), line)
            if first_line != line:
                self.notes.append(
                    Bad(line, f"line {first_line} has the same id {row.peek('id')!r} with different content")
                )

    def _leave_out(self, line: int, reason: str) -> None:
        self.bad.append(Bad(line, reason))
        if len(self.bad) >= MANY_BAD:
            self.check()
            _check_hopeful(self.bad, len(self.lines))

    def _converted(self, row: Row) -> list[Record]:
        """The row's records. A kind that was asked for is taken without asking what its other columns hold."""
        try:
            return self._format_of(row).convert(row, self.origin)
        except Unused as unused:
            if self.as_ not in (unused.kind, *GIVES[unused.kind]):
                raise
            return unused.records
        except ValueError:
            if self.as_ != "prompts":
                raise
            return prompt_alone(row, self.origin)

    def _format_of(self, row: Row) -> Format:
        detected = format_of(row) if self.mixed and not self.row_format.recognises(row) else None
        return (
            detected
            if detected and detected.kind == self.row_format.kind and detected.gather is None
            else self.row_format
        )

    def check(self) -> None:
        """Raises FileError when no row was taken because that would have lost answers or judgements."""
        if self.lines or not self.unused_columns:
            return
        columns, example = ", ".join(self.unused_columns), next(iter(self.unused_columns))
        subject = f"{len(self.unused_columns)} columns hold" if len(self.unused_columns) > 1 else "a column holds"
        raise FileError(
            f"Nothing was imported: {subject} what may be answers or judgements that nothing would read: {columns}. "
            f"To leave them out, add --as {self.row_format.kind}; to use them, map them, as in "
            f"--map {'label' if judges(example) else 'completion'}={example} (names: {', '.join(MAPPED)}). "
            "On the page, rename the columns first."
        )

    def remarks(self) -> list[str]:
        if not self.lines or not self.unread_columns:
            return []
        return [f"not used: {', '.join(self.unread_columns)}"]


def _check_hopeful(bad: list[Bad], good: int) -> None:
    """Raises FileError for a file of junk, before the reasons for its lines fill the memory."""
    if len(bad) >= MANY_BAD and len(bad) > 9 * good:
        raise FileError(
            f"{len(bad):,} lines could not be used, {good:,} could; the rest was not read and nothing was imported. "
            f"The first is line {bad[0].line}: {bad[0].reason}"
        )


def column_map(pairs: Iterable[str]) -> dict[str, str]:
    """{"prompt": "question"} of ["prompt=question"]. Raises FileError for a pair that is none."""
    columns = {}
    for pair in pairs:
        new, is_pair, old = (part.strip() for part in pair.partition("="))
        if not is_pair or not new or not old or new in columns:
            raise FileError(f"--map {pair}: write it as NAME=COLUMN, each name once, as in prompt=question")
        columns[new] = old
    return columns


def renamed(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with some columns under other names; a column that bore the new name keeps it with a _ after it."""
    row = dict(row)
    for new, old in columns.items():
        if old in row:
            value = row.pop(old)
        else:
            value = row
            for part in old.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is None:
                continue
        if new in row:
            row[f"{new}_"] = row.pop(new)
        row[new] = value
    return row


def import_file(
    store: Store,
    path: str | Path,
    as_: str | None = None,
    format: str | None = None,
    rater: str = "import",
    name: str | None = None,
    limit_mb: float = LIMIT_MB,
    columns: Mapping[str, str] | None = None,
    follow_links: bool = False,
) -> Report:
    """Read a file (see `read`) and store its good rows, all or none. `name` is what the file was called elsewhere.

    Importing a file again adds only what is new in it.
    """
    imported = read(path, as_, format, rater, name, limit_mb, columns, follow_links)
    counts = store.add_many(imported.rows)
    added = {
        "prompts": counts.prompts,
        "demonstrations": counts.demonstrations,
        "comparisons": counts.comparisons,
        "steps": counts.steps,
    }[imported.kind]
    return Report(
        source_name(name or Path(path).name),
        imported.kind,
        imported.format,
        added,
        len(imported.rows) - added,
        imported.bad,
        imported.notes,
        imported.remarks,
    )


def source_name(name: str) -> str:
    """A file's name without folders or odd characters, as it is kept with the rows."""
    last = str(plain_path(name)).replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(char for char in last if char.isprintable())[:200] or "file"


def _choose(head: list[tuple[int, dict[str, Any]]], bad: list[Bad], as_: str | None, name: str | None) -> Format:
    """The asked-for format, or the one that most of the first rows have."""
    candidates = FORMATS
    if name is not None:
        name = ALIASES.get(name.lower(), name.lower())
        candidates = [each for each in FORMATS if each.name == name]
        if not candidates:
            raise FileError(f"--format {name}: choose one of {', '.join(dict.fromkeys(each.name for each in FORMATS))}")
    if not head:
        reasons = "; ".join(f"line {each.line}: {each.reason}" for each in bad[:3])
        raise FileError(f"No line of the file could be read: {reasons}" if reasons else "The file holds no rows")
    rows = [Row(row) for _, row in head]
    recognised = Counter(each.name + each.kind for row in rows if (each := format_of(row)))
    best = max(candidates, key=lambda each: (recognised[each.name + each.kind], each.kind == as_))
    if name is not None and not recognised[best.name + best.kind]:
        best = next((each for each in candidates if each.kind == as_), best)
    elif not recognised[best.name + best.kind]:
        names = _names(head[0][1])
        raise FileError(
            f"Column{'' if len(names) == 1 else 's'} {', '.join(names)} not recognised. Pairs need prompt, chosen, "
            "rejected. All formats: sample_data/README.md. Rename the columns, or on the command line add "
            f"--format or map them, as in --map prompt={names[0] if names else 'COLUMN'} (names: {', '.join(MAPPED)})."
        )
    if as_ is not None and as_ not in (best.kind, *GIVES[best.kind]):
        raise FileError(f"These are {best.kind} ({best.name}); {as_} cannot be made from them")
    return best


def _names(row: dict[str, Any]) -> list[str]:
    """The columns as --map takes them, a.b for b inside a."""
    names = []
    for name, value in row.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) and value else [str(name)]
    return names


def _as_kind(record: Record, kind: str) -> list[Record]:
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


def _never_wrong(lines: dict[Record, int]) -> list[Bad]:
    """A note on the first 0 of a file whose labels are all 0 or 1: some write 0 for wrong, and here it is neutral."""
    rows = [row for row in lines if isinstance(row, StepLabels)]
    neutral = next((row for row in rows if 0 in row.labels), None)
    if neutral is None or any(-1 in row.labels for row in rows):
        return []
    return [
        Bad(lines[neutral], "0 is read as neutral, and no step of the file is wrong; label wrong steps -1 or false")
    ]


def _with_columns(reason: str, row: Row, row_format: Format) -> str:
    """The reason; for a row of another shape, which columns it lacks."""
    lacking = [name for name in row_format.needs if not row.has(name)]
    if not lacking:
        return reason
    return f"the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} missing ({reason})"
