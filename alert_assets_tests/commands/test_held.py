"""`alert-assets held` on real batches, without Spark; the release is tested with the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_HELD
from alert_assets.ingest.held import held_batches, tell
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets.state.database import State
from alert_assets.state.tables import audit_log, outbox
from alert_assets_tests.commands.lake import MINUTE, T0, write

if TYPE_CHECKING:
    from alert_assets_tests.commands.conftest import Run


def held_line(batch: int, raw: str, **fields: Any) -> dict[str, Any]:
    return {
        "batch": batch,
        "raw": raw,
        "because": [f"quarantine_share: {batch}0.0 % of 100 lines broke the event contract, at most 30 % may"],
        "_source_file": f"/landing/file-{batch}.jsonl",
        "_landed_at": T0,
        "_ingested_at": T0 + batch * MINUTE,
        **fields,
    }


@pytest.fixture
def lake(settings: Settings) -> Lakehouse:
    write(
        settings,
        BRONZE_HELD,
        held_line(4, "{"),
        held_line(4, '{"a": 1}', _source_file="/landing/other.jsonl"),
        held_line(5, "\x1b[31mred"),
        held_line(3, "x", decision="discarded", decided_at=T0, decided_by="bob", decided_why="a load test"),
    )
    return Lakehouse(settings)


def test_nothing_was_ever_held(run: Run, settings: Settings) -> None:
    assert run("held").out == "No held batch waits for a decision.\n"
    assert run("held", "--fail-if-any").code == 0
    assert run("held", "--json").json == {"waiting": 0, "batches": []}
    result = run("held", "show", "1")
    assert (result.code, result.err) == (2, "Error: No batch 1 was held. No batch waits.\n")


def test_the_waiting_batches_newest_first(run: Run, lake: Lakehouse) -> None:
    result = run("held")
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["5", "4"]
    assert "file-4.jsonl and 1 more" in lines[2]
    assert "waits" in lines[2]
    assert "40.0 % of 100 lines" in lines[2]
    assert run("held", "--fail-if-any").code == 1
    assert [batch["number"] for batch in run("held", "--all", "--json").json["batches"]] == [5, 4, 3]


def test_one_batch_in_full(run: Run, lake: Lakehouse) -> None:
    out = run("held", "show", "5").out
    assert "\x1b" not in out
    assert "\\u{001b}[31mred" in out
    assert "none yet: it waits" in out
    assert "/landing/file-5.jsonl" in out
    assert "discarded by bob" in run("held", "show", "3").out
    shown = run("held", "show", "4", "--json").json
    assert (shown["lines"], len(shown["sample"]), shown["decision"]) == (2, 2, None)


def test_addresses_in_a_sample_are_masked(run: Run, settings: Settings) -> None:
    write(settings, BRONZE_HELD, held_line(4, "jane.doe@example.com"))
    for shown in (run("held", "show", "4").out, run("held", "show", "4", "--json").out):
        assert "j***@example.com" in shown
        assert "jane.doe" not in shown


def test_a_discard_is_decided_once_with_a_reason(run: Run, lake: Lakehouse) -> None:
    assert run("held", "discard", "4").code == 2, "--why is required"
    result = run("held", "discard", "4", "--why", "a broken test", "--who", "ann")
    assert result.out == "Held batch 4 is discarded; its 2 lines stay in bronze_held.\n"
    (decided,) = [batch for batch in held_batches(lake) if batch.number == 4]
    assert (decided.decision, decided.decided_by, decided.decided_why) == ("discarded", "ann", "a broken test")
    assert [batch.number for batch in held_batches(lake, waiting_only=True)] == [5]
    again = run("held", "discard", "4", "--why", "again")
    assert again.code == 2
    assert "Held batch 4 was discarded by ann" in again.err
    with State(load_settings().state_url).reading() as connection:
        (told,) = connection.execute(outbox.select()).mappings().all()
        (action,) = connection.execute(audit_log.select()).mappings().all()
    assert (told["payload"]["episode"], told["payload"]["status"]) == ("held/4", "resolved")
    assert (action["who"], action["action"], action["why"]) == ("ann", "held_discarded", "a broken test")
    unknown = run("held", "discard", "9", "--why", "?")
    assert unknown.err == "Error: No batch 9 was held. Waiting: 5.\n"


def test_people_are_told_of_each_waiting_batch_once(settings: Settings, lake: Lakehouse) -> None:
    state, log = State(settings.state_url), list[str]()
    assert tell(lake, state, log.append) == 2
    assert tell(lake, state, log.append) == 2
    with state.reading() as connection:
        rows = connection.execute(outbox.select().order_by(outbox.c.id)).mappings().all()
    assert [(row["kind"], row["severity"], row["payload"]["episode"]) for row in rows] == [
        ("batch_held", "HIGH", "held/5"),
        ("batch_held", "HIGH", "held/4"),
    ]
    assert log[0].startswith("Held batch 5 of 1 line waits for a decision: quarantine_share: 50.0 %")
