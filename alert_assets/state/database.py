"""The operational state: breakers, outcomes, check results, what people are to be told, who did what.

Rows in a database, SQLite by default and PostgreSQL by URL, because they are small, change often and have
to change together: a fact, its history and the notification it causes are one transaction. Writers take
turns (`BEGIN IMMEDIATE`, an advisory lock), so whoever reads and then writes inside
:meth:`State.writing` decides on what is still true; a write takes milliseconds and there are few.

Tables are made on the first write. Reading before that finds empty ones and leaves nothing behind.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from sqlalchemy import (
    DDL,
    JSON,
    URL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool
from sqlalchemy.types import TypeDecorator

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alert_assets.notify.alert import Alert

#: Grows when the tables change in a way that an older program would get wrong.
SCHEMA_VERSION = 2

#: How long a writer waits for its turn, and a connection for the server.
_PATIENCE_SECONDS = 30
_CONNECT_SECONDS = 10

#: Key of the PostgreSQL advisory lock that writers take; any number nobody else uses in the database.
_WRITERS_LOCK = 0x616C657274  # "alert"


class StateError(UserError):
    """The state database cannot be used; the message says why and what to do, without the password."""


class Utc(TypeDecorator[datetime]):
    """An aware time. SQLite has no type for one and stores UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def storable(words: str) -> str:
    """Without what a database refuses to store: NUL, half a surrogate pair."""
    return words.replace("\x00", "\ufffd").encode(errors="replace").decode()


class Words(TypeDecorator[str]):
    """Text that may come from outside, made :func:`storable`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


#: Every table of the database. Other modules put theirs on it, and :func:`_create_tables` knows them.
metadata = MetaData()

#: SQLite counts up by itself only in a column of exactly this type.
Id = BigInteger().with_variant(Integer, "sqlite")

_schema = Table(
    "alert_assets_schema",
    metadata,
    Column("one_row", Integer, CheckConstraint("one_row = 1"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("made_at", Utc, nullable=False),
)

#: One row a breaker that ever counted anything. `forced` tells a state that somebody holds; `period` grows
#: each time it closes, and outcomes count in the period they came in.
breaker_states = Table(
    "circuit_breakers",
    metadata,
    Column("breaker", Words, primary_key=True),
    Column("state", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("since", Utc),
    Column("cause", Text),
    Column("reason", Words),
    Column("period", BigInteger, nullable=False),
    Column("consecutive_failures", Integer, nullable=False),
    Column("retry_at", Utc),
    Column("timeout_seconds", Float),
    Column("probe_run_id", Words),
    Column("probe_heard_at", Utc),
    Column("probe_host", Words),
    Column("probe_pid", Integer),
    Column("probe_started", Float),
    Column("forced_by", Words),
    Column("forced_why", Words),
    Column("forced_until", Utc),
)

#: What happened to the breakers; append-only.
breaker_transitions = Table(
    "breaker_transitions",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("breaker", Words, nullable=False),
    Column("at", Utc, nullable=False),
    Column("from_state", Text, nullable=False),
    Column("to_state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("reason", Words, nullable=False),
    Column("run_id", Words),
    Column("who", Words),
    Column("until", Utc),
    Index("breaker_transitions_of", "breaker", "id"),
    sqlite_autoincrement=True,
)

#: Runs that were let through, so that one who asks twice gets the same answer.
breaker_admissions = Table(
    "breaker_admissions",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("breaker", Words, primary_key=True),
    Column("at", Utc, nullable=False),
    Column("as_probe", Boolean, nullable=False),
    Column("job", Words),
)

#: How runs ended. The first report counts; `period` is the breaker's when it did, null when it did not
#: (open, probing, held by somebody, neutral).
run_outcomes = Table(
    "run_outcomes",
    metadata,
    Column("run_id", Words, primary_key=True),
    Column("breaker", Words, primary_key=True),
    Column("outcome", Text, CheckConstraint("outcome IN ('success', 'failure', 'neutral')"), nullable=False),
    Column("at", Utc, nullable=False),
    Column("period", BigInteger),
    Column("reported_by", Words, nullable=False),
    Column("error", Words),
    Column("job", Words),
    Column("started_at", Utc),
    Column("cpu_peak_percent", Float),
    Column("memory_peak_percent", Float),
    Index("run_outcomes_counted", "breaker", "period", "at"),
    Index("run_outcomes_at", "at"),
)

#: The latest result of each check.
check_results = Table(
    "check_results",
    metadata,
    Column("table_name", Words, primary_key=True),
    Column("check_name", Words, primary_key=True),
    Column("passed", Boolean, nullable=False),
    Column("severity", Text, nullable=False),
    Column("blocking", Boolean, nullable=False),
    Column("at", Utc, nullable=False),
    Column("run_id", Words),
    Column("description", Words),
    Column("checked_batch_id", BigInteger),
)

#: What people are to be told, written with the fact that caused it.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("created_at", Utc, nullable=False),
    Column("kind", Text, nullable=False),
    Column("idempotency_key", Words, nullable=False, unique=True),
    Column("severity", Text, nullable=False),
    Column("subject", Words, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Index("outbox_by_status", "status", "id"),
    sqlite_autoincrement=True,
)

#: Who did what by hand, and why; append-only.
audit_log = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("who", Words, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("details", JSON, nullable=False),
    sqlite_autoincrement=True,
)


def append_only(table: Table) -> None:
    """Have both databases refuse that rows of the table are changed or removed."""
    name = table.name
    refuse = f"SELECT RAISE(ABORT, '{name} is append-only'); END"
    for ddl in (
        f"CREATE TRIGGER {name}_update BEFORE UPDATE ON {name} BEGIN {refuse}",
        f"CREATE TRIGGER {name}_delete BEFORE DELETE ON {name} BEGIN {refuse}",
        # INSERT OR REPLACE removes the old row without asking the trigger above.
        f"CREATE TRIGGER {name}_replace BEFORE INSERT ON {name} "
        f"WHEN EXISTS (SELECT 1 FROM {name} WHERE id = NEW.id) BEGIN {refuse}",
    ):
        event.listen(table, "after_create", DDL(ddl).execute_if(dialect="sqlite"))
    for ddl in (
        f"CREATE FUNCTION {name}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{name} is append-only'; END $$",
        f"CREATE TRIGGER {name}_rows BEFORE UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION {name}_refuse()",
        f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {name} FOR EACH STATEMENT EXECUTE FUNCTION {name}_refuse()",
    ):
        event.listen(table, "after_create", DDL(ddl).execute_if(dialect="postgresql"))


append_only(breaker_transitions)
append_only(audit_log)


class State:
    """The state database behind a URL. Making one neither connects nor creates anything."""

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
        """A transaction in which nobody else writes; an exception undoes all of it.

        Raises:
            StateError: the database cannot be reached or used, is busy for too long, or is of a newer version.
        """
        with self._explained():
            if folder := self._folder():
                folder.mkdir(parents=True, exist_ok=True)
            with self._engine.connect() as connection, connection.execution_options(takes_turn=True).begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE_SECONDS}s'"))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
                if self._version(connection) != SCHEMA_VERSION:
                    _make(connection)
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view; of empty tables when nothing was ever written.

        Raises:
            StateError: as :meth:`writing`.
        """
        with self._explained():
            file = self._file
            if file is not None and not file.exists():
                with _empty().connect() as connection:
                    yield connection
                return
            with self._opened() as opened:
                version = self._version(opened)
                if version == SCHEMA_VERSION:
                    yield opened
                    return
            if version is None:
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

    def _folder(self) -> Path | None:
        return self._file and self._file.parent

    def _version(self, connection: Connection) -> int | None:
        """Of the tables that are there; None when there are none."""
        if not inspect(connection).has_table(_schema.name):
            return None
        version = connection.scalar(select(_schema.c.version)) or 0
        if version > SCHEMA_VERSION:
            raise StateError(
                f"The state database {self.location} has schema version {version}; this program knows "
                f"{SCHEMA_VERSION}. A newer alert-assets has written it: upgrade this one, or set ALERTS_STATE_URL "
                "to a database of its own."
            )
        return version

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What is wrong with the database, not with our SQL, in one line for whoever runs it."""
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


def _begin_is_ours(connection: sqlite3.Connection, _record: Any) -> None:
    """Keep Python's sqlite3 from beginning transactions, and let readers go on while one writes."""
    connection.isolation_level = None
    # Somebody else is changing it this moment, or the file is read-only: the next connection will see.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")


def _begin(connection: Connection) -> None:
    # A deferred transaction that reads first and writes then can fail half-way, whatever the timeout.
    takes_turn = connection.get_execution_options().get("takes_turn", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if takes_turn else "BEGIN")


@cache
def _empty() -> Engine:
    """Our tables without a row, in memory."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        _create_tables(connection)
    return engine


def _create_tables(connection: Connection) -> None:
    """Those that are missing."""
    # They stand on the tables here, so they can only be imported when these are there.
    import alert_assets.notify.store.tables  # noqa: F401

    metadata.create_all(connection)


def _make(connection: Connection) -> None:
    """Bring a database of any earlier version, or of none, to this one: so far, tables have only been added."""
    _create_tables(connection)
    if not connection.execute(_schema.update().values(version=SCHEMA_VERSION)).rowcount:
        made_at = datetime.now(UTC)
        connection.execute(_schema.insert().values(one_row=1, version=SCHEMA_VERSION, made_at=made_at))


def _upsert(connection: Connection, table: Table) -> Any:
    """An INSERT that can say what to do about a row that is there. Each dialect has its own, and one is imported."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def insert_once(connection: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key is there already; whether it was not."""
    statement = _upsert(connection, table).values(**values).on_conflict_do_nothing()
    # SQLAlchemy keeps the count of an INSERT only when it is asked to.
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def notify(
    connection: Connection,
    *,
    at: datetime,
    kind: str,
    key: str,
    severity: str,
    subject: str,
    payload: Mapping[str, Any],
) -> bool:
    """Put a notification into the outbox, once for each `key`; whether it is new.

    Args:
        severity: CRITICAL, HIGH, MEDIUM, LOW or INFO.
        payload: what JSON knows; times as text.
    """
    return insert_once(
        connection,
        outbox,
        created_at=at,
        kind=kind,
        idempotency_key=key,
        severity=severity,
        subject=subject,
        payload=dict(payload),
    )


def raise_alert(connection: Connection, alert: Alert, key: str) -> bool:
    """Put an alert into the outbox, in the transaction of the fact that causes it; whether it is new.

    Args:
        connection: of :meth:`State.writing`.
        key: names the fact; the same one is told once.
    """
    return notify(
        connection,
        at=alert.at,
        kind=alert.kind,
        key=key,
        severity=alert.severity,
        subject=alert.title,
        payload=alert.shortened().to_json(),
    )


def audit(
    connection: Connection,
    *,
    at: datetime,
    who: str,
    action: str,
    subject: str,
    why: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down what somebody did by hand."""
    connection.execute(
        audit_log.insert().values(at=at, who=who, action=action, subject=subject, why=why, details=dict(details or {}))
    )


@dataclass(frozen=True)
class CheckResult:
    """How a check of a table last came out.

    Attributes:
        severity: ERROR or WARN.
        blocking: whether a failure keeps the table's consumers from running.
        checked_batch_id: the table's `_batch_id` up to which the check has passed, or has judged what arrived.
    """

    table_name: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    at: datetime
    run_id: str | None = None
    description: str | None = None
    checked_batch_id: int | None = None


def record_check(
    connection: Connection,
    *,
    table_name: str,
    check_name: str,
    passed: bool,
    severity: str,
    blocking: bool,
    at: datetime,
    run_id: str | None = None,
    description: str | None = None,
    checked_batch_id: int | None = None,
) -> None:
    """Keep a result as its check's latest, unless there is a later one; what is what: :class:`CheckResult`."""
    statement = _upsert(connection, check_results).values(
        table_name=table_name,
        check_name=check_name,
        passed=passed,
        severity=severity,
        blocking=blocking,
        at=at,
        run_id=run_id,
        description=description,
        checked_batch_id=checked_batch_id,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["table_name", "check_name"],
            set_={column.name: column for column in statement.excluded},
            where=check_results.c.at <= statement.excluded.at,
        )
    )


def latest_checks(connection: Connection, tables: Iterable[str]) -> list[CheckResult]:
    """The latest result of each check of these tables, by table and check."""
    found = connection.execute(
        select(check_results)
        .where(check_results.c.table_name.in_(list(tables)))
        .order_by(check_results.c.table_name, check_results.c.check_name)
    )
    return [CheckResult(**row) for row in found.mappings()]
