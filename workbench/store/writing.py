"""What one transaction does: functions over a connection, composed by Store and committed by the writer."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, insert, select, update

from workbench.records import LABELS, Comparison, Demonstration, Prompt, Response, StepLabels
from workbench.store import tables
from workbench.store.database import StoreError

LONGEST = 1_000_000  # characters; no field of a page or a file is meant to hold more
CHUNK = 500  # values in one IN (...)

T = TypeVar("T")
Act = TypeVar("Act", Demonstration, Comparison, StepLabels)

UNDOABLE = {
    "comparison": tables.comparisons,
    "skip": tables.skips,
    "demonstration": tables.demonstrations,
    "steps": tables.step_labels,
}


class Conflict(StoreError):
    """The item was changed or deleted since it was read; nothing was overwritten."""


@dataclass(frozen=True)
class Added:
    """What `add_many` stored, and how many rows were there already."""

    prompts: int = 0
    demonstrations: int = 0
    comparisons: int = 0
    known: int = 0
    steps: int = 0


def clean(text: str, what: str, empty_ok: bool = False) -> str:
    """The text as given. Raises ValueError for what a database or a tokenizer cannot hold, or for no text at all."""
    if not isinstance(text, str):
        raise ValueError(f"{what} must be text, not {type(text).__name__}")
    if not empty_ok and not text.strip():
        raise ValueError(f"{what} is empty")
    if len(text) > LONGEST:
        raise ValueError(f"{what} has {len(text):,} characters; at most {LONGEST:,} are kept")
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a character (an unpaired surrogate); remove it") from None
    return text


def now() -> str:
    """UTC, for people to read; nothing is ordered by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def fingerprint(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterable[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def take_ids(connection: Connection, count: int) -> range:
    """The next `count` ids. Holds the counter's row until the commit, so ids are also the order of commits."""
    if count == 0:
        return range(0)
    counter = tables.counter
    last = connection.execute(
        update(counter).values(value=counter.c.value + count).returning(counter.c.value)
    ).scalar_one()
    return range(last - count + 1, last + 1)


def add_prompts(connection: Connection, new: Sequence[Prompt]) -> tuple[list[Prompt], int]:
    """One stored prompt per given one (the same text is stored once), and how many were new or deleted before."""
    for prompt in new:
        clean(prompt.text, "The prompt")
    prompt_by_key = {fingerprint(prompt.text): prompt for prompt in reversed(new)}
    stored: dict[str, Prompt] = {}
    deleted_ids: list[int] = []
    for chunk in chunks(list(prompt_by_key)):
        query = select(tables.prompts).where(tables.prompts.c.fingerprint.in_(chunk))
        matches = connection.execute(query).mappings().all()
        stored |= {row["fingerprint"]: tables.to_prompt(row) for row in matches}
        deleted_ids += [row["id"] for row in matches if row["deleted"]]
    keys = dict.fromkeys(fingerprint(prompt.text) for prompt in new)
    new_keys = [key for key in keys if key not in stored]
    rows = []
    for id, key in zip(take_ids(connection, len(new_keys)), new_keys, strict=True):
        prompt = prompt_by_key[key]
        stored[key] = replace(prompt, id=id, seq=id)
        rows.append(
            {
                "id": id,
                "text": prompt.text,
                "fingerprint": key,
                "source": prompt.source,
                "kind": prompt.kind,
                "created": now(),
            }
        )
    if rows:
        connection.execute(insert(tables.prompts), rows)
    for id_chunk in chunks(deleted_ids):
        connection.execute(update(tables.prompts).where(tables.prompts.c.id.in_(id_chunk)).values(deleted=False))
    return [stored[fingerprint(prompt.text)] for prompt in new], len(new_keys) + len(deleted_ids)


def prompt_text(connection: Connection, prompt_id: int) -> str:
    query = select(tables.prompts.c.text).where(tables.prompts.c.id == prompt_id)
    text: str | None = connection.execute(query).scalar()
    if text is None:
        raise KeyError(f"There is no prompt {prompt_id}")
    return text


def add_responses(connection: Connection, new: Sequence[Response]) -> list[Response]:
    for response in new:
        clean(response.text, "The answer", empty_ok=True)
    stored = [replace(row, id=id) for row, id in zip(new, take_ids(connection, len(new)), strict=True)]
    if stored:
        created = now()
        rows = [tables.from_response(response, response.id, response.prompt_id, created) for response in stored]
        connection.execute(insert(tables.responses), rows)
    return stored


def check_ranking(
    ids: Sequence[int], groups: Sequence[Sequence[int]], shown: Sequence[int], acceptable: int | None
) -> None:
    """Raises ValueError unless `groups` and `shown` each hold every response once. A single answer is judged by
    `acceptable`: 1 is good, 0 bad."""
    if len(ids) < (2 if acceptable is None else 1) or len(set(ids)) != len(ids):
        raise ValueError(f"A comparison needs two or more different answers, not {list(ids)}")
    if sorted(id for group in groups for id in group) != sorted(ids) or not all(groups):
        raise ValueError(f"The ranking {groups} must hold each of the answers {list(ids)} once")
    if sorted(shown) != sorted(ids):
        raise ValueError(f"The order shown {shown} must hold each of the answers {list(ids)} once")
    if acceptable is not None and not 0 <= acceptable <= len(groups):
        raise ValueError(f"acceptable is {acceptable}, but there are {len(groups)} groups")


def check_steps(steps: Sequence[str], labels: Sequence[int]) -> None:
    """Raises ValueError unless there is a label of -1, 0 or 1 for each step, none of them empty."""
    if not steps or len(steps) != len(labels):
        raise ValueError(f"There are {len(steps)} steps, but {len(labels)} labels")
    for number, (step, label) in enumerate(zip(steps, labels, strict=True), 1):
        clean(step, f"Step {number}")
        if isinstance(label, bool) or label not in LABELS:
            raise ValueError(
                f"The label of step {number} is {label!r}; it must be -1 (wrong), 0 (neutral) or 1 (right)"
            )


def by_token(connection: Connection, table: Table, token: str | None, rater: str, prompt_id: int) -> int | None:
    """The act that is stored under this token. Raises Conflict when it is another rater's or about another prompt."""
    if token is None:
        return None
    query = select(table.c.id, table.c.rater, table.c.prompt_id).where(table.c.token == token)
    row = connection.execute(query).first()
    if row is None:
        return None
    if (row.rater, row.prompt_id) != (rater, prompt_id):
        raise Conflict("This was not saved: its token belongs to something else. Reload the page, then do it again.")
    act_id: int = row.id
    return act_id


def add_act(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one act of a rater; the id of the one that is there when its token was sent before."""
    clean(values["rater"], "The rater's name")
    stored_id = by_token(connection, table, values.get("token"), values["rater"], values["prompt_id"])
    if stored_id is not None:
        return stored_id
    (id,) = take_ids(connection, 1)
    connection.execute(insert(table).values(id=id, created=now(), deleted=False, **values))
    return id


def check_seen(connection: Connection, rater: str, prompt_id: int, token: str | None, seen: Sequence[int]) -> None:
    """Raises Conflict when this rater has an answer to this prompt that is not in `seen`, unless by this very token."""
    table = tables.demonstrations
    own = select(table.c.id, table.c.token).where(
        table.c.rater == rater, table.c.prompt_id == prompt_id, table.c.deleted.is_(False), table.c.simulated.is_(False)
    )
    others = [row.id for row in connection.execute(own) if token is None or row.token != token]
    if set(others) - set(seen) and by_token(connection, table, token, rater, prompt_id) is None:
        raise Conflict(
            "You have answered this prompt elsewhere in the meantime. This answer was not saved; look at the other one, "
            "then decide."
        )


def save_draft(connection: Connection, rater: str, prompt_id: int, text: str) -> None:
    """The one draft of this rater for this prompt; an empty text removes it."""
    drafts = tables.drafts
    clean(text, "The draft", empty_ok=True)
    connection.execute(drafts.delete().where(drafts.c.rater == rater, drafts.c.prompt_id == prompt_id))
    if text:
        connection.execute(insert(drafts).values(rater=rater, prompt_id=prompt_id, text=text))


def set_deleted(connection: Connection, table: Table, id: int, deleted: bool) -> None:
    row_count = connection.execute(update(table).where(table.c.id == id).values(deleted=deleted)).rowcount
    if not row_count:
        raise KeyError(f"There is nothing with the number {id} in {table.name}")
    if table is tables.comparisons:  # "my own answer beats both" is one act: its demonstration shares the token
        token = select(table.c.token).where(table.c.id == id).scalar_subquery()
        demonstrations = tables.demonstrations
        connection.execute(update(demonstrations).where(demonstrations.c.token == token).values(deleted=deleted))


def undo(connection: Connection, rater: str, kinds: Sequence[str]) -> tuple[str, int, int] | None:
    """Hide the rater's newest act of these kinds: (kind, its id, its prompt's id); see Store.undo."""
    newest: tuple[int, str, int] | None = None
    for name in kinds:
        base, _, skipped = name.partition(":")
        table = UNDOABLE[base]
        query = select(table.c.id, table.c.prompt_id).where(table.c.rater == rater, table.c.deleted.is_(False))
        if base == "skip":
            query = query.where(table.c.kind == (skipped or "comparison"))
        row = connection.execute(query.order_by(table.c.id.desc()).limit(1)).first()
        if row and (newest is None or row.id > newest[0]):
            newest = (row.id, name, row.prompt_id)
    if newest is None:
        return None
    id, name, prompt_id = newest
    set_deleted(connection, UNDOABLE[name.partition(":")[0]], id, True)
    return name, id, prompt_id


def change(connection: Connection, table: Table, id: int, version: int | None, values: dict[str, Any]) -> None:
    """Change one row if it is still at `version` (None: whichever). Raises Conflict otherwise."""
    row = connection.execute(select(table.c.version, table.c.deleted).where(table.c.id == id)).first()
    if row is None:
        raise KeyError(f"There is nothing with the number {id} in {table.name}")
    if row.deleted:
        raise Conflict(
            "This was deleted in the meantime. Your change was not saved; restore it first, or add it again."
        )
    if version is not None and row.version != version:
        raise Conflict("Somebody changed this in the meantime. Your change was not saved; look at theirs, then decide.")
    connection.execute(update(table).where(table.c.id == id).values(version=row.version + 1, **values))


def token_of(row: Demonstration | Comparison | StepLabels) -> str:
    """The same imported row has the same token, so that importing a file twice stores it once."""
    if isinstance(row, Demonstration):
        content: list[Any] = ["demonstration", row.prompt, row.text, row.rater]
    elif isinstance(row, StepLabels):
        content = ["steps", row.prompt, row.rater, row.steps, row.labels]
    else:
        texts = {response.id: [response.text, response.model] for response in row.responses}
        content = ["comparison", row.prompt, row.rater, row.acceptable]
        content += [[sorted(texts[id] for id in group) for group in row.groups]]
    return "import:" + blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def add_many(connection: Connection, rows: Sequence[Prompt | Demonstration | Comparison | StepLabels]) -> Added:
    """Store records read from a file, in few statements. Ids in them are local to each row and replaced.

    A row that is there already is not stored again; if it had been deleted it is brought back.
    """
    as_prompts = [row if isinstance(row, Prompt) else Prompt(0, row.prompt, row.source) for row in rows]
    stored, new_prompts = add_prompts(connection, as_prompts)
    ids = {prompt.text: prompt.id for prompt in stored}
    demonstrations = [row for row in rows if isinstance(row, Demonstration)]
    comparisons = [row for row in rows if isinstance(row, Comparison)]
    step_labels = [row for row in rows if isinstance(row, StepLabels)]
    new_demonstrations = _add_new(connection, tables.demonstrations, demonstrations)
    new_comparisons = _add_new(connection, tables.comparisons, comparisons)
    new_steps = _add_new(connection, tables.step_labels, step_labels)
    _insert_demonstrations(connection, new_demonstrations, ids)
    _insert_comparisons(connection, new_comparisons, ids)
    _insert_step_labels(connection, new_steps, ids)
    acts = len(demonstrations) + len(comparisons) + len(step_labels)
    new_acts = len(new_demonstrations) + len(new_comparisons) + len(new_steps)
    known = acts - new_acts if acts else len(rows) - new_prompts
    return Added(new_prompts, len(new_demonstrations), len(new_comparisons), known, len(new_steps))


def _add_new(connection: Connection, table: Table, rows: Sequence[Act]) -> dict[str, Act]:
    """Those rows whose token is not in the table yet, by token; the ones that are, are undeleted."""
    row_by_token = {token_of(row): row for row in rows}
    for keys in chunks(list(row_by_token)):
        stored_tokens = connection.execute(select(table.c.token).where(table.c.token.in_(keys))).scalars().all()
        connection.execute(update(table).where(table.c.token.in_(stored_tokens)).values(deleted=False))
        for token in stored_tokens:
            del row_by_token[token]
    return row_by_token


def _insert_demonstrations(connection: Connection, new: dict[str, Demonstration], prompt_ids: dict[str, int]) -> None:
    created = now()
    rows = [
        {
            "id": id,
            "prompt_id": prompt_ids[row.prompt],
            "text": clean(row.text, "The answer"),
            "source": row.source,
            "draft_of": None,
            "version": row.version,
            "rater": clean(row.rater, "The rater's name"),
            "simulated": row.simulated,
            "token": token,
            "deleted": False,
            "created": created,
        }
        for id, (token, row) in zip(take_ids(connection, len(new)), new.items(), strict=True)
    ]
    if rows:
        connection.execute(insert(tables.demonstrations), rows)


def _insert_comparisons(connection: Connection, new: dict[str, Comparison], prompt_ids: dict[str, int]) -> None:
    local = [replace(response, prompt_id=prompt_ids[row.prompt]) for row in new.values() for response in row.responses]
    stored = iter(add_responses(connection, local))
    created = now()
    rows = []
    for id, (token, row) in zip(take_ids(connection, len(new)), new.items(), strict=True):
        ids = {response.id: next(stored).id for response in row.responses}
        check_ranking(list(ids), row.groups, row.shown, row.acceptable)
        rows.append(
            {
                "id": id,
                "prompt_id": prompt_ids[row.prompt],
                "groups": [[ids[local_id] for local_id in group] for group in row.groups],
                "shown": [ids[local_id] for local_id in row.shown],
                "acceptable": row.acceptable,
                "seconds": row.seconds,
                "why": row.why,
                "question": row.question,
                "source": row.source,
                "version": row.version,
                "rater": clean(row.rater, "The rater's name"),
                "simulated": row.simulated,
                "token": token,
                "deleted": False,
                "created": created,
            }
        )
    if rows:
        connection.execute(insert(tables.comparisons), rows)


def _insert_step_labels(connection: Connection, new: dict[str, StepLabels], prompt_ids: dict[str, int]) -> None:
    created = now()
    rows = []
    for id, (token, row) in zip(take_ids(connection, len(new)), new.items(), strict=True):
        check_steps(row.steps, row.labels)
        rows.append(
            {
                "id": id,
                "prompt_id": prompt_ids[row.prompt],
                "steps": list(row.steps),
                "labels": list(row.labels),
                "seconds": row.seconds,
                "source": row.source,
                "rater": clean(row.rater, "The rater's name"),
                "simulated": row.simulated,
                "token": token,
                "deleted": False,
                "created": created,
            }
        )
    if rows:
        connection.execute(insert(tables.step_labels), rows)
