"""platinum_incidents: what each incident means and what to do. No Spark: incidents are few by now."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg
import pyarrow as pa

from alert_assets.analysis.analyst import IncidentContext
from alert_assets.analysis.batch import Outcome, analyze_all
from alert_assets.assets.reporting import RefreshConfig, Stopwatch, clear_errors, described, table_metadata
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.resources.audit import audit
from alert_assets.resources.lakehouse import Lakehouse, utc_now
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


@dg.asset(
    **described(PLATINUM_INCIDENTS, "python", "platinum"), deps=[GOLD_INCIDENTS.name], pool=PLATINUM_INCIDENTS.name
)
def platinum_incidents(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Analyse the incidents that have no analysis yet, and those whose analysis failed and may be tried again."""
    watch = Stopwatch()
    progress = Progress(context.log.info)
    with clear_errors():
        done = refresh_platinum(lakehouse, settings, full_refresh=config.full_refresh, progress=progress)
    numbers = {**asdict(done), "rows_in": done.analyzed, "rows_out": done.incidents, "seconds": watch.seconds}
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, PLATINUM_INCIDENTS, **numbers))


class Progress:
    """Says how far the analysis is, once every few seconds."""

    def __init__(self, log: Callable[[str], None], every_seconds: float = 5.0) -> None:
        self._log, self._every, self._last = log, every_seconds, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self._every or done == total:
            self._last = time.monotonic()
            self._log(f"{done:,} of {total:,} contexts analysed")


def refresh_platinum(
    lakehouse: Lakehouse,
    settings: Settings,
    *,
    full_refresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PlatinumRefresh:
    """Analyse the incidents whose context has no analysis yet, or one that failed and may be tried again."""
    with lakehouse.writing(PLATINUM_INCIDENTS):
        if lakehouse.table(GOLD_INCIDENTS) is None:
            return PlatinumRefresh()
        lakehouse.create(PLATINUM_INCIDENTS)
        removed = _remove_orphans(lakehouse)
        todo = _waiting(lakehouse, settings, full_refresh)
        known = {} if full_refresh else _known_analyses(lakehouse)
        written: list[dict[str, Any]] = []
        answered = [row for row in todo if row["context_hash"] in known]
        written += _write(lakehouse, answered, known)
        asked = [row for row in todo if row["context_hash"] not in known]
        outcomes = _analyze(asked, settings, progress)
        written += _write(lakehouse, asked, {outcome["context_hash"]: outcome for outcome in outcomes})
        return PlatinumRefresh(
            incidents=len(written),
            analyzed=len(outcomes),
            failed=sum(row["error"] is not None for row in written),
            removed=removed,
            prompt_tokens=sum(outcome["prompt_tokens"] or 0 for outcome in outcomes),
            completion_tokens=sum(outcome["completion_tokens"] or 0 for outcome in outcomes),
        )


def _waiting(lakehouse: Lakehouse, settings: Settings, full_refresh: bool) -> list[dict[str, Any]]:
    """Gold rows to analyse, newest first: if the budget does not reach all, it reaches those."""
    again = (
        "TRUE"
        if full_refresh
        else f"p.context_hash IS NULL OR (p.error IS NOT NULL AND p.attempts < {settings.analysis_max_attempts})"
    )
    sql = f"""
        SELECT g.*, coalesce(p.attempts, 0) AS attempts, p.error AS last_error
        FROM g LEFT JOIN p
          ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp AND p.context_hash = g.context_hash
        WHERE {again}
        ORDER BY g.alert_timestamp DESC, g.fingerprint
    """
    return lakehouse.query(sql, g=GOLD_INCIDENTS, p=PLATINUM_INCIDENTS).to_pylist()


def _known_analyses(lakehouse: Lakehouse) -> dict[str, dict[str, Any]]:
    """Analyses without an error by context: an identical context is not put to the analyst again."""
    columns = ", ".join(["context_hash", *_ANALYSIS])
    rows = lakehouse.rows(PLATINUM_INCIDENTS, f"SELECT {columns} FROM t WHERE error IS NULL").to_pylist()
    return {row["context_hash"]: row for row in rows}


def _remove_orphans(lakehouse: Lakehouse) -> int:
    """An earlier firing that arrives late moves its incident's key; the row under the old key goes."""
    sql = """
        SELECT p.fingerprint, p.alert_timestamp FROM p LEFT JOIN g
          ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp
        WHERE g.fingerprint IS NULL
    """
    orphans = lakehouse.query(sql, g=GOLD_INCIDENTS, p=PLATINUM_INCIDENTS).to_pylist()
    if orphans:
        # A plain string takes the column's type; a TIMESTAMP literal has nanoseconds, which Delta will not compare.
        keys = [
            f"(fingerprint = '{row['fingerprint']}' AND "
            f"alert_timestamp = '{row['alert_timestamp']:%Y-%m-%dT%H:%M:%S.%fZ}')"
            for row in orphans
        ]
        lakehouse.delete(PLATINUM_INCIDENTS, " OR ".join(keys))
    return len(orphans)


def _analyze(
    rows: list[dict[str, Any]], settings: Settings, progress: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    """The analysis columns for each distinct context, and `context_hash`."""
    by_hash = {row["context_hash"]: row for row in rows}
    contexts: list[IncidentContext] = []
    analyses: list[dict[str, Any]] = []
    for context_hash, row in by_hash.items():
        try:
            contexts.append(IncidentContext.from_gold_row(row))
        except (KeyError, TypeError, ValueError) as error:
            analyses.append(_failed(context_hash, f"context: {error}"))
    for outcome in analyze_all(contexts, settings, progress=progress):
        analyses.append(_columns(outcome))
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


def _write(
    lakehouse: Lakehouse, incidents: Iterable[dict[str, Any]], analyses: dict[str, dict[str, Any]]
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
        schema = pa.schema(lakehouse.create(PLATINUM_INCIDENTS).schema().to_arrow())
        table = pa.Table.from_pylist(rows, schema=schema)
        audit(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, table)
        lakehouse.merge(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, table, {})
    return rows


def _says_the_same(incident: dict[str, Any], analysis: dict[str, Any]) -> bool:
    """Not asked again, for budget or breaker: the row with that error is there already."""
    return (
        incident["last_error"] is not None
        and incident["last_error"] == analysis["error"]
        and (incident["attempts"] == analysis["attempts"])
    )
