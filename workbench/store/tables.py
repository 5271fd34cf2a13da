"""The tables of the workspace's database, and how their rows become records.

Ids come from the one row of `counter`, in every table, so that they order all that was ever stored.
Nothing is erased: `deleted` hides a row, and undo brings it back. The schema's history is in migrations/.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, false

from workbench.records import Comparison, Demonstration, Prompt, Response, Sampling, StepLabels, Verdict

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=False)


def _prompt_id() -> Column[int]:
    return Column("prompt_id", Integer, ForeignKey("prompts.id"), nullable=False, index=True)


def _act() -> list[Column[Any]]:
    """What every act of a rater carries. `token` makes sending it twice store it once."""
    return [
        Column("rater", String(200), nullable=False, index=True),
        Column("simulated", Boolean, nullable=False, default=False),
        Column("token", String(200), unique=True),
        Column("deleted", Boolean, nullable=False, default=False),
        Column("created", String(32), nullable=False),
    ]


counter = Table(
    "counter", metadata, Column("name", String(20), primary_key=True), Column("value", Integer, nullable=False)
)

prompts = Table(
    "prompts",
    metadata,
    _id(),
    Column("text", Text, nullable=False),
    # An index over the text itself would be as large as the text, and PostgreSQL refuses long ones.
    Column("fingerprint", String(32), nullable=False, unique=True),
    Column("source", String(400), nullable=False),
    Column("kind", String(100)),
    Column("created", String(32), nullable=False),
    Column("deleted", Boolean, nullable=False, server_default=false()),
)

responses = Table(
    "responses",
    metadata,
    _id(),
    _prompt_id(),
    Column("text", Text, nullable=False),
    Column("model", String(400), nullable=False),
    Column("run", Integer),
    Column("sampling", JSON(none_as_null=True)),
    Column("strength", Float, nullable=False),
    Column("tokens", Integer),
    Column("ended", Boolean),
    Column("author", String(20), nullable=False),
    Column("created", String(32), nullable=False),
)

demonstrations = Table(
    "demonstrations",
    metadata,
    _id(),
    _prompt_id(),
    Column("text", Text, nullable=False),
    Column("source", String(400), nullable=False),
    Column("draft_of", Integer, ForeignKey("responses.id")),
    Column("version", Integer, nullable=False),
    *_act(),
)

comparisons = Table(
    "comparisons",
    metadata,
    _id(),
    _prompt_id(),
    Column("groups", JSON, nullable=False),
    Column("shown", JSON, nullable=False),
    Column("acceptable", Integer),
    Column("seconds", Float),
    Column("why", Text),
    Column("question", Text),
    Column("source", String(400), nullable=False),
    Column("version", Integer, nullable=False),
    *_act(),
)

verdicts = Table(
    "verdicts",
    metadata,
    _id(),
    _prompt_id(),
    Column("shown", JSON, nullable=False),
    Column("choice", JSON, nullable=False),
    Column("seconds", Float),
    *_act(),
)

step_labels = Table(
    "step_labels",
    metadata,
    _id(),
    _prompt_id(),
    Column("steps", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("seconds", Float),
    Column("source", String(400), nullable=False),
    *_act(),
)

skips = Table("skips", metadata, _id(), _prompt_id(), Column("kind", String(20), nullable=False), *_act())

drafts = Table(
    "drafts",
    metadata,
    Column("rater", String(200), primary_key=True),
    Column("prompt_id", Integer, ForeignKey("prompts.id"), primary_key=True),
    Column("text", Text, nullable=False),
)

Index("ix_skips_rater_kind", skips.c.rater, skips.c.kind)

Row = Mapping[Any, Any]


def to_prompt(row: Row) -> Prompt:
    return Prompt(row["id"], row["text"], row["source"], row["kind"], seq=row["id"])


def to_response(row: Row) -> Response:
    sampling = Sampling(**row["sampling"]) if row["sampling"] else None
    columns = ("id", "prompt_id", "text", "model", "run", "strength", "tokens", "ended", "author")
    return Response(**{name: row[name] for name in columns}, sampling=sampling)


def from_response(response: Response, id: int, prompt_id: int, created: str) -> dict[str, Any]:
    return asdict(response) | {"id": id, "prompt_id": prompt_id, "created": created}


def to_demonstration(row: Row) -> Demonstration:
    columns = ("id", "prompt_id", "prompt", "text", "rater", "source", "simulated", "draft_of", "version")
    return Demonstration(**{name: row[name] for name in columns}, seq=row["id"])


def ids_in(rows: Iterable[Row]) -> list[int]:
    """Every response id that these comparisons speak of, once."""
    return sorted({id for row in rows for id in row["shown"]})


def to_comparison(row: Row, by_id: Mapping[int, Response]) -> Comparison:
    columns = ("id", "prompt_id", "prompt", "acceptable", "rater", "simulated", "seconds", "why", "question", "version")
    return Comparison(
        **{name: row[name] for name in columns},
        responses=tuple(by_id[id] for id in sorted(row["shown"])),
        groups=tuple(tuple(group) for group in row["groups"]),
        shown=tuple(row["shown"]),
        source=row["source"],
        seq=row["id"],
    )


def to_verdict(row: Row) -> Verdict:
    columns = ("id", "prompt_id", "prompt", "choice", "rater", "simulated", "seconds")
    return Verdict(**{name: row[name] for name in columns}, shown=tuple(row["shown"]), seq=row["id"])


def to_step_labels(row: Row) -> StepLabels:
    columns = ("id", "prompt_id", "prompt", "rater", "simulated", "source", "seconds")
    values = {name: row[name] for name in columns}
    return StepLabels(**values, steps=tuple(row["steps"]), labels=tuple(row["labels"]), seq=row["id"])
