"""Batches that were not published: what waits in `bronze_held`, and the two ways out.

A release judges the lines again, by the contract of now and the clock of then, and puts them where they
would have gone. Three tables cannot change in one commit, so bronze goes first and each commit carries
the release as an application transaction: a release that was cut short is finished by the next one,
and no line comes twice. A discard only marks the lines. They stay in the table, for nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.errors import UserError
from alert_assets.ingest.contract_judge import judged_lines, late_by, watermark
from alert_assets.ingest.kept import as_it_came, quarantine_rows, unpublished
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, records
from alert_assets.notify.facts import held_alert, held_decided_alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.audit_log import log_action
from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pyspark.sql import SparkSession

    from alert_assets.settings import Settings

RELEASED, DISCARDED = "released", "discarded"


@dataclass(frozen=True)
class HeldBatch:
    """A batch that was set aside.

    Attributes:
        number: what `release` and `discard` take.
        lines: lines of it, blank ones too.
        files: landing files they came from.
        because: the limits it broke.
        held_at: when its micro-batch began.
        decision: `released`, `discarded`, or None while it waits.
    """

    number: int
    lines: int
    files: tuple[str, ...]
    because: tuple[str, ...]
    held_at: datetime
    decision: str | None
    decided_at: datetime | None
    decided_by: str | None
    decided_why: str | None


@dataclass(frozen=True)
class ReleaseReport:
    """Where the lines of a released batch went."""

    rows: int
    quarantined: int


def held_batches(lakehouse: Lakehouse, *, waiting_only: bool = False) -> list[HeldBatch]:
    """The batches in bronze_held, the newest first. Needs no Spark."""
    found = lakehouse.rows(
        BRONZE_HELD,
        f"""
        SELECT batch AS number, count(*) AS lines, array_sort(array_agg(DISTINCT _source_file)) AS files,
            first_value(because) AS because, min(_ingested_at) AS held_at, max(decision) AS decision,
            max(decided_at) AS decided_at, max(decided_by) AS decided_by, max(decided_why) AS decided_why
        FROM t {"WHERE decision IS NULL" if waiting_only else ""} GROUP BY batch ORDER BY batch DESC
        """,
    )
    return [
        HeldBatch(**{**row, "files": tuple(row["files"]), "because": tuple(row["because"])}) for row in records(found)
    ]


def held_batch(lakehouse: Lakehouse, number: int) -> HeldBatch:
    """One of them.

    Raises:
        UserError: there is none of that number.
    """
    batches = {batch.number: batch for batch in held_batches(lakehouse)}
    if number not in batches:
        waiting = ", ".join(str(batch.number) for batch in batches.values() if batch.decision is None)
        raise UserError(f"No batch {number} was held. {f'Waiting: {waiting}' if waiting else 'No batch waits'}.")
    return batches[number]


def release(
    spark: Callable[[], SparkSession],
    lakehouse: Lakehouse,
    settings: Settings,
    number: int,
    *,
    who: str,
    why: str,
) -> ReleaseReport:
    """Publish a held batch: its lines go to bronze and quarantine, once.

    Raises:
        UserError: there is no such batch, or it was decided already.
    """
    with lakehouse.writing(BRONZE_EVENTS):
        _undecided(lakehouse, number)
        app = _release_app(number)
        if _is_unpublished(lakehouse, number):
            _publish(spark(), lakehouse, settings, number)
        _decide(lakehouse, number, RELEASED, who, why)
        commits = [_released(lakehouse, contract, app) for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE)]
        return ReleaseReport(*commits)


def discard(lakehouse: Lakehouse, number: int, *, who: str, why: str) -> int:
    """Decide that a held batch is never published; returns its lines, which stay in bronze_held.

    Raises:
        UserError: there is no such batch, or it was decided already, or its release has begun.
    """
    with lakehouse.writing(BRONZE_EVENTS):
        _undecided(lakehouse, number)
        if lakehouse.transaction(BRONZE_EVENTS, _release_app(number)) >= 0:
            raise UserError(
                f"Held batch {number} cannot be discarded: its release has begun and part of it is published. "
                f"Finish that with `alert-assets held release {number} --why ...`."
            )
        return _decide(lakehouse, number, DISCARDED, who, why)


def tell(lakehouse: Lakehouse, state: State, log: Callable[[str], None]) -> int:
    """Put a notification into the outbox for every waiting batch that has none; returns how many waiting ones.

    Lake and database cannot change in one transaction. A notification is identified by its batch, so every run
    may ask again, and one that died in between is made up for by the next.
    """
    waiting = held_batches(lakehouse, waiting_only=True)
    if not waiting:
        return 0
    with state.writing() as connection:
        for batch in waiting:
            now = utc_now()
            alert = held_alert(batch.number, batch.lines, batch.because, batch.files, batch.held_at, now)
            log(f"{alert.title}: {'; '.join(batch.because)}")
            raise_alert(connection, alert, f"batch_held/{lakehouse.uri(BRONZE_HELD)}/{batch.number}")
    return len(waiting)


def _release_app(number: int) -> str:
    return f"alert_assets/release/{number}"


def _undecided(lakehouse: Lakehouse, number: int) -> None:
    batch = held_batch(lakehouse, number)
    if batch.decision is not None:
        raise UserError(
            f"Held batch {number} was {batch.decision} by {batch.decided_by} at {batch.decided_at:%Y-%m-%d %H:%M:%S}Z "
            f"({batch.decided_why}). A decision stands."
        )


def _is_unpublished(lakehouse: Lakehouse, number: int) -> bool:
    return any(
        lakehouse.transaction(contract, _release_app(number)) < 0 for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE)
    )


def _publish(spark: SparkSession, lakehouse: Lakehouse, settings: Settings, number: int) -> None:
    from pyspark.sql import functions as F

    from alert_assets.ingest.judge import Limits

    held = lakehouse.snapshot(BRONZE_HELD)
    lines = held.read(spark).where(F.col("batch") == number)
    judged = judged_lines(lines.select(as_it_came(), "_source_file", "_landed_at", "_ingested_at"), Limits.of(settings))
    transactions, info = {_release_app(number): 1}, {"release": number}
    if lakehouse.transaction(BRONZE_EVENTS, _release_app(number)) < 0:
        events = judged.where(F.size("reasons") == 0).withColumn(
            "_late_by_seconds", late_by(watermark(lakehouse, settings))
        )
        with lakehouse.stage(BRONZE_EVENTS) as staged:
            staged.write(events)
            staged.commit(transactions, info)
    if lakehouse.transaction(BRONZE_QUARANTINE, _release_app(number)) < 0:
        with lakehouse.stage(BRONZE_QUARANTINE) as staged:
            staged.write(quarantine_rows(unpublished(judged, lakehouse, _release_app(number))))
            staged.commit(transactions, info)


def _released(lakehouse: Lakehouse, contract: Any, app: str) -> int:
    """Rows that the release's commit added."""
    return next(
        (int(commit["rows"]) for commit in lakehouse.commits(contract) if app in commit["transactions"]),
        0,
    )


def _decide(lakehouse: Lakehouse, number: int, decision: str, who: str, why: str) -> int:
    now = utc_now()
    texts = {"decision": decision, "decided_by": who, "decided_why": why}
    lines = lakehouse.update(BRONZE_HELD, f"batch = {number}", {**texts, "decided_at": now})
    with State(lakehouse.settings.state_url).writing() as connection:
        log_action(connection, at=now, who=who, action=f"held_{decision}", subject=f"held/{number}", why=why)
        key = f"batch_{decision}/{lakehouse.uri(BRONZE_HELD)}/{number}"
        raise_alert(connection, held_decided_alert(number, decision, who, now), key)
    return lines
