"""Opening the workspace's database: connections, migrations, and the one writer that commits in groups.

Durability: SQLite in WAL mode with synchronous=FULL; a write returns after the commit that holds it has
reached the disk. One commit costs one flush, so all writes that wait at the same moment share a commit.
Several processes may have the same database open: a write waits up to BUSY_SECONDS for the others.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

MIGRATIONS = Path(__file__).parent.parent / "migrations"
BUSY_SECONDS = 10.0
MAKING_SECONDS = 1.0  # a new database has its first page long before
GROUP = 256
T = TypeVar("T")
Write = tuple[Callable[[Connection], Any], Future[Any]]  # what to do in a transaction, and where its result goes


class StoreError(RuntimeError):
    """The workspace's database could not do what was asked; what it held before is untouched."""


class StoreBusy(StoreError):
    """Another program held the database for longer than BUSY_SECONDS; nothing of this write was saved."""


class StoreTooNew(StoreError):
    """The workspace was written by a newer workbench; it is left as it is."""


def url_of(path_or_url: str | Path) -> URL:
    """A database URL: as given, or that of the SQLite file at a path (its folder is made)."""
    if "://" in str(path_or_url):
        return make_url(str(path_or_url))
    if "\0" in str(path_or_url):
        raise StoreError(f"{str(path_or_url)!r} is not a database path: it holds a NUL character")
    path = Path(path_or_url).expanduser().absolute()
    if path.is_dir():
        raise StoreError(f"{path} is a folder; give the database file, for example {path / 'workbench.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"The folder {path.parent} cannot be created: {error.strerror}. Choose another workspace."
        raise StoreError(reason) from error
    return URL.create("sqlite", database=str(path))


def refuse_emptied(url: URL) -> None:
    """Raise StoreError for a SQLite file of zero bytes: what it held is lost, and a new workspace must not hide that.

    Another process that makes the file just now gives it its first page within moments; that is waited for.
    """
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    file, deadline = Path(url.database), time.monotonic() + MAKING_SECONDS
    while file.is_file() and file.stat().st_size == 0:
        if time.monotonic() > deadline:
            raise StoreError(
                f"{file} is empty (0 bytes), so whatever it held is lost; a full disk can do that. Put a backup in its "
                "place, or delete it to begin a new workspace."
            )
        time.sleep(0.02)


def place(url: URL) -> str:
    """The database in words: the file's path, or the URL without its password."""
    return (url.database if url.get_backend_name() == "sqlite" else None) or url.render_as_string()


def engines(url: URL) -> tuple[Engine, Engine]:
    """An engine for readers (a snapshot each) and one for the writer (one connection, locked from its start)."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True), create_engine(url, pool_size=1, max_overflow=0)
    limits = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    readers = create_engine(url, connect_args=limits, pool_size=8, max_overflow=56)
    writer = create_engine(url, connect_args=limits, pool_size=1, max_overflow=0)
    for engine, begin in ((readers, "BEGIN"), (writer, "BEGIN IMMEDIATE")):
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
    return readers, writer


def _set_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the module's own guesses break transactional DDL
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")
    connection.execute("PRAGMA foreign_keys=ON")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The switch ignores the busy timeout while another process makes it too, so it is tried again."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def explain(error: DBAPIError, where: str) -> StoreError:
    """The error of a database driver in words that say what is safe and what to do."""
    reason = str(error.orig)
    if "locked" in reason or "busy" in reason:
        return StoreBusy(
            f"Another program has held {where} for over {BUSY_SECONDS:.0f} s. This was not saved; "
            "what was saved before is safe. Close the other program and try again."
        )
    if "full" in reason:
        return StoreError(
            f"The disk is full, the one of {where}. This was not saved; what was saved before is safe. "
            "Free some space and try again."
        )
    if "not a database" in reason or "malformed" in reason:
        return StoreError(
            f"{where} is not a readable database ({reason}). Choose another workspace or restore a backup."
        )
    return StoreError(f"The database {where} refused: {reason}. This was not saved.")


def revisions() -> list[str]:
    """The known versions of the schema, oldest first, from the names of the migration files."""
    return sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def version_of(connection: Connection) -> str | None:
    """The database's version, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(readers: Engine, writer: Engine, where: str) -> Path | None:
    """Bring the database to the newest version, in one transaction; returns the backup made before, if any.

    Killed at any point, the database is as it was. Raises StoreTooNew for a version this program does not know.
    """
    with readers.connect() as connection:
        version = version_of(connection)
    versions = revisions()
    if version == versions[-1]:
        return None
    if version is not None and version not in versions:
        raise StoreTooNew(
            f"{where} was written by a newer workbench (its version is {version}, this one knows up to {versions[-1]}). "
            "It was left unchanged. Update the workbench, or choose another workspace."
        )
    backup = back_up(where, version) if version is not None and writer.dialect.name == "sqlite" else None
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with writer.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return backup


def back_up(where: str, version: str) -> Path:
    """Copy the database, consistent while others write, to `<name>-version-<version>.db` beside it."""
    source = Path(where)
    backup = source.with_name(f"{source.stem}-version-{version}{source.suffix}")
    number = 1
    while backup.exists():
        number += 1
        backup = source.with_name(f"{source.stem}-version-{version}-{number}{source.suffix}")
    draft = backup.with_name(backup.name + ".part")
    draft.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(draft)) as new:
        old.backup(new)
    with draft.open("rb+") as copy:
        os.fsync(copy.fileno())
    draft.replace(backup)
    return backup


class Writer:
    """One thread through which all writes go; the writes that wait together are committed together."""

    def __init__(self, engine: Engine, where: str):
        self.engine = engine
        self.where = where
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` inside a transaction; returns its result once that is durable, raises what it raised.

        `work` may run twice (its group is undone when another write of the group fails), so it must do
        nothing but use the connection.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise StoreError(f"{self.where} was closed; open the workspace again.")
            self._queue.put((work, future))
        return future.result()

    def close(self) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        is_open = True
        while is_open:
            group = [self._queue.get()]
            with contextlib.suppress(Empty):
                while len(group) < GROUP and group[-1] is not None:
                    group.append(self._queue.get_nowait())
            is_open = group[-1] is not None  # close() puts None, last
            self._commit([item for item in group if item is not None])

    def _commit(self, group: list[Write]) -> None:
        try:
            with self.engine.begin() as connection:
                results = [work(connection) for work, _ in group]
        except Exception as error:
            reason = explain(error, self.where) if isinstance(error, DBAPIError) else error
            if len(group) > 1 and not isinstance(reason, StoreBusy):
                for item in group:  # one of them is at fault: each alone, so that the others are saved
                    self._commit([item])
                return
            for _, future in group:
                future.set_exception(reason)
        else:
            for (_, future), result in zip(group, results, strict=True):
                future.set_result(result)
