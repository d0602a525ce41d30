"""Databases of earlier programs, and of later ones: upgraded by one process, whole at any moment, or refused."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError

from alert_assets.state import migrations
from alert_assets.state.check_results import latest_checks
from alert_assets.state.database import State, StateError
from alert_assets.state.outbox import enqueue
from alert_assets.state.tables import metadata, outbox
from alert_assets_tests.breaker.rivals import processes, write_first

#: Written by that commit's program: two breakers that opened, an incident, and the messages about them.
MADE_BY_6049A12 = Path(__file__).parent / "made_by_6049a12"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which nothing was ever written."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'alerts.db'}"
    return request.getfixturevalue("postgres_url")


def execute(url: str, *statements: str) -> None:
    with create_engine(url).connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        for statement in statements:
            (driver.executescript if url.startswith("sqlite") else driver.execute)(statement)
        driver.commit()


def load(url: str) -> None:
    """The database as commit 6049a12 left it."""
    execute(url, (MADE_BY_6049A12 / f"{url.split(':')[0].split('+')[0]}.sql").read_text())


def rows(url: str) -> dict[str, int]:
    with State(url).reading() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(table)) or 0
            for name, table in metadata.tables.items()
        }


def differences(connection: Connection) -> list[object]:
    """Between what is there and what `state/tables.py` says."""
    options = {"include_name": lambda name, kind, _: (kind, name) != ("table", "alert_assets_schema")}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def triggers(connection: Connection) -> list[tuple[str, ...]]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    if connection.dialect.name == "postgresql":
        query = """SELECT tgname, pg_get_triggerdef(t.oid), prosrc FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid
            WHERE NOT tgisinternal ORDER BY tgname"""
    return [tuple(row) for row in connection.execute(text(query))]


@pytest.mark.parametrize("first", ["reads", "writes"])
def test_a_database_of_6049a12_is_taken_over(url: str, first: str) -> None:
    load(url)
    state = State(url)
    with state.reading() if first == "reads" else state.writing() as connection:
        assert latest_checks(connection, ["gold_incidents"])[0].check_name == "schema"
        notified = connection.scalars(text("SELECT notified_as FROM episodes")).all()
    assert differences_of(url) == []

    assert notified == ["notified"] * 3
    kept = {"outbox": 3, "audit": 1, "breaker_transitions": 2, "run_outcomes": 3, "check_results": 1}
    kept |= {"episodes": 3, "decisions": 9, "deliveries": 9, "channel_states": 3}
    found = rows(url)
    assert {name: found[name] for name in kept} == kept
    for table in ("audit", "breaker_transitions", "decisions"):
        with pytest.raises(DBAPIError, match=f"{table} is append-only"), state.writing() as connection:
            connection.execute(text(f"DELETE FROM {table}"))


def test_open_episodes_are_counted_from_an_occurrence(url: str) -> None:
    load(url)
    with State(url).writing() as connection:
        counts = connection.execute(
            text("SELECT e.count, o.count FROM episodes e JOIN occurrences o ON o.episode = e.id")
        ).all()
        number = connection.scalar(text("SELECT count(*) FROM episodes WHERE state <> 'resolved'"))
        unheard = connection.scalar(text("SELECT count(*) FROM episodes WHERE heard_at IS NULL OR fired_at IS NULL"))
    assert len(counts) == number == 3
    assert all(whole == part for whole, part in counts)
    assert unheard == 0


def differences_of(url: str) -> list[object]:
    with State(url).reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == migrations.HEAD
        return differences(connection)


def test_an_upgraded_database_is_as_a_new_one(url: str) -> None:
    """Columns and indexes, which alembic compares, and triggers, which it does not."""
    with State(url).writing() as connection:
        new = triggers(connection)
    assert differences_of(url) == []
    empty(url)
    load(url)
    with State(url).writing() as connection:
        assert triggers(connection) == new
    assert differences_of(url) == []


def empty(url: str) -> None:
    if url.startswith("sqlite"):
        for file in Path(url.removeprefix("sqlite:///")).parent.iterdir():
            file.unlink()
    else:
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


def test_revisions_are_numbered_without_a_gap_or_a_branch() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [step.revision for step in script.walk_revisions()][::-1] == migrations.REVISIONS
    assert script.get_heads() == [migrations.HEAD]


def test_rivals_upgrade_it_at_once(url: str) -> None:
    load(url)
    runs = ["rival1", "rival2"]
    with processes(write_first, *(([url], run) for run in runs)) as answers:
        assert sorted(answers.get(timeout=60) for _ in runs) == runs
    assert differences_of(url) == []
    assert rows(url)["run_outcomes"] == 3 + len(runs)


KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from alert_assets.state.database import State

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

with State(sys.argv[1]).writing():
    pass
"""


@pytest.mark.parametrize("after", ["CREATE TABLE alembic_version", "notified_severity", "UPDATE alembic_version"])
def test_killed_in_the_middle(url: str, after: str) -> None:
    load(url)
    killed = subprocess.run([sys.executable, "-c", KILLED, url, after], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows(url)["outbox"] == 3
    assert differences_of(url) == []


def test_killed_while_it_is_created(url: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, url, "CREATE TABLE outbox"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert rows(url)["outbox"] == 0
    with State(url).writing():
        pass
    assert differences_of(url) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "revision 9999.*A newer alert-assets"),
        ("UPDATE alert_assets_schema SET version = 9999", "revision 9999.*A newer alert-assets"),
        ("UPDATE alert_assets_schema SET version = 1", "revision 1.*An alert-assets before 6049a12"),
    ],
)
def test_what_this_program_does_not_know_is_refused(url: str, statement: str, said: str) -> None:
    load(url)
    if "alembic" in statement:
        with State(url).writing():
            pass
    execute(url, statement)
    for attempt in (State(url).reading, State(url).writing):
        with pytest.raises(StateError, match=f"{said} has written it: open it with that one, or set"), attempt():
            pass


@pytest.mark.parametrize("old", [True, False])
def test_6049a12_refuses_it(url: str, old: bool) -> None:
    """It does so when the number it counted is above 2."""
    if old:
        load(url)
    with State(url).writing() as connection:
        assert connection.scalar(text("SELECT version FROM alert_assets_schema")) == 3


def test_alembic_is_loaded_only_to_upgrade(url: str) -> None:
    """A quarter of a second that no tick, check or command should take."""
    code = """
import sys
from alert_assets.state.check_results import latest_checks
from alert_assets.state.database import State
for _ in range(2):
    with State(sys.argv[1]).reading() as connection:
        latest_checks(connection, ["t"])
    with State(sys.argv[1]).writing():
        pass
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, url], check=True)


def test_numbers_go_on_where_they_were(url: str) -> None:
    load(url)
    with State(url).writing() as connection:
        enqueue(connection, {"at": "2026-02-14T10:02:00Z", "kind": "test", "severity": "INFO", "title": "t"}, "new")
        assert connection.scalars(select(outbox.c.id).order_by(outbox.c.id)).all() == [1, 2, 3, 4]
