"""Refresh platinum_incidents: analyse the incidents whose context has no analysis yet, and merge. No Spark."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.intervals import Interval, bucket_intervals
from alert_assets.kernel.sql import hour_of, sql_envelope, within
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.rows import query
from alert_assets.lake.schema import LakehouseError, stored_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alert_assets.analysis.batch import Outcome
    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

#: What an analysis consists of: the columns that are the same for every incident with its context.
_ANALYSIS = (
    "summary",
    "patterns",
    "root_cause",
    "confidence_score",
    "recommended_action",
    "model",
    "prompt_version",
    "analyzed_at",
    "prompt_tokens",
    "completion_tokens",
    "error",
    "attempts",
)


@dataclass(frozen=True)
class PlatinumRefresh:
    """What one run did.

    Attributes:
        incidents: rows written.
        analyzed: distinct contexts put to an analyst; the rest of the incidents share one of them.
        failed: rows among them that carry an error.
        removed: rows whose incident is no longer in gold.
        prompt_tokens, completion_tokens: what the model was given and wrote.
    """

    incidents: int = 0
    analyzed: int = 0
    failed: int = 0
    removed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: PlatinumRefresh) -> PlatinumRefresh:
        """What two passes did together."""
        return PlatinumRefresh(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def refresh_platinum(
    lakehouse: Lakehouse,
    settings: Settings,
    *,
    full_refresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PlatinumRefresh:
    """Analyse the incidents whose context has no analysis yet, or one that failed and may be tried again.

    Looked at are the incidents that gold has changed since platinum's cursor, and the analyses that failed. If there
    are not as many analyses as incidents then, somebody has changed a table by hand, and all are looked at.
    """
    import pyarrow as pa

    with lakehouse.writing(PLATINUM_INCIDENTS):
        gold = lakehouse.snapshot(GOLD_INCIDENTS)
        if gold.table is None:
            return PlatinumRefresh()
        try:
            lakehouse.create(PLATINUM_INCIDENTS)
        except LakehouseError:
            if not full_refresh:
                raise
            # Columns were retyped or removed: what is there cannot be read any more.
            nothing = pa.schema(stored_schema(PLATINUM_INCIDENTS).to_arrow()).empty_table()
            lakehouse.overwrite(PLATINUM_INCIDENTS, nothing.drop(["_batch_id"]), {})
        cursor = lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS)
        if full_refresh or cursor > gold.last_batch_id:
            cursor = 0
        run = _Run(lakehouse, settings, gold, progress)
        done = run.refresh(cursor, again=full_refresh)
        if cursor and lakehouse.snapshot(PLATINUM_INCIDENTS).row_count != gold.row_count:
            done += run.refresh(0, again=False)
        return done


def incidents_wait(lakehouse: Lakehouse, settings: Settings) -> bool:
    """Whether a refresh has work: gold changed, rows or columns are missing, or a failure may be tried again."""
    gold, platinum = lakehouse.snapshot(GOLD_INCIDENTS), lakehouse.snapshot(PLATINUM_INCIDENTS)
    if gold.table is None or platinum.table is None:
        return gold.table is not None
    is_older = {*PLATINUM_INCIDENTS.columns} > {field.name for field in platinum.table.schema().fields}
    if is_older or lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS) != gold.last_batch_id:
        return True
    failed = f"SELECT 1 AS n FROM p WHERE error IS NOT NULL AND attempts < {settings.analysis_max_attempts} LIMIT 1"
    return platinum.row_count != gold.row_count or bool(query(failed, p=platinum.table))


class _Run:
    """One run of platinum, over gold as it was when the run began."""

    def __init__(
        self, lakehouse: Lakehouse, settings: Settings, gold: Snapshot, progress: Callable[[int, int], None] | None
    ) -> None:
        self._lakehouse, self._settings, self._gold, self._progress = lakehouse, settings, gold, progress

    def refresh(self, cursor: int, *, again: bool) -> PlatinumRefresh:
        """Bring the analyses of the incidents above a `_batch_id` of gold up to date, and try failed ones again.

        Args:
            again: analyse incidents that have an analysis too.
        """
        removed = self._remove_orphans(cursor)
        todo = self._waiting(cursor, again)
        known = {} if again else self._known_analyses(todo)
        answered = [row for row in todo if row["context_hash"] in known]
        asked = [row for row in todo if row["context_hash"] not in known]
        written = self._write(answered, known, {})
        outcomes = _analyze(asked, self._settings, self._progress)
        # The cursor moves with the last rows: a run that dies before has them to do again.
        moved = {cursor_app(GOLD_INCIDENTS): self._gold.last_batch_id}
        written += self._write(asked, {outcome["context_hash"]: outcome for outcome in outcomes}, moved)
        return PlatinumRefresh(
            incidents=len(written),
            analyzed=len(outcomes),
            failed=sum(row["error"] is not None for row in written),
            removed=removed,
            prompt_tokens=sum(outcome["prompt_tokens"] or 0 for outcome in outcomes),
            completion_tokens=sum(outcome["completion_tokens"] or 0 for outcome in outcomes),
        )

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of SQL over gold `g` and platinum `p`."""
        assert self._gold.table is not None
        return query(sql, g=self._gold.table, p=self._lakehouse.create(PLATINUM_INCIDENTS))

    def _remove_orphans(self, cursor: int) -> int:
        """An earlier firing that arrives late moves its incident's key; the row under the old key goes."""
        if cursor:
            # Of one fingerprint no two windows overlap, so whatever else is in the incident's window was it before.
            hours = -(-self._settings.dedup_window_minutes // 60)
            near = self._near(
                f"SELECT {hour_of('window_start')} AS hour FROM g WHERE _batch_id > {cursor}", after=hours
            )
            sql = f"""
                SELECT p.fingerprint, p.alert_timestamp
                FROM (SELECT fingerprint, alert_timestamp FROM p WHERE {near}) p
                JOIN (SELECT fingerprint, alert_timestamp, window_start, window_end FROM g WHERE _batch_id > {cursor}) g
                  ON p.fingerprint = g.fingerprint
                WHERE p.alert_timestamp >= g.window_start AND p.alert_timestamp < g.window_end
                  AND p.alert_timestamp <> g.alert_timestamp
            """
        else:
            sql = """
                SELECT p.fingerprint, p.alert_timestamp FROM p LEFT JOIN g
                  ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp
                WHERE g.fingerprint IS NULL
            """
        orphans = self._query(sql)
        if orphans:
            # A plain string takes the column's type; a TIMESTAMP literal has nanoseconds, which Delta will not compare.
            keys = [
                f"(fingerprint = '{row['fingerprint']}' AND "
                f"alert_timestamp = '{row['alert_timestamp']:%Y-%m-%dT%H:%M:%S.%fZ}')"
                for row in orphans
            ]
            self._lakehouse.delete(PLATINUM_INCIDENTS, " OR ".join(keys))
        return len(orphans)

    def _waiting(self, cursor: int, again: bool) -> list[dict[str, Any]]:
        """Gold rows to analyse, newest first: if the budget does not reach all, it reaches those."""
        failed = f"p.error IS NOT NULL AND p.attempts < {self._settings.analysis_max_attempts}"
        wanted = "TRUE" if again else f"(g._batch_id > {cursor} AND p.context_hash IS NULL) OR ({failed})"
        hour = hour_of("alert_timestamp")
        near = self._near(
            f"SELECT {hour} AS hour FROM g WHERE _batch_id > {cursor} "
            f"UNION SELECT {hour} AS hour FROM p WHERE {failed.replace('p.', '')}"
        )
        return self._query(
            f"""
            SELECT g.*, coalesce(p.attempts, 0) AS attempts, p.error AS last_error
            FROM (SELECT * FROM g WHERE {near}) g LEFT JOIN
                (SELECT fingerprint, alert_timestamp, context_hash, attempts, error FROM p WHERE {near}) p
              ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp
              AND p.context_hash = g.context_hash
            WHERE {wanted}
            ORDER BY g.alert_timestamp DESC, g.fingerprint
            """
        )

    def _near(self, hours: str, *, after: int = 0) -> str:
        """A predicate that holds in the hours that SQL yields, by which files are pruned."""
        numbers = sorted({row["hour"] for row in self._query(hours)})
        return within("alert_timestamp", bucket_intervals(numbers, timedelta(hours=1), after=after))

    def _known_analyses(self, todo: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Analyses without an error by context: an identical context is not put to the analyst again.

        It may have been analysed at any time, so the hashes of all analyses are looked through, and nothing else of
        them: that is the one thing here that grows with history.
        """
        wanted = {row["context_hash"] for row in todo}
        if not wanted:
            return {}
        hashes = self._query("SELECT context_hash, alert_timestamp FROM p WHERE error IS NULL")
        seen = [row["alert_timestamp"] for row in hashes if row["context_hash"] in wanted]
        hours = bucket_intervals(sorted({int(at.timestamp()) // 3600 for at in seen}), timedelta(hours=1))
        columns = ", ".join(["context_hash", *_ANALYSIS])
        rows = self._query(f"SELECT {columns} FROM p WHERE error IS NULL AND {within('alert_timestamp', hours)}")
        return {row["context_hash"]: row for row in rows if row["context_hash"] in wanted}

    def _write(
        self,
        incidents: Iterable[dict[str, Any]],
        analyses: dict[str, dict[str, Any]],
        transactions: dict[str, int],
    ) -> list[dict[str, Any]]:
        """Merge one row an incident; a row that would say what it said already is left alone."""
        rows = [
            {
                **analyses[incident["context_hash"]],
                "fingerprint": incident["fingerprint"],
                "alert_timestamp": incident["alert_timestamp"],
            }
            for incident in incidents
            if not _says_the_same(incident, analyses[incident["context_hash"]])
        ]
        if rows:
            import pyarrow as pa

            from alert_assets.lake.audit import audit

            schema = pa.schema(stored_schema(PLATINUM_INCIDENTS).to_arrow())
            table = pa.Table.from_pylist(rows, schema=schema).drop(["_batch_id"])
            audit(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, table)
            times = [row["alert_timestamp"] for row in rows]
            envelope = sql_envelope("alert_timestamp", [Interval(min(times), max(times))])
            self._lakehouse.merge(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, table, transactions, within=envelope)
        elif transactions and self._lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS) != self._gold.last_batch_id:
            self._lakehouse.move_cursors(PLATINUM_INCIDENTS, transactions)
        return rows


def _analyze(
    rows: list[dict[str, Any]], settings: Settings, progress: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    """The analysis columns for each distinct context, and `context_hash`."""
    from alert_assets.analysis.analyst import IncidentContext
    from alert_assets.analysis.batch import analyze_all

    by_hash = {row["context_hash"]: row for row in rows}
    contexts: list[IncidentContext] = []
    analyses: list[dict[str, Any]] = []
    for context_hash, row in by_hash.items():
        try:
            contexts.append(IncidentContext.from_gold_row(row))
        except (KeyError, TypeError, ValueError) as error:
            analyses.append(_failed(context_hash, f"context: {error}"))
    analyses.extend(map(_columns, analyze_all(contexts, settings, progress=progress)))
    for analysis in analyses:
        analysis["attempts"] += by_hash[analysis["context_hash"]]["attempts"]
    return analyses


def _columns(outcome: Outcome) -> dict[str, Any]:
    analysis = outcome.analysis.model_dump() if outcome.analysis else {}
    return {
        "context_hash": outcome.context_hash,
        **{
            name: analysis.get(name)
            for name in ("summary", "patterns", "root_cause", "confidence_score", "recommended_action")
        },
        "model": outcome.model,
        "prompt_version": outcome.prompt_version,
        "analyzed_at": utc_now(),
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "error": outcome.error,
        "attempts": int(outcome.attempted),
    }


def _failed(context_hash: str, error: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(_ANALYSIS),
        "context_hash": context_hash,
        "analyzed_at": utc_now(),
        "error": error,
        "attempts": 1,
    }


def _says_the_same(incident: dict[str, Any], analysis: dict[str, Any]) -> bool:
    """Not asked again, for budget or breaker: the row with that error is there already."""
    return (
        incident["last_error"] is not None
        and incident["last_error"] == analysis["error"]
        and (incident["attempts"] == analysis["attempts"])
    )
