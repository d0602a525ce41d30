"""Connect to the state database: one serialized write transaction, or one consistent read.

The operational state (breakers, run outcomes, check results, outbox, notifications, audit log) is rows in a database,
SQLite by default and PostgreSQL by URL, because they are small, change often and have to change together: a fact, its
history and the notification it causes are one transaction. Writers are serialized (`BEGIN IMMEDIATE`, an advisory
lock), so what is read inside :meth:`State.writing` still holds when it is acted on; a write takes milliseconds and
there are few.

The first write creates the tables (:mod:`alert_assets.state.tables`) or brings older ones up to date
(:mod:`alert_assets.state.migrations`). Reading before that finds empty ones and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from alert_assets.errors import UserError
from alert_assets.state import migrations
from alert_assets.state.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long a writer waits for its turn, and a connection for the server.
_PATIENCE_SECONDS = 30
_CONNECT_SECONDS = 10

#: Key of the PostgreSQL advisory lock that writers take; any number that no other program uses in the database.
_WRITERS_LOCK = 0x616C657274  # "alert"

#: SQLite's files that this process has worked with: one that is gone since is not made anew, empty, in its place.
_worked_with: set[Path | None] = set()


class StateError(UserError):
    """The state database cannot be used; the message says why and what to do, without the password."""


class State:
    """The state database behind a URL. The constructor neither connects nor creates anything."""

    def __init__(self, url: str | SecretStr) -> None:
        """Take a SQLAlchemy URL of SQLite or PostgreSQL.

        Raises:
            StateError: it is no such URL.
        """
        self._url = _usable(url.get_secret_value() if isinstance(url, SecretStr) else url)

    @property
    def location(self) -> str:
        """The URL without what is secret in it."""
        query = {name: "***" if "pass" in name.lower() else value for name, value in self._url.query.items()}
        return self._url.set(query=query).render_as_string(hide_password=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction in which no other process writes; an exception rolls all of it back.

        Raises:
            StateError: the database cannot be reached or used, is busy for too long, or is of a newer version.
        """
        with self._explained():
            if folder := self._folder():
                self._check_it_is_there()
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _own(self._file)
            with self._engine.connect() as connection, connection.execution_options(takes_turn=True).begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'"))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
                revision = self._revision(connection)
                if revision is None:
                    migrations.create(connection)
                elif revision != migrations.HEAD:
                    migrations.upgrade(connection, revision)
                _worked_with.add(self._file)
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open one consistent view; of empty tables when nothing was ever written.

        Raises:
            StateError: as :meth:`writing`.
        """
        with self._explained():
            revision = None
            self._check_it_is_there()
            if self._file is None or self._file.exists():
                with self._opened() as opened:
                    revision = self._revision(opened)
                    if revision == migrations.HEAD:
                        _worked_with.add(self._file)
                        yield opened
                        return
            if revision is None:
                with _empty().connect() as connection:
                    yield connection
                return
            # An older program has written it, and its readers would miss tables.
            with self.writing():
                pass
            with self._opened() as opened:
                yield opened

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    @cached_property
    def _engine(self) -> Engine:
        # Connections are not kept: processes fork, SQLite files are removed, servers restart.
        if self._url.get_backend_name() == "postgresql":
            waits = {} if "connect_timeout" in self._url.query else {"connect_timeout": _CONNECT_SECONDS}
            return create_engine(self._url, poolclass=NullPool, connect_args=waits)
        engine = create_engine(self._url, poolclass=NullPool, connect_args={"timeout": _PATIENCE_SECONDS})
        event.listen(engine, "connect", _begin_is_ours)
        event.listen(engine, "begin", _begin)
        return engine

    @property
    def _file(self) -> Path | None:
        """SQLite's file."""
        return Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    def _check_it_is_there(self) -> None:
        """Raise where the file was there before: its disk is away, and an empty one would be in its place.

        Raises:
            StateError: as said.
        """
        if self._file is not None and self._file in _worked_with and not self._file.exists():
            raise StateError(
                f"The state database {self.location} (ALERTS_STATE_URL) is gone, and this process has worked with it. "
                "Put it back, or its disk; to begin with an empty one, start this process again."
            )

    def _folder(self) -> Path | None:
        return self._file and self._file.parent

    def _revision(self, connection: Connection) -> str | None:
        revision = migrations.revision_of(connection)
        if revision is not None and revision.zfill(4) not in migrations.REVISIONS:
            raise StateError(
                f"The state database {self.location} has schema revision {revision}; this program knows "
                f"{migrations.REVISIONS[0]} to {migrations.HEAD}. "
                + (
                    "An alert-assets before 6049a12"
                    if revision.zfill(4) < migrations.REVISIONS[0]
                    else "A newer alert-assets"
                )
                + " has written it: open it with that one, or set ALERTS_STATE_URL to a database of its own."
            )
        return revision

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of the database, not of our SQL, into one line that names the cause and the setting."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise StateError(
                f"The state database {self.location} needs the module {error.name}: "
                "pip install 'alert-assets[postgres]'."
            ) from error
        except (DatabaseError, OSError) as error:
            original = error.orig if isinstance(error, DatabaseError) else error
            # 42501: PostgreSQL's insufficient_privilege.
            is_theirs = isinstance(error, (OperationalError, OSError)) or type(error) is DatabaseError
            if not is_theirs and getattr(original, "sqlstate", None) != "42501":
                raise
            raise StateError(
                f"The state database {self.location} (ALERTS_STATE_URL) cannot be used: "
                f"{self._cause(original)}. Put that right, or set another URL, and try again."
            ) from (error if isinstance(error, OSError) else None)

    def _cause(self, error: BaseException | None) -> str:
        cause = " ".join(str(error).split()).rstrip(".")
        secrets = [self._url.password, *(v for n, v in self._url.query.items() if "pass" in n.lower())]
        for secret in secrets:
            cause = cause.replace(str(secret), "***") if secret else cause
        return cause


def _usable(given: str) -> URL:
    try:
        url = make_url(given)
        backend = url.get_backend_name()
        if backend == "postgresql" and url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        backend = ""
    if backend not in ("sqlite", "postgresql"):
        scheme = re.match(r"[\w+.-]+(?=:)", given)
        raise StateError(
            f"ALERTS_STATE_URL begins with {scheme[0] if scheme else 'no scheme'!r}; it has to be "
            "sqlite:////path/to/file.db or postgresql+psycopg://user@host/name."
        )
    if backend == "sqlite" and (url.database in (None, "", ":memory:") or str(url.database).startswith("file:")):
        raise StateError(
            f"ALERTS_STATE_URL is {given!r}, which names no file that processes could share: "
            "write it like sqlite:////path/to/file.db."
        )
    return url


def _own(file: Path | None) -> None:
    """Make SQLite's file before SQLite does, for its owner alone; `-wal` and `-shm` get the rights of the file."""
    if file is not None:
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _begin_is_ours(connection: sqlite3.Connection, _record: Any) -> None:
    """Keep Python's sqlite3 from beginning transactions, and let readers go on while one writes."""
    connection.isolation_level = None
    # Another process is changing it this moment, or the file is read-only: the next connection tries again.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads first and writes then can fail half-way, however long the timeout.
    takes_turn = connection.get_execution_options().get("takes_turn", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if takes_turn else "BEGIN")


@cache
def _empty() -> Engine:
    """Return our tables without a row, in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        metadata.create_all(connection)
    return engine


def upsert(connection: Connection, table: Table) -> Any:
    """Return an INSERT that takes `on_conflict_do_...`. Each dialect has its own, and one is imported."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def insert_once(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is there already; return whether it was not."""
    statement = upsert(connection, table).values(**values).on_conflict_do_nothing()
    # SQLAlchemy keeps the count of an INSERT only when it is asked to.
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1
