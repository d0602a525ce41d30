"""Refresh a platinum table: analyse what has a context without an analysis yet, and merge. No Spark.

Incidents and problems go the same way; :class:`_Subject` is what differs. The model is asked about problems; what an
incident means is said by rules.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS, Contract
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.intervals import Interval, bucket_intervals, whole_hours
from alert_assets.kernel.sql import hour_of, literal, sql_envelope, within
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.rows import query
from alert_assets.lake.schema import LakehouseError, stored_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alert_assets.analysis.analyst import Context
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
        written: rows written.
        analyzed: distinct contexts put to an analyst; the rest of the rows share one of them.
        failed: rows among them that carry an error.
        removed: rows whose incident or problem is no longer in gold.
        prompt_tokens, completion_tokens: what the model was given and wrote.
    """

    written: int = 0
    analyzed: int = 0
    failed: int = 0
    removed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: PlatinumRefresh) -> PlatinumRefresh:
        """What two passes did together."""
        return PlatinumRefresh(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class _Subject:
    """What is analysed, and where the analyses go.

    Attributes:
        gold, platinum: the tables; they share the columns of the key.
        time: a column of the key that never changes, by which files are pruned.
        where: SQL of the rows of gold that are analysed.
        moved: SQL of the analyses whose row in gold has another key now, or is analysed no more; `{new}` is where
            gold's rows are new, and `{near}` where such analyses can be.
        near: hours that such an analysis can lie after the start of the hour of its new row's `near_column`.
        by_rules: whether rules write it whatever the analyst is.
    """

    gold: Contract
    platinum: Contract
    time: str
    where: str
    moved: str
    near_column: str
    by_rules: bool

    def near_hours(self, settings: Settings) -> int:
        """How many hours an analysis can lie after its new row's `near_column`."""
        return 0 if self.near_column == self.time else -(-settings.dedup_window_minutes // 60)


_INCIDENTS = _Subject(
    gold=GOLD_INCIDENTS,
    platinum=PLATINUM_INCIDENTS,
    time="alert_timestamp",
    where="true",
    # Of one fingerprint no two windows overlap, so whatever else is in the incident's window was it before.
    moved="""
        SELECT p.fingerprint, p.alert_timestamp
        FROM (SELECT fingerprint, alert_timestamp FROM p WHERE {near}) p
        JOIN (SELECT fingerprint, alert_timestamp, window_start, window_end FROM g WHERE {new}) g
          ON p.fingerprint = g.fingerprint
        WHERE p.alert_timestamp >= g.window_start AND p.alert_timestamp < g.window_end
          AND p.alert_timestamp <> g.alert_timestamp
    """,
    near_column="window_start",
    by_rules=True,
)
_PROBLEMS = _Subject(
    gold=GOLD_PROBLEMS,
    platinum=PLATINUM_PROBLEMS,
    time="opened_at",
    # What became part of another is analysed with it.
    where="merged_into IS NULL",
    moved="""
        SELECT p.problem_id, p.opened_at FROM (SELECT problem_id, opened_at FROM p WHERE {near}) p
        JOIN (SELECT problem_id FROM g WHERE {new} AND merged_into IS NOT NULL) g ON p.problem_id = g.problem_id
    """,
    near_column="opened_at",
    by_rules=False,
)


def refresh_platinum(
    lakehouse: Lakehouse,
    settings: Settings,
    *,
    full_refresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PlatinumRefresh:
    """Say by rules what the incidents mean whose context has no analysis yet."""
    return _refresh(_INCIDENTS, lakehouse, settings, full_refresh, progress)


def refresh_platinum_problems(
    lakehouse: Lakehouse,
    settings: Settings,
    *,
    full_refresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PlatinumRefresh:
    """Analyse the problems whose context has no analysis yet, or one that failed and may be tried again."""
    return _refresh(_PROBLEMS, lakehouse, settings, full_refresh, progress)


def _refresh(
    subject: _Subject,
    lakehouse: Lakehouse,
    settings: Settings,
    full_refresh: bool,
    progress: Callable[[int, int], None] | None,
) -> PlatinumRefresh:
    """Analyse what has no analysis of its context yet, or one that failed and may be tried again.

    Looked at are the rows that gold has changed since platinum's cursor, and the analyses that failed. If there
    are not as many analyses as rows then, something was removed, or somebody has changed a table by hand, and all are
    looked at.
    """
    import pyarrow as pa

    platinum = subject.platinum
    with lakehouse.writing(platinum):
        gold = lakehouse.snapshot(subject.gold)
        if gold.table is None:
            return PlatinumRefresh()
        try:
            if lakehouse.table(platinum) is None:
                lakehouse.create(platinum)
            lakehouse.bring_up_to_date(platinum)
        except LakehouseError:
            if not full_refresh:
                raise
            # Columns were retyped or removed: what is there cannot be read any more.
            nothing = pa.schema(stored_schema(platinum).to_arrow()).empty_table()
            lakehouse.overwrite(platinum, nothing.drop(["_batch_id"]), {})
        cursor = lakehouse.cursor(platinum, subject.gold)
        if full_refresh or cursor > gold.last_batch_id:
            cursor = 0
        run = _Run(subject, lakehouse, settings, gold, progress)
        done = run.refresh(cursor, again=full_refresh)
        if cursor and lakehouse.snapshot(platinum).row_count != _wanted(subject, gold):
            done += run.refresh(0, again=False)
        return done


def _wanted(subject: _Subject, gold: Snapshot) -> int:
    """How many rows of gold have an analysis once platinum is up to date."""
    if subject.where == "true" or gold.table is None:
        return gold.row_count
    return int(query(f"SELECT count(*) AS n FROM g WHERE {subject.where}", g=gold.table)[0]["n"])


def incidents_wait(lakehouse: Lakehouse, settings: Settings) -> bool:
    """Whether a refresh of the incidents has work."""
    return _wait(_INCIDENTS, lakehouse, settings)


def problems_wait(lakehouse: Lakehouse, settings: Settings) -> bool:
    """Whether a refresh of the problems has work."""
    return _wait(_PROBLEMS, lakehouse, settings)


def _wait(subject: _Subject, lakehouse: Lakehouse, settings: Settings) -> bool:
    """Whether gold changed, rows or columns are missing, or a failure may be tried again."""
    gold, platinum = lakehouse.snapshot(subject.gold), lakehouse.snapshot(subject.platinum)
    if gold.table is None or platinum.table is None:
        return gold.table is not None
    is_older = {*subject.platinum.columns} > {field.name for field in platinum.table.schema().fields}
    if is_older or lakehouse.cursor(subject.platinum, subject.gold) != gold.last_batch_id:
        return True
    failed = f"SELECT 1 AS n FROM p WHERE error IS NOT NULL AND attempts < {settings.analysis_max_attempts} LIMIT 1"
    return platinum.row_count != _wanted(subject, gold) or bool(query(failed, p=platinum.table))


class _Run:
    """One run of platinum, over gold as it was when the run began."""

    def __init__(
        self,
        subject: _Subject,
        lakehouse: Lakehouse,
        settings: Settings,
        gold: Snapshot,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._subject, self._lakehouse, self._gold, self._progress = subject, lakehouse, gold, progress
        self._settings = settings.model_copy(update={"analyst": "rules"}) if subject.by_rules else settings
        self._key = ", ".join(subject.platinum.key)

    def refresh(self, cursor: int, *, again: bool) -> PlatinumRefresh:
        """Bring the analyses of the rows above a `_batch_id` of gold up to date, and try failed ones again.

        Args:
            again: analyse what has an analysis too.
        """
        removed = self._remove_orphans(cursor)
        todo = self._waiting(cursor, again)
        known = {} if again else self._known_analyses(todo)
        answered = [row for row in todo if row["context_hash"] in known]
        asked = [row for row in todo if row["context_hash"] not in known]
        written = self._write(answered, known, {})
        outcomes = self._analyze(asked)
        # The cursor moves with the last rows: a run that dies before has them to do again.
        moved = {cursor_app(self._subject.gold): self._gold.last_batch_id}
        written += self._write(asked, {outcome["context_hash"]: outcome for outcome in outcomes}, moved)
        return PlatinumRefresh(
            written=len(written),
            analyzed=len(outcomes),
            failed=sum(row["error"] is not None for row in written),
            removed=removed,
            prompt_tokens=sum(outcome["prompt_tokens"] or 0 for outcome in outcomes),
            completion_tokens=sum(outcome["completion_tokens"] or 0 for outcome in outcomes),
        )

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of SQL over gold `g` and platinum `p` as it is now."""
        platinum = self._lakehouse.table(self._subject.platinum)
        assert self._gold.table is not None
        assert platinum is not None
        return query(sql, g=self._gold.table, p=platinum)

    def _remove_orphans(self, cursor: int) -> int:
        """Remove the rows whose key is gone from gold.

        An earlier firing that arrives late moves an incident's key; a problem may become part of an older one.
        """
        subject = self._subject
        if cursor:
            new = f"_batch_id > {cursor}"
            near = self._near(
                f"SELECT {hour_of(subject.near_column)} AS hour FROM g WHERE {new}",
                after=subject.near_hours(self._settings),
            )
            sql = subject.moved.format(near=near, new=new)
        else:
            first = subject.platinum.key[0]
            on = " AND ".join(f"p.{name} = g.{name}" for name in subject.platinum.key)
            columns = ", ".join(f"p.{name}" for name in self._columns)
            sql = f"SELECT {columns} FROM p LEFT JOIN ({self._all_of_gold}) g ON {on} WHERE g.{first} IS NULL"
        orphans = self._query(sql)
        if orphans:
            # A plain string takes the column's type; a TIMESTAMP literal has nanoseconds, which Delta will not compare.
            keys = ["(" + " AND ".join(f"{name} = {_plain(row[name])}" for name in row) + ")" for row in orphans]
            self._lakehouse.delete(subject.platinum, " OR ".join(keys))
        return len(orphans)

    @property
    def _columns(self) -> tuple[str, ...]:
        """What names a row: the key, and the time by which its file is found."""
        return tuple(dict.fromkeys([*self._subject.platinum.key, self._subject.time]))

    @property
    def _all_of_gold(self) -> str:
        return f"SELECT * FROM g WHERE {self._subject.where}"

    def _waiting(self, cursor: int, again: bool) -> list[dict[str, Any]]:
        """Gold rows to analyse, newest first: if the budget does not reach all, it reaches those."""
        subject, time = self._subject, self._subject.time
        failed = f"p.error IS NOT NULL AND p.attempts < {self._settings.analysis_max_attempts}"
        wanted = "TRUE" if again else f"(g._batch_id > {cursor} AND p.context_hash IS NULL) OR ({failed})"
        hour = hour_of(time)
        near = self._near(
            f"SELECT {hour} AS hour FROM g WHERE _batch_id > {cursor} "
            f"UNION SELECT {hour} AS hour FROM p WHERE {failed.replace('p.', '')}"
        )
        on = " AND ".join(f"p.{name} = g.{name}" for name in (*subject.platinum.key, "context_hash"))
        return self._query(
            f"""
            SELECT g.*, coalesce(p.attempts, 0) AS attempts, p.error AS last_error
            FROM (SELECT * FROM g WHERE {near} AND {subject.where}) g LEFT JOIN
                (SELECT {self._key}, context_hash, attempts, error FROM p WHERE {near}) p ON {on}
            WHERE {wanted}
            ORDER BY g.{time} DESC, {", ".join(f"g.{name}" for name in subject.platinum.key)}
            """
        )

    def _near(self, hours: str, *, after: int = 0) -> str:
        """A predicate that holds in the hours that SQL yields, by which files are pruned."""
        numbers = sorted({row["hour"] for row in self._query(hours)})
        return within(self._subject.time, bucket_intervals(numbers, timedelta(hours=1), after=after))

    def _known_analyses(self, todo: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Analyses without an error by context: an identical context is not put to the analyst again.

        It may have been analysed at any time, so the hashes of all analyses are looked through, and nothing else of
        them: that is the one thing here that grows with history.
        """
        wanted = {row["context_hash"] for row in todo}
        if not wanted:
            return {}
        time = self._subject.time
        hashes = self._query(f"SELECT context_hash, {time} FROM p WHERE error IS NULL")
        seen = [row[time] for row in hashes if row["context_hash"] in wanted]
        hours = bucket_intervals(sorted({int(at.timestamp()) // 3600 for at in seen}), timedelta(hours=1))
        columns = ", ".join(["context_hash", *_ANALYSIS])
        rows = self._query(f"SELECT {columns} FROM p WHERE error IS NULL AND {within(time, hours)}")
        return {row["context_hash"]: row for row in rows if row["context_hash"] in wanted}

    def _write(
        self,
        subjects: Iterable[dict[str, Any]],
        analyses: dict[str, dict[str, Any]],
        transactions: dict[str, int],
    ) -> list[dict[str, Any]]:
        """Merge one row for each row of gold; one that would say what it said already is left alone."""
        platinum, time = self._subject.platinum, self._subject.time
        rows = [
            {**analyses[row["context_hash"]], **{name: row[name] for name in self._columns}}
            for row in subjects
            if not _says_the_same(row, analyses[row["context_hash"]])
        ]
        if rows:
            import pyarrow as pa

            from alert_assets.lake.audit import audit

            schema = pa.schema(stored_schema(platinum).to_arrow())
            table = pa.Table.from_pylist(rows, schema=schema).drop(["_batch_id"])
            audit(platinum, platinum.key, table)
            times = [row[time] for row in rows]
            envelope = sql_envelope(time, [Interval(min(times), max(times))])
            self._lakehouse.merge(platinum, platinum.key, table, transactions, within=envelope)
        elif transactions and self._lakehouse.cursor(platinum, self._subject.gold) != self._gold.last_batch_id:
            self._lakehouse.move_cursors(platinum, transactions)
        return rows

    def _analyze(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The analysis columns for each distinct context, and `context_hash`."""
        from alert_assets.analysis.batch import analyze_all

        by_hash = {row["context_hash"]: row for row in rows}
        read = self._reader(list(by_hash.values()))
        contexts: list[Context] = []
        analyses: list[dict[str, Any]] = []
        for context_hash, row in by_hash.items():
            try:
                contexts.append(read(row))
            except (KeyError, TypeError, ValueError) as error:
                analyses.append(_failed(context_hash, f"context: {error}"))
        run_id = self._lakehouse.run_id or ""
        outcomes = analyze_all(contexts, self._settings, progress=self._progress, run_id=run_id)
        analyses.extend(map(_columns, outcomes))
        for analysis in analyses:
            analysis["attempts"] += by_hash[analysis["context_hash"]]["attempts"]
        return analyses

    def _reader(self, rows: list[dict[str, Any]]) -> Callable[[dict[str, Any]], Context]:
        """What makes a context of one of these rows."""
        if self._subject is _INCIDENTS:
            from alert_assets.analysis.analyst import IncidentContext

            return IncidentContext.from_gold_row
        from alert_assets.analysis.problem import ProblemContext

        members = self._members(rows)

        def read(row: dict[str, Any]) -> Context:
            return ProblemContext.from_gold_row(row, [members[one] for one in row["incident_ids"] if one in members])

        return read

    def _members(self, problems: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What an analysis reads of the incidents of some problems, by id; files of other times are not read."""
        table = self._lakehouse.table(GOLD_INCIDENTS)
        if table is None or not problems:
            return {}
        spans = [Interval(row["opened_at"], row["last_seen_at"]) for row in problems]
        near = within("alert_timestamp", whole_hours(spans))
        wanted = {one for row in problems for one in row["incident_ids"]}
        rows = query(f"SELECT incident_id, max_value, threshold FROM g WHERE {near}", g=table)
        return {row["incident_id"]: row for row in rows if row["incident_id"] in wanted}


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


def _plain(value: str | datetime) -> str:
    return f"'{value:%Y-%m-%dT%H:%M:%S.%fZ}'" if isinstance(value, datetime) else literal(value)


def _says_the_same(row: dict[str, Any], analysis: dict[str, Any]) -> bool:
    """Not asked again, for budget or breaker: the row with that error is there already."""
    return (
        row["last_error"] is not None
        and row["last_error"] == analysis["error"]
        and (row["attempts"] == analysis["attempts"])
    )
