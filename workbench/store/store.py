"""The store: what people wrote and judged, kept so that whatever was shown as saved survives a kill or a power cut."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import uuid4

from sqlalchemy import Connection, RowMapping, Select, Table, case, func, select
from sqlalchemy.exc import DBAPIError, TimeoutError

from workbench.records import Comparison, Demonstration, Prompt, Response, StepLabels, Verdict, split_of
from workbench.store import database, tables, writing
from workbench.store.writing import Added, chunks

T = TypeVar("T")
Split = Literal["train", "heldout"]
Query = Select[*tuple[Any, ...]]


class Store:
    """A workspace's database, safe to use from many threads and from several processes at once.

    `path_or_url` is the path of a SQLite file, made when missing, or a SQLAlchemy URL. An older version is
    backed up beside itself (`backup` names the copy) and migrated. Every method that changes something
    returns after the change is on the disk. Raises StoreTooNew for a newer version, StoreBusy when another
    program holds the database for over 10 s, and StoreError for what else a disk can do.
    """

    def __init__(self, path_or_url: str | Path):
        url = database.url_of(path_or_url)
        self.where = database.place(url)
        database.refuse_emptied(url)
        self._readers, writer = database.engines(url)
        try:
            self.backup = database.migrate(self._readers, writer, self.where)
        except DBAPIError as error:
            raise database.explain(error, self.where) from error
        self._writer = database.Writer(writer, self.where)

    def close(self) -> None:
        """Waits for the writes under way. A store closes once; closing again does nothing."""
        self._writer.close()
        self._writer.engine.dispose()
        self._readers.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Prompts and responses

    def add_prompts(self, texts: list[str], source: str, kinds: Sequence[str | None] | None = None) -> list[Prompt]:
        """One prompt per text, in order; a text that is there already gives the prompt it has."""
        new = [Prompt(0, text, source, kind) for text, kind in zip(texts, kinds or [None] * len(texts), strict=True)]
        return self._write(lambda connection: writing.add_prompts(connection, new)[0])

    def prompts(self, split: Split | None = None) -> list[Prompt]:
        """All that are not deleted, oldest first."""
        table = tables.prompts
        rows = self._all(select(table).where(table.c.deleted.is_(False)).order_by(table.c.id))
        return [tables.to_prompt(row) for row in rows if split is None or split_of(row["text"]) == split]

    def prompt(self, id: int) -> Prompt:
        """Raises KeyError when there is none."""
        rows = self._all(select(tables.prompts).where(tables.prompts.c.id == id))
        if not rows:
            raise KeyError(f"There is no prompt {id}")
        return tables.to_prompt(rows[0])

    def delete_prompt(self, id: int) -> None:
        """Hide a prompt and what was written and judged about it. Raises KeyError when there is none."""
        self._set_deleted(tables.prompts, id, True)

    def restore_prompt(self, id: int) -> None:
        self._set_deleted(tables.prompts, id, False)

    def add_responses(self, rows: list[Response]) -> list[Response]:
        """Store answers (their id is 0 before); returns them with their ids, in order."""
        return self._write(lambda connection: writing.add_responses(connection, rows))

    def responses(self, prompt_id: int | None = None) -> list[Response]:
        query = select(tables.responses).order_by(tables.responses.c.id)
        if prompt_id is not None:
            query = query.where(tables.responses.c.prompt_id == prompt_id)
        return [tables.to_response(row) for row in self._all(query)]

    def response(self, id: int) -> Response:
        """Raises KeyError when there is none."""
        rows = self._all(select(tables.responses).where(tables.responses.c.id == id))
        if not rows:
            raise KeyError(f"There is no answer {id}")
        return tables.to_response(rows[0])

    # Demonstrations and drafts

    def add_demonstration(
        self,
        prompt_id: int,
        text: str,
        rater: str,
        source: str = "person",
        simulated: bool = False,
        draft_of: int | None = None,
        token: str | None = None,
        seen: Sequence[int] | None = None,
    ) -> Demonstration:
        """Store the answer somebody wishes the model gave, and clear their draft. `token`: see add_comparison.

        `seen` are the ids of the answers that were on screen when this one was begun: raises Conflict when the rater has
        stored another one since, in another tab or on Rank. None: whatever there is, this one is added.
        """

        def work(connection: Connection) -> Demonstration:
            writing.prompt_text(connection, prompt_id)
            if seen is not None:
                writing.check_seen(connection, rater, prompt_id, token, seen)
            values = {"prompt_id": prompt_id, "text": writing.clean(text, "The answer"), "rater": rater, "version": 1}
            values |= {"source": source, "simulated": simulated, "draft_of": draft_of, "token": token}
            id = writing.add_act(connection, tables.demonstrations, values)
            writing.save_draft(connection, rater, prompt_id, "")
            return _demonstration(connection, id)

        return self._write(work)

    def edit_demonstration(self, id: int, text: str, version: int) -> Demonstration:
        """Replace the text that was read at `version`. Raises Conflict when it was changed or deleted since."""

        def work(connection: Connection) -> Demonstration:
            values = {"text": writing.clean(text, "The answer")}
            writing.change(connection, tables.demonstrations, id, version, values)
            return _demonstration(connection, id)

        return self._write(work)

    def delete_demonstration(self, id: int) -> None:
        self._set_deleted(tables.demonstrations, id, True)

    def restore_demonstration(self, id: int) -> None:
        self._set_deleted(tables.demonstrations, id, False)

    def demonstrations(self) -> list[Demonstration]:
        """All that are not deleted, newest last."""
        table = tables.demonstrations
        return [tables.to_demonstration(row) for row in self._all(_acts(table).order_by(table.c.id))]

    def save_draft(self, rater: str, prompt_id: int, text: str) -> None:
        """Keep what somebody is writing; an empty text removes it."""
        self._write(lambda connection: writing.save_draft(connection, rater, prompt_id, text))

    def drafts(self, rater: str) -> dict[int, str]:
        """prompt id -> text."""
        rows = self._all(select(tables.drafts).where(tables.drafts.c.rater == rater))
        return {row["prompt_id"]: row["text"] for row in rows}

    # Comparisons

    def add_comparison(
        self,
        prompt_id: int,
        responses: Sequence[Response | int],
        groups: Sequence[Sequence[int]],
        shown: Sequence[int],
        rater: str,
        acceptable: int | None = None,
        simulated: bool = False,
        seconds: float | None = None,
        why: str | None = None,
        question: str | None = None,
        token: str | None = None,
        source: str = "person",
    ) -> Comparison:
        """Store one judgement over stored responses (see Comparison for groups, shown and acceptable).

        `token` is any text the sender makes up once per vote: sending the same vote again, after a lost
        connection say, returns the one that is stored. Raises ValueError when groups or shown do not hold
        each response once, KeyError for a response that is not stored under this prompt, Conflict for a token
        that came with somebody else's vote or one on another prompt.
        """
        values = {
            "prompt_id": prompt_id,
            "groups": [list(group) for group in groups],
            "shown": list(shown),
            "acceptable": acceptable,
            "rater": rater,
            "simulated": simulated,
            "seconds": seconds,
            "why": why,
            "question": question,
            "token": token,
            "source": source,
            "version": 1,
        }
        ids = [item if isinstance(item, int) else item.id for item in responses]
        return self._write(lambda connection: _add_comparison(connection, ids, values))

    def add_demonstration_and_comparison(
        self,
        prompt_id: int,
        text: str,
        responses: Sequence[Response | int],
        shown: Sequence[int],
        rater: str,
        simulated: bool = False,
        seconds: float | None = None,
        question: str | None = None,
        token: str | None = None,
    ) -> tuple[Demonstration, Comparison]:
        """ "My own answer beats them all": a demonstration and a comparison, both or neither.

        The own answer becomes a response by the author "person" and stands alone in the first group; the
        shown ones share the second, for nothing was said about them. Undone together.
        """
        token = token or f"own:{uuid4()}"
        ids = [item if isinstance(item, int) else item.id for item in responses]
        shared = {"prompt_id": prompt_id, "rater": rater, "simulated": simulated, "token": token, "version": 1}
        shared |= {"source": "person"}

        def work(connection: Connection) -> tuple[Demonstration, Comparison]:
            own_text = writing.clean(text, "The answer")
            writing.prompt_text(connection, prompt_id)
            comparison_id = writing.by_token(connection, tables.comparisons, token, rater, prompt_id)
            demonstration_id = writing.add_act(
                connection, tables.demonstrations, shared | {"text": own_text, "draft_of": None}
            )
            writing.save_draft(connection, rater, prompt_id, "")
            if comparison_id is not None:
                return _demonstration(connection, demonstration_id), _comparison(connection, comparison_id)
            response = Response(0, prompt_id, own_text, model=rater, ended=True, author="person")
            own_id = writing.add_responses(connection, [response])[0].id
            values = shared | {"groups": [[own_id], ids], "shown": [*shown, own_id], "acceptable": None}
            values |= {"seconds": seconds, "why": None, "question": question}
            return _demonstration(connection, demonstration_id), _add_comparison(connection, [*ids, own_id], values)

        return self._write(work)

    def change_comparison(
        self, id: int, groups: Sequence[Sequence[int]], acceptable: int | None = None, version: int | None = None
    ) -> Comparison:
        """Judge again. With `version`, raises Conflict when somebody changed it since that was read."""

        def work(connection: Connection) -> Comparison:
            shown = _comparison(connection, id).shown
            writing.check_ranking(shown, groups, shown, acceptable)
            values = {"groups": [list(group) for group in groups], "acceptable": acceptable}
            writing.change(connection, tables.comparisons, id, version, values)
            return _comparison(connection, id)

        return self._write(work)

    def delete_comparison(self, id: int) -> None:
        self._set_deleted(tables.comparisons, id, True)

    def restore_comparison(self, id: int) -> None:
        self._set_deleted(tables.comparisons, id, False)

    def comparisons(self, rater: str | None = None) -> list[Comparison]:
        """All that are not deleted, newest last."""
        table = tables.comparisons
        query = _acts(table).order_by(table.c.id)
        if rater is not None:
            query = query.where(table.c.rater == rater)
        with self._read() as connection:
            rows = connection.execute(query).mappings().all()
            by_id = _responses(connection, tables.ids_in(rows))
        return [tables.to_comparison(row, by_id) for row in rows]

    def judged(self, rater: str | None = None) -> dict[int, int]:
        """prompt id -> how many comparisons and skips there are of it, by this rater or by all."""
        counts: dict[int, int] = {}
        for table in (tables.comparisons, tables.skips):
            query = select(table.c.prompt_id, func.count().label("n")).where(table.c.deleted.is_(False))
            query = query.group_by(table.c.prompt_id)
            if table is tables.skips:
                query = query.where(table.c.kind == "comparison")
            if rater is not None:
                query = query.where(table.c.rater == rater)
            for row in self._all(query):
                counts[row["prompt_id"]] = counts.get(row["prompt_id"], 0) + row["n"]
        return counts

    # Skips and undo

    def skip(self, rater: str, prompt_id: int, kind: str = "comparison") -> int:
        """This rater passes over this prompt, when comparing or writing ("demonstration"). Returns the skip's id."""

        def work(connection: Connection) -> int:
            writing.prompt_text(connection, prompt_id)
            values = {"rater": rater, "prompt_id": prompt_id, "kind": kind, "simulated": False}
            return writing.add_act(connection, tables.skips, values)

        return self._write(work)

    def skips(self, rater: str, kind: str = "comparison") -> list[int]:
        """The prompts this rater skipped, oldest first, each once."""
        table = tables.skips
        query = select(table.c.prompt_id).where(
            table.c.rater == rater, table.c.kind == kind, table.c.deleted.is_(False)
        )
        return list(dict.fromkeys(row["prompt_id"] for row in self._all(query.order_by(table.c.id))))

    def undo(self, rater: str, kinds: Sequence[str] = ("comparison", "skip")) -> tuple[str, int, int] | None:
        """Take back the rater's newest act of these kinds: (kind, its id, its prompt's id), or None when there is none.

        Kinds: comparison, demonstration, steps, skip (of comparing), skip:demonstration, skip:steps. As often as one
        likes.
        """
        return self._write(lambda connection: writing.undo(connection, rater, kinds))

    # Verdicts

    def add_verdict(
        self,
        prompt_id: int,
        shown: Sequence[int],
        choice: int | Literal["tie", "bad"],
        rater: str,
        simulated: bool = False,
        seconds: float | None = None,
        token: str | None = None,
    ) -> Verdict:
        """Store a blind vote over stored responses. `token`: see add_comparison."""
        if choice not in (*shown, "tie", "bad"):
            raise ValueError(f"The choice {choice!r} is none of the answers {list(shown)}, nor 'tie' nor 'bad'")
        values = {"prompt_id": prompt_id, "shown": list(shown), "choice": choice, "rater": rater}
        values |= {"simulated": simulated, "seconds": seconds, "token": token}

        def work(connection: Connection) -> Verdict:
            _check_responses(connection, prompt_id, shown)
            id = writing.add_act(connection, tables.verdicts, values)
            row = connection.execute(_acts(tables.verdicts, True).where(tables.verdicts.c.id == id)).mappings().one()
            return tables.to_verdict(row)

        return self._write(work)

    def verdicts(self) -> list[Verdict]:
        table = tables.verdicts
        return [tables.to_verdict(row) for row in self._all(_acts(table).order_by(table.c.id))]

    def delete_verdict(self, id: int) -> None:
        self._set_deleted(tables.verdicts, id, True)

    def restore_verdict(self, id: int) -> None:
        self._set_deleted(tables.verdicts, id, False)

    # Answers judged step by step

    def add_step_labels(
        self, prompt_id: int, steps: Sequence[str], labels: Sequence[int], rater: str, **more: Any
    ) -> StepLabels:
        """Store -1, 0 or 1 for each step of an answer; `more`: simulated, source, seconds, and token, see add_comparison.

        Raises ValueError for steps and labels that do not match, KeyError for a prompt that is not there.
        """
        values = {"prompt_id": prompt_id, "steps": list(steps), "labels": list(labels), "rater": rater}
        values |= {"simulated": False, "source": "person", "seconds": None, "token": None} | more

        def work(connection: Connection) -> StepLabels:
            writing.prompt_text(connection, prompt_id)
            writing.check_steps(steps, labels)
            id = writing.add_act(connection, tables.step_labels, values)
            query = _acts(tables.step_labels, True).where(tables.step_labels.c.id == id)
            return tables.to_step_labels(connection.execute(query).mappings().one())

        return self._write(work)

    def step_labels(self) -> list[StepLabels]:
        """All that are not deleted, newest last."""
        table = tables.step_labels
        return [tables.to_step_labels(row) for row in self._all(_acts(table).order_by(table.c.id))]

    def delete_step_labels(self, id: int) -> None:
        self._set_deleted(tables.step_labels, id, True)

    def restore_step_labels(self, id: int) -> None:
        self._set_deleted(tables.step_labels, id, False)

    # All together

    def add_many(self, rows: Sequence[Prompt | Demonstration | Comparison | StepLabels]) -> Added:
        """Store what a file held, thousands of rows in one transaction. Response ids are local to their row."""
        return self._write(lambda connection: writing.add_many(connection, rows))

    def counts(self) -> dict[str, int]:
        """How many of each are there, the deleted ones left out; of acts also how many are simulated. Answers judged
        by themselves are no comparisons here."""
        counts: dict[str, int] = {}
        with self._read() as connection:
            not_deleted = tables.prompts.c.deleted.is_(False)
            for table in (tables.prompts, tables.responses):
                query = select(func.count()).select_from(table)
                query = query.where(not_deleted) if table is tables.prompts else query
                counts[table.name] = connection.execute(query).scalar_one()
            for table in (tables.demonstrations, tables.comparisons, tables.verdicts, tables.step_labels):
                query = select(table.c.simulated, func.count().label("n")).join(tables.prompts)
                query = query.where(table.c.deleted.is_(False), not_deleted)
                if table is tables.comparisons:
                    query = query.where(func.json_array_length(table.c.shown) > 1)
                rows = connection.execute(query.group_by(table.c.simulated)).mappings()
                by_simulated: dict[bool, int] = {row["simulated"]: row["n"] for row in rows}
                counts[table.name] = sum(by_simulated.values())
                counts[f"simulated_{table.name}"] = by_simulated.get(True, 0)
        return counts

    def state(self) -> tuple[Any, ...]:
        """Something that is another after every change to prompts, demonstrations, comparisons or step labels: what was
        made of them need not be made again while it is the same."""
        parts: list[Any] = []
        with self._read() as connection:
            for table in (tables.prompts, tables.demonstrations, tables.comparisons, tables.step_labels):
                figures = [func.count(), func.max(table.c.id)]
                if "deleted" in table.c:
                    figures.append(func.sum(case((table.c.deleted, table.c.id), else_=0)))
                if "version" in table.c:
                    figures.append(func.sum(table.c.version))
                parts += connection.execute(select(*figures).select_from(table)).one()
        return tuple(parts)

    # How it reads and writes

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._writer.write(work)

    def _set_deleted(self, table: Table, id: int, deleted: bool) -> None:
        self._write(lambda connection: writing.set_deleted(connection, table, id, deleted))

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._readers.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise database.explain(error, self.where) from error
        except TimeoutError as error:
            raise database.StoreBusy(f"Too many readers of {self.where} at once; try again.") from error

    def _all(self, query: Query) -> Sequence[RowMapping]:
        with self._read() as connection:
            return connection.execute(query).mappings().all()


def _acts(table: Table, with_deleted: bool = False) -> Query:
    """Rows of a table with their prompt's text; those of a deleted prompt count as deleted."""
    query = select(table, tables.prompts.c.text.label("prompt")).join(
        tables.prompts, tables.prompts.c.id == table.c.prompt_id
    )
    return query if with_deleted else query.where(table.c.deleted.is_(False), tables.prompts.c.deleted.is_(False))


def _demonstration(connection: Connection, id: int) -> Demonstration:
    table = tables.demonstrations
    return tables.to_demonstration(connection.execute(_acts(table, True).where(table.c.id == id)).mappings().one())


def _comparison(connection: Connection, id: int) -> Comparison:
    table = tables.comparisons
    row = connection.execute(_acts(table, True).where(table.c.id == id)).mappings().first()
    if row is None:
        raise KeyError(f"There is no comparison {id}")
    return tables.to_comparison(row, _responses(connection, row["shown"]))


def _responses(connection: Connection, ids: Sequence[int]) -> dict[int, Response]:
    by_id: dict[int, Response] = {}
    for chunk in chunks(ids):
        rows = connection.execute(select(tables.responses).where(tables.responses.c.id.in_(chunk))).mappings()
        by_id |= {row["id"]: tables.to_response(row) for row in rows}
    return by_id


def _check_responses(connection: Connection, prompt_id: int, ids: Sequence[int]) -> None:
    by_id = _responses(connection, ids)
    for id in ids:
        if id not in by_id or by_id[id].prompt_id != prompt_id:
            raise KeyError(f"There is no answer {id} to the prompt {prompt_id}")


def _add_comparison(connection: Connection, ids: Sequence[int], values: dict[str, Any]) -> Comparison:
    writing.check_ranking(ids, values["groups"], values["shown"], values["acceptable"])
    _check_responses(connection, values["prompt_id"], ids)
    return _comparison(connection, writing.add_act(connection, tables.comparisons, values))
