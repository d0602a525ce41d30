"""Quarantine to bronze: its open lines are judged again, and those that pass now move, once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.ingest.contract_judge import judged_lines, plain_lines
from alert_assets.ingest.kept import as_it_came, with_published
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.sql import literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyspark.sql import Column, DataFrame, SparkSession

    from alert_assets.ingest.judge import Limits
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

#: Application transaction that numbers the replays of quarantine, in bronze and in quarantine.
REPLAY_APP = "alert_assets/replay"


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did: lines judged again, and those of them that moved to bronze."""

    judged: int = 0
    replayed: int = 0


def replay_quarantine(
    spark: Callable[[], SparkSession],
    lakehouse: Lakehouse,
    settings: Settings,
    log: Callable[[str], None],
    reason: str | None = None,
) -> ReplayReport:
    """Judge the open lines of quarantine again and move those that pass now to bronze, once.

    Lines that no mapping fitted are mapped again first (:mod:`alert_assets.ingest.remapped`), without Spark.

    Two tables cannot change in one commit. Bronze goes first, and its commit names the replay by number
    and says how it was done (quarantine's last batch, the clock, the reason asked for). If the process dies
    before quarantine is marked, the next replay sees the number missing there, repeats the same judgement
    to mark the same lines, and only then does its own. Lines that came to quarantine in between stay as
    they are.

    Args:
        reason: only lines with this reason; all, when not given.
    """
    from alert_assets.ingest.judge import Limits

    with lakehouse.writing(BRONZE_EVENTS):
        lakehouse.bring_up_to_date(BRONZE_EVENTS, BRONZE_QUARANTINE)
        _finish_replay(spark, lakehouse, settings, log)
        mapped, moved = _map_again(lakehouse, settings, log, reason)
        if not _others_are_open(lakehouse, reason):
            return ReplayReport(mapped, moved)
        quarantine = lakehouse.snapshot(BRONZE_QUARANTINE)
        plan = {
            "quarantine_batch_id": quarantine.last_batch_id,
            "judged_at": utc_now().isoformat(),
            "reason": reason,
            "limits": asdict(Limits.of(settings)),
        }
        judged = _judge_again(spark(), quarantine, plan, Limits.of(settings))
        open_lines = judged.where("_open").count()
        number = lakehouse.transaction(BRONZE_EVENTS, REPLAY_APP) + 1
        log(f"{open_lines:,} open lines are judged again")
        with lakehouse.stage(BRONZE_EVENTS) as events:
            events.write(_replayed_events(judged))
            replayed = events.commit({REPLAY_APP: number}, {"replay": plan})
        _mark_replayed(lakehouse, quarantine, judged, number)
        log(f"{replayed:,} of them passed and are in bronze now")
        return ReplayReport(moved + open_lines, moved + replayed)


def _map_again(
    lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None], reason: str | None
) -> tuple[int, int]:
    """Map what no mapping fitted again; returns lines tried, and lines that moved."""
    from alert_assets.ingest.remapped import replay_unmapped

    tried, moved = replay_unmapped(lakehouse, settings, partial(plain_lines, settings, None), reason)
    if tried:
        log(f"{tried:,} lines that no mapping fitted are mapped again; {moved:,} of them are events in bronze now")
    return tried, moved


def _others_are_open(lakehouse: Lakehouse, reason: str | None) -> bool:
    """Whether lines wait for the judge, not for a mapping."""
    from alert_assets.ingest.remapped import IS_UNMAPPED

    asked = f"AND array_has(reasons, {literal(reason)})" if reason else ""
    found = lakehouse.rows(
        BRONZE_QUARANTINE, f"SELECT 1 FROM t WHERE replayed_at IS NULL AND NOT {IS_UNMAPPED} {asked} LIMIT 1"
    )
    return bool(found.num_rows)


def _finish_replay(
    spark: Callable[[], SparkSession], lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None]
) -> None:
    from pyspark.sql import functions as F

    from alert_assets.ingest.judge import Limits

    begun = lakehouse.transaction(BRONZE_EVENTS, REPLAY_APP)
    if begun <= lakehouse.transaction(BRONZE_QUARANTINE, REPLAY_APP):
        return
    plan = next(commit["replay"] for commit in reversed(lakehouse.commits(BRONZE_EVENTS)) if "replay" in commit)
    log(f"Replay {begun} was cut short; its lines are marked first")
    quarantine = lakehouse.snapshot(BRONZE_QUARANTINE)
    # A replay of the release before judged by its own contract, and no other limit than this.
    limits = plan.get("limits") or {"max_future_skew_minutes": plan["max_future_skew_minutes"]}
    judged = _judge_again(spark(), quarantine, plan, replace(Limits.of(settings), **limits))
    moved = with_published(judged, lakehouse, REPLAY_APP).withColumn("_passes", F.col("_passes") & F.col("_published"))
    _mark_replayed(lakehouse, quarantine, moved, begun)


def _judge_again(spark: SparkSession, quarantine: Snapshot, plan: dict[str, Any], limits: Limits) -> DataFrame:
    """Quarantine's rows under `_row`, judged by the plan's clock; `_open` where it asked for them."""
    from pyspark.sql import functions as F

    rows = quarantine.read(spark)
    planned = F.col("_batch_id") <= plan["quarantine_batch_id"]
    asked = F.array_contains("reasons", plan["reason"]) if plan["reason"] else F.lit(True)
    lines = rows.select(
        as_it_came(),
        "_source_file",
        "_landed_at",
        F.lit(datetime.fromisoformat(plan["judged_at"])).alias("_ingested_at"),
        (planned & F.col("replayed_at").isNull() & asked).alias("_open"),
        F.struct(*rows.columns).alias("_row"),
    )
    judged = judged_lines(lines, limits)
    return judged.withColumn("_passes", F.col("_open") & F.coalesce(F.size("reasons") == 0, F.lit(False)))


def _replayed_events(judged: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return judged.where("_passes").withColumn("_late_by_seconds", F.lit(None).cast("double"))


def _mark_replayed(lakehouse: Lakehouse, quarantine: Snapshot, judged: DataFrame, number: int) -> None:
    from pyspark.sql import functions as F

    def marked(column: str, value: Column) -> Column:
        return F.when(F.col("_passes"), value).otherwise(F.col("_row")[column]).alias(column)

    changed = {"replayed_at": F.col("_ingested_at"), "_batch_id": F.lit(None)}
    names = [name for name in BRONZE_QUARANTINE.columns if name not in changed]
    rows = judged.select(
        *[F.col("_row")[name].alias(name) for name in names], *[marked(name, value) for name, value in changed.items()]
    )
    with lakehouse.stage(BRONZE_QUARANTINE, replacing=quarantine) as staged:
        staged.write(rows)
        staged.commit({REPLAY_APP: number}, {})
