"""The state database on SQLite and PostgreSQL: made when needed, one writer at a time, history that stays."""

from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from alert_assets.state import database as state_module
from alert_assets.state.audit_log import log_action
from alert_assets.state.check_results import CheckResult, latest_checks, record_check
from alert_assets.state.database import State, StateError
from alert_assets.state.outbox import enqueue
from alert_assets.state.tables import audit_log, breaker_transitions, outbox, run_outcomes

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 2, 14, 10, 0, 0, 123456, tzinfo=UTC)
ALERT = {"at": AT.isoformat(), "kind": "test", "severity": "INFO", "title": "決 \x00"}


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    """A database in which nothing was ever written."""
    if request.param == "sqlite":
        return State(f"sqlite:///{tmp_path / 'state' / 'alerts.db'}")
    return State(request.getfixturevalue("postgres_url"))


def write(state: State, key: str) -> bool:
    with state.writing() as connection:
        return enqueue(connection, ALERT, key)


def check(connection: object, name: str, at: datetime = AT, **fields: object) -> None:
    values = {"table_name": "t", "passed": True, "severity": "ERROR", "blocking": True, **fields}
    record_check(connection, check_name=name, at=at, **values)  # type: ignore[arg-type]


def test_reading_before_anything_was_written(state: State, tmp_path: Path) -> None:
    with state.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(outbox)) == 0
        assert latest_checks(connection, ["t"]) == []
    assert list(tmp_path.iterdir()) == []
    if not state.location.startswith("sqlite"):
        with state._engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")) == 0


def test_a_file_in_which_nothing_is_yet(tmp_path: Path) -> None:
    """A first writer that was killed leaves one."""
    (tmp_path / "alerts.db").touch()
    state = State(f"sqlite:///{tmp_path / 'alerts.db'}")
    with state.reading() as connection:
        assert latest_checks(connection, ["t"]) == []
    assert write(state, "k")


def test_times_come_back_as_they_were(state: State) -> None:
    east = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with state.writing() as connection:
        check(connection, "a", east)
    with state.reading() as connection:
        (result,) = latest_checks(connection, ["t"])
    assert result.at == AT
    assert result.at.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_a_bug(state: State) -> None:
    with pytest.raises(Exception, match="has no time zone"), state.writing() as connection:
        check(connection, "a", AT.replace(tzinfo=None))


def test_a_notification_is_written_once(state: State) -> None:
    assert write(state, "k1")
    assert not write(state, "k1")
    assert write(state, "k2")
    with state.reading() as connection:
        rows = connection.execute(select(outbox).order_by(outbox.c.id)).mappings().all()
    assert [(row["idempotency_key"], row["status"]) for row in rows] == [("k1", "pending"), ("k2", "pending")]
    assert (rows[0]["subject"], rows[0]["payload"], rows[0]["created_at"]) == ("決 \ufffd", ALERT, AT)


def test_a_fact_and_its_notification_go_together(state: State) -> None:
    write(state, "before")
    with pytest.raises(RuntimeError, match="half-way"), state.writing() as connection:
        check(connection, "a")
        enqueue(connection, ALERT, "k")
        raise RuntimeError("half-way")
    with state.reading() as connection:
        assert connection.scalars(select(outbox.c.idempotency_key)).all() == ["before"]
        assert latest_checks(connection, ["t"]) == []


@pytest.mark.parametrize("table", ["audit", "breaker_transitions"])
def test_history_stays(state: State, table: str) -> None:
    step = {"breaker": "b", "at": AT, "from_state": "CLOSED", "to_state": "OPEN", "cause": "trip", "reason": "r"}
    with state.writing() as connection:
        log_action(connection, at=AT, who="ana", action="breaker_open", subject="b", why="x")
        connection.execute(breaker_transitions.insert().values(step))
    replace = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}"
    attempts = [f"UPDATE {table} SET at = at", f"DELETE FROM {table}"]
    attempts.append(replace if state.location.startswith("sqlite") else f"TRUNCATE {table}")
    for attempt in attempts:
        with pytest.raises(DBAPIError, match=f"{table} is append-only"), state.writing() as connection:
            connection.execute(text(attempt))
    with state.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(audit_log)) == 1
        assert connection.scalar(select(func.count()).select_from(breaker_transitions)) == 1


def test_the_latest_result_of_a_check(state: State) -> None:
    minute = timedelta(minutes=1)
    with state.writing() as connection:
        check(connection, "b", passed=False, description="3 nulls", run_id="r1", checked_batch_id=7)
        check(connection, "a", passed=False)
        check(connection, "a", AT + minute, severity="WARN", blocking=False)
        check(connection, "a", AT - minute, passed=False)  # an older run that ended later
        check(connection, "c", table_name="other")
    with state.reading() as connection:
        assert latest_checks(connection, ["t", "nothing"]) == [
            CheckResult("t", "a", True, "WARN", False, AT + minute),
            CheckResult("t", "b", False, "ERROR", True, AT, "r1", "3 nulls", 7),
        ]
        assert latest_checks(connection, []) == []


def test_writers_take_turns(state: State) -> None:
    """Each reads a number and writes the next one: none is lost."""

    def add_one(_: int) -> None:
        with state.writing() as connection:
            found = latest_checks(connection, ["t"])
            number = found[0].checked_batch_id or 0 if found else 0
            check(connection, "a", checked_batch_id=number + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(40)))
    with state.reading() as connection:
        assert latest_checks(connection, ["t"])[0].checked_batch_id == 40


def test_readers_do_not_wait_and_see_one_moment(state: State) -> None:
    write(state, "k1")
    with state.reading() as reader:
        assert reader.scalars(select(outbox.c.idempotency_key)).all() == ["k1"]
        with state.writing() as writer:
            enqueue(writer, ALERT, "k2")
            assert reader.scalars(select(outbox.c.idempotency_key)).all() == ["k1"]
        assert reader.scalars(select(outbox.c.idempotency_key)).all() == ["k1"]


def test_a_writer_that_does_not_let_go(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_PATIENCE_SECONDS", 0.2)
    with state.writing(), pytest.raises(StateError, match=r"cannot be used: .*lock"):
        write(State(state._url.render_as_string(hide_password=False)), "k")


def test_what_is_our_own_mistake_is_no_user_error(state: State) -> None:
    bad = {"run_id": "r", "breaker": "b", "outcome": "so-so", "at": AT, "reported_by": "x"}
    with pytest.raises(IntegrityError), state.writing() as connection:
        connection.execute(run_outcomes.insert().values(bad))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ana:s3cret@127.0.0.1:1/alerts",
        "postgresql://ana:s3cret@127.0.0.1:1/alerts",
        "postgresql+psycopg://ana@127.0.0.1:1/alerts?password=s3cret&sslpassword=s3cret",
    ],
)
def test_a_server_that_is_not_there(url: str) -> None:
    state = State(url)
    for attempt in (state.reading, state.writing):
        with pytest.raises(StateError) as raised, attempt():
            pass
        assert "127.0.0.1" in str(raised.value)
        assert "ALERTS_STATE_URL" in str(raised.value)
        assert "s3cret" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_wrong_database(postgres_cluster: str) -> None:
    with pytest.raises(StateError, match='database "nowhere" does not exist'):
        write(State(postgres_cluster.replace("/postgres?", "/nowhere?")), "k")


def test_without_the_right_to_make_tables(postgres_url: str) -> None:
    with State(postgres_url)._engine.connect() as connection, connection.begin():
        connection.execute(text("DROP ROLE IF EXISTS guest"))
        connection.execute(text("CREATE ROLE guest LOGIN"))
    guest = State(postgres_url.replace("postgres@", "guest@"))
    with guest.reading() as connection:
        assert latest_checks(connection, ["t"]) == []
    with pytest.raises(StateError, match="permission denied"):
        write(guest, "k")


def test_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StateError, match=r"needs the module psycopg: pip install 'alert-assets\[postgres\]'"):
        write(State("postgresql+psycopg://ana@127.0.0.1:1/alerts"), "k")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://ana:s3cret@host/alerts", "begins with 'mysql'"),
        ("oracle+nothing://host", r"begins with 'oracle\+nothing'"),
        ("nonsense", "no scheme"),
        ("sqlite://", "no file that processes could share"),
        ("sqlite:///:memory:", "no file that processes could share"),
        ("sqlite:///file:x?mode=memory&uri=true", "no file that processes could share"),
    ],
)
def test_what_is_no_state_database(url: str, said: str) -> None:
    with pytest.raises(StateError, match=said) as raised:
        State(url)
    assert "s3cret" not in str(raised.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "alerts.db").write_text("something else entirely, and long enough to be looked at\n" * 100)
    state = State(f"sqlite:///{tmp_path / 'alerts.db'}")
    with pytest.raises(StateError, match="file is not a database"), state.reading():
        pass
    with pytest.raises(StateError, match="file is not a database"):
        write(state, "k")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateError, match=r"cannot be used: .*(exists|Not a directory)"):
        write(State(f"sqlite:///{tmp_path / 'state' / 'alerts.db'}"), "k")


def test_folder_and_file_are_of_their_owner_alone(tmp_path: Path) -> None:
    """Also under the most generous umask; a folder that is there keeps its rights."""
    state, shared = State(f"sqlite:///{tmp_path / 'state' / 'alerts.db'}"), tmp_path / "shared"
    shared.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        with state.writing():
            made = [tmp_path / "state", *tmp_path.glob("state/*")]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
        write(State(f"sqlite:///{shared / 'alerts.db'}"), "a")
    finally:
        os.umask(before)
    assert modes == {"state": 0o700, "alerts.db": 0o600, "alerts.db-wal": 0o600, "alerts.db-shm": 0o600}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (shared, shared / "alerts.db")] == [0o755, 0o600]
