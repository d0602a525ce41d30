"""The contracts by name, an entry a table: whose it is, what it promises, how it is read, checked and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandera.api.pyspark.container import DataFrameSchema

    from alert_assets.contracts.columns import Column
    from alert_assets.contracts.rules import Rule


@dataclass(frozen=True)
class Volume:
    """Rows that one commit adds or changes, when it changes any.

    Attributes:
        min_rows, max_rows: bounds; outside them something upstream is broken.
        max_zscore: furthest a commit may be from the median of those before it, in robust standard
            deviations (1.4826 times the median absolute deviation).
    """

    min_rows: int = 1
    max_rows: int = 20_000_000
    max_zscore: float = 6.0


@dataclass(frozen=True)
class Contract:
    """One table (or the landing event): what its rows promise, to whom, by whom.

    Attributes:
        name: folder of the Delta table under the lake; the asset key; the contract's name.
        version: grows when a change breaks a consumer.
        key: columns that identify one row.
        freshness_minutes: oldest the newest row may be while events keep landing.
        volume: how many rows a commit may bring.
        breaker: the circuit breaker that guards the table; None for tables that watch the others.
        availability_percent: share of the time in which the table can be read and is as fresh as that; None where
            that is not promised.
        model_path: where the pandera model is, as `module:Class`.
        direction: input when others write the rows and we judge them, output when we write and others read.
        unique_key: whether no two rows share a key; a redelivered event comes with the key of the first.
        time_column: by which the table is read, and its files are sorted; empty for what is no table.
        newest_column: the time that says how new the newest row is.
        is_merged: rows are computed from the tables before and merged into this one; a full refresh computes them all
            anew. A merge rewrites every file that holds one of them, so files are kept smaller.
        lock: the table whose lock the table's writers hold, when it is another; None when they need none, because
            rows are only ever appended.
        checks: where the function is that gives the table's checks, as `module:function`.
        stages: what is measured of a commit, from the column's time until the commit: column by stage. The last one
            begins when the event happened.
        rows_from: columns of the tables before that decide which rows are taken and how they are grouped, so which rows
            the table has; named as column lineage does (:mod:`alert_assets.contracts.lineage`).
        reads: columns of the tables before that an analyst reads, who may use any of them in all that it says.
        seen_in: pages, commands and messages in which people see its rows.
    """

    name: str
    version: int
    description: str
    owner: str
    consumers: tuple[str, ...]
    key: tuple[str, ...]
    freshness_minutes: int
    model_path: str
    volume: Volume = Volume()
    availability_percent: float | None = None
    breaker: str | None = "pipeline"
    direction: Literal["input", "output"] = "output"
    unique_key: bool = True
    time_column: str = ""
    newest_column: str = ""
    is_merged: bool = False
    lock: str | None = ""
    checks: str = ""
    stages: Mapping[str, str] = field(default_factory=dict, hash=False)
    rows_from: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    seen_in: tuple[str, ...] = ()

    @property
    def derived_from(self) -> tuple[Contract, ...]:
        """The tables that name it as a consumer, the nearest first."""
        return tuple(other for other in reversed(CONTRACTS.values()) if self.name in other.consumers)

    @cached_property
    def model(self) -> Any:
        """The pandera `DataFrameModel` class."""
        module, _, name = self.model_path.partition(":")
        return getattr(import_module(module), name)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns by name in their stored order, as :attr:`schema` has them, without importing it."""
        from alert_assets.contracts.columns import columns_of

        return columns_of(self)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule for one row, by column in their stored order."""
        return tuple(rule for column in self.columns.values() for rule in column.rules)

    @property
    def key_time(self) -> str:
        """The time in the key, around which repetitions of a row are looked for; the time column without one."""
        return next((name for name in self.key if self.columns[name].type == "timestamp"), self.time_column)

    def columns_with(self, fact: str) -> tuple[str, ...]:
        """The columns whose metadata says so, e.g. `pii` or `measured`."""
        return tuple(name for name, column in self.columns.items() if column.metadata.get(fact))

    @cached_property
    def schema(self) -> DataFrameSchema:
        """The pandera schema of :attr:`model`."""
        schema: DataFrameSchema = self.model.to_schema()
        return schema


_DATA_PLATFORM = "team:data-platform"
_ON_CALL = "team:on-call"

EVENT = Contract(
    name="event",
    version=2,
    description="One operational event as a producer writes it: one JSON object a line in the landing zone.",
    owner=_DATA_PLATFORM,
    consumers=("bronze_events",),
    key=("event_id", "timestamp"),
    freshness_minutes=5,
    model_path="alert_assets.contracts.models.event:Event",
    direction="input",
    unique_key=False,
)
BRONZE_EVENTS = Contract(
    name="bronze_events",
    version=1,
    description="Every valid event as it came, redeliveries included, and where and when it came from. Append only.",
    owner=_DATA_PLATFORM,
    consumers=("silver_alerts", "silver_dependencies", "silver_baselines", "gold_incidents", "gold_problems"),
    key=("event_id", "timestamp"),
    freshness_minutes=10,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:BronzeEvents",
    unique_key=False,
    time_column="timestamp",
    newest_column="timestamp",
    lock=None,
    checks="alert_assets.checks.bronze:bronze_checks",
    stages={"landed_to_bronze": "_landed_at", "ingested_to_bronze": "_ingested_at", "event_to_bronze": "timestamp"},
    rows_from=("event.*",),
)
BRONZE_QUARANTINE = Contract(
    name="bronze_quarantine",
    version=1,
    description="Every line that breaks the event contract, as it came, with all the reasons. Can be replayed.",
    owner=_DATA_PLATFORM,
    consumers=(_DATA_PLATFORM,),
    key=(),
    freshness_minutes=10,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:BronzeQuarantine",
    time_column="_ingested_at",
    newest_column="_ingested_at",
    lock="bronze_events",
    checks="alert_assets.checks.quarantine:quarantine_checks",
    rows_from=("event.*",),
    seen_in=("page quarantine", "alert-assets quarantine"),
)
SILVER_ALERTS = Contract(
    name="silver_alerts",
    version=2,
    description="One row per alert fingerprint and dedup window, instead of a storm.",
    owner=_DATA_PLATFORM,
    consumers=("gold_incidents", "gold_problems"),
    key=("fingerprint", "window_start"),
    freshness_minutes=15,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:SilverAlerts",
    time_column="window_start",
    newest_column="last_seen_timestamp",
    is_merged=True,
    checks="alert_assets.checks.silver:silver_checks",
    rows_from=("bronze_events.event_type,timestamp", "bronze_events.{dedup_fields}"),
    seen_in=("notifications",),
)
SILVER_DEPENDENCIES = Contract(
    name="silver_dependencies",
    version=1,
    description="Which application calls which: first and last seen, and how many requests.",
    owner=_DATA_PLATFORM,
    consumers=("gold_problems", _ON_CALL),
    key=("caller", "callee"),
    freshness_minutes=15,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:SilverDependencies",
    time_column="first_seen",
    newest_column="last_seen",
    is_merged=True,
    checks="alert_assets.checks.dependencies:dependency_checks",
    rows_from=("bronze_events.event_type,application_id,depends_on",),
    seen_in=("alert-assets topology", "alert-assets causes"),
)
SILVER_BASELINES = Contract(
    name="silver_baselines",
    version=1,
    description="What each series of latency, errors, CPU, calls and bad logs was in each hour: what is usual.",
    owner=_DATA_PLATFORM,
    consumers=("gold_problems", _ON_CALL),
    key=("series_id", "hour"),
    freshness_minutes=15,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:SilverBaselines",
    time_column="hour",
    newest_column="hour",
    is_merged=True,
    checks="alert_assets.checks.baselines:baseline_checks",
    rows_from=(
        "bronze_events.event_type,timestamp,application_id,host,depends_on,depends_on_host",
        "bronze_events.cpu_percent,error_rate,metrics",
    ),
    seen_in=("alert-assets causes",),
)
GOLD_INCIDENTS = Contract(
    name="gold_incidents",
    version=2,
    description="Each alert with what happened to its application in the hour before it.",
    owner=_ON_CALL,
    consumers=("gold_problems", "platinum_incidents", "platinum_problems", _ON_CALL),
    key=("fingerprint", "alert_timestamp"),
    freshness_minutes=15,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:GoldIncidents",
    time_column="window_start",
    newest_column="alert_timestamp",
    is_merged=True,
    checks="alert_assets.checks.gold:gold_checks",
    stages={"event_to_gold": "first_seen_timestamp"},
    rows_from=("silver_alerts.alert_count",),
    seen_in=("alert-assets incidents", "notifications"),
)
GOLD_PROBLEMS = Contract(
    name="gold_problems",
    version=1,
    description="One outage, one row: its incidents, whether it goes on, what changed, and what may have caused it.",
    owner=_ON_CALL,
    consumers=("platinum_problems", _ON_CALL),
    key=("problem_id",),
    freshness_minutes=15,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:GoldProblems",
    time_column="opened_at",
    newest_column="last_seen_at",
    is_merged=True,
    checks="alert_assets.checks.problems:problem_checks",
    rows_from=(
        "gold_incidents.fingerprint,application_id,first_seen_timestamp,last_seen_timestamp",
        "silver_dependencies.caller,callee,first_seen,last_seen",
        "silver_alerts.fingerprint,resolved_at",
    ),
    seen_in=("page problems", "alert-assets problems", "notifications"),
)
PLATINUM_INCIDENTS = Contract(
    name="platinum_incidents",
    version=1,
    description="What each incident means and what to do about it, by rules.",
    owner=_ON_CALL,
    consumers=(_ON_CALL,),
    key=("fingerprint", "alert_timestamp"),
    freshness_minutes=20,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:PlatinumIncidents",
    breaker="analysis",
    time_column="alert_timestamp",
    newest_column="analyzed_at",
    is_merged=True,
    checks="alert_assets.checks.platinum:platinum_checks",
    reads=(
        "gold_incidents.application_id,host,alert_type,current_value,threshold,correlated_deployments,error_summary",
        "gold_incidents.metric_summary,other_alert_count,incident_context_text",
    ),
    seen_in=("alert-assets incidents", "notifications"),
)
PLATINUM_PROBLEMS = Contract(
    name="platinum_problems",
    version=1,
    description="What each problem means and what to do about it, by a model or by rules.",
    owner=_ON_CALL,
    consumers=(_ON_CALL,),
    key=("problem_id",),
    freshness_minutes=20,
    availability_percent=99.0,
    model_path="alert_assets.contracts.models.tables:PlatinumProblems",
    breaker="analysis",
    time_column="opened_at",
    newest_column="analyzed_at",
    is_merged=True,
    checks="alert_assets.checks.platinum:platinum_problem_checks",
    rows_from=("gold_problems.merged_into",),
    reads=(
        "gold_problems.title,severity,opened_at,resolved_at,applications,incident_ids,alert_count,changes,causes",
        "gold_problems.confidence,context_text",
        "gold_incidents.incident_id,max_value,threshold",
    ),
    seen_in=("page problems", "alert-assets problems", "notifications"),
)
BRONZE_HELD = Contract(
    name="bronze_held",
    version=1,
    description="Every line of a batch that broke a gating check and was not published, until somebody decides.",
    owner=_DATA_PLATFORM,
    consumers=(_DATA_PLATFORM,),
    key=(),
    freshness_minutes=10,
    model_path="alert_assets.contracts.models.tables:BronzeHeld",
    time_column="_ingested_at",
    lock="bronze_events",
    rows_from=("event.*",),
    seen_in=("page quarantine", "alert-assets held"),
)
#: The stage of `pipeline_latency` that ends where people get a message, and in no table of the lake.
NOTIFIED_STAGE = "landed_to_notified"

PIPELINE_LATENCY = Contract(
    name="pipeline_latency",
    version=1,
    description="How long the rows of each commit took, by stage: percentiles, maximum, rows over the threshold.",
    owner=_DATA_PLATFORM,
    consumers=("slo_status", _DATA_PLATFORM),
    key=("stage", "table_version"),
    freshness_minutes=30,
    model_path="alert_assets.contracts.models.reliability:PipelineLatency",
    breaker=None,
    time_column="committed_at",
    checks="alert_assets.checks.reliability:latency_checks",
    seen_in=("alert-assets slo",),
)
QUALITY_SCORES = Contract(
    name="quality_scores",
    version=1,
    description="What each table was worth, by quality dimension and overall, 0 to 100, over time.",
    owner=_DATA_PLATFORM,
    consumers=("slo_status", _DATA_PLATFORM),
    key=("table_name", "dimension", "evaluated_at"),
    freshness_minutes=30,
    model_path="alert_assets.contracts.models.reliability:QualityScores",
    breaker=None,
    time_column="evaluated_at",
    checks="alert_assets.checks.reliability:measurement_checks",
    seen_in=("page quality", "/metrics"),
)
PIPELINE_HEALTH = Contract(
    name="pipeline_health",
    version=1,
    description="Success rate, duration, deadlines, retries and backlog of the runs, and the host's load.",
    owner=_DATA_PLATFORM,
    consumers=(_DATA_PLATFORM,),
    key=("metric", "subject", "evaluated_at"),
    freshness_minutes=30,
    model_path="alert_assets.contracts.models.reliability:PipelineHealth",
    breaker=None,
    time_column="evaluated_at",
    checks="alert_assets.checks.reliability:measurement_checks",
    seen_in=("alert-assets status",),
)
RUN_COST = Contract(
    name="run_cost",
    version=1,
    description="What each step of each run used, CPU time, bytes and tokens, and what that cost.",
    owner=_DATA_PLATFORM,
    consumers=("slo_status", _DATA_PLATFORM),
    key=("run_id", "step"),
    freshness_minutes=90,
    model_path="alert_assets.contracts.models.reliability:RunCost",
    breaker=None,
    time_column="ended_at",
    checks="alert_assets.checks.reliability:cost_checks",
)
COLUMN_PROFILES = Contract(
    name="column_profiles",
    version=1,
    description="How the values of each column were distributed in each hour: a sketch, nulls, cardinality.",
    owner=_DATA_PLATFORM,
    consumers=("drift_status", _DATA_PLATFORM),
    key=("table_name", "column_name", "hour"),
    freshness_minutes=90,
    model_path="alert_assets.contracts.models.reliability:ColumnProfiles",
    breaker=None,
    time_column="hour",
    checks="alert_assets.checks.reliability:profile_checks",
)
DRIFT_STATUS = Contract(
    name="drift_status",
    version=1,
    description="Whether each column was in each hour as in the hours before: PSI, KS, nulls, and what has changed.",
    owner=_DATA_PLATFORM,
    consumers=(_DATA_PLATFORM,),
    key=("table_name", "column_name", "hour"),
    freshness_minutes=90,
    model_path="alert_assets.contracts.models.reliability:DriftStatus",
    breaker=None,
    time_column="hour",
    checks="alert_assets.checks.drift:drift_checks",
)
TABLE_AVAILABILITY = Contract(
    name="table_availability",
    version=1,
    description="Whether each table could be read and was as fresh as its contract says, each time it was looked at.",
    owner=_DATA_PLATFORM,
    consumers=("slo_status", _DATA_PLATFORM),
    key=("table_name", "probed_at"),
    freshness_minutes=30,
    model_path="alert_assets.contracts.models.reliability:TableAvailability",
    breaker=None,
    time_column="probed_at",
    checks="alert_assets.checks.reliability:measurement_checks",
)
SLO_STATUS = Contract(
    name="slo_status",
    version=1,
    description="Each SLO with its error budget and burn rates, over time.",
    owner=_DATA_PLATFORM,
    consumers=(_ON_CALL, _DATA_PLATFORM),
    key=("slo", "evaluated_at"),
    freshness_minutes=30,
    model_path="alert_assets.contracts.models.reliability:SloStatus",
    breaker=None,
    time_column="evaluated_at",
    checks="alert_assets.checks.reliability:measurement_checks",
    seen_in=("page slos", "alert-assets slo", "/metrics", "notifications"),
)

#: The medallion: landing to platinum.
CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (
        BRONZE_EVENTS,
        BRONZE_QUARANTINE,
        SILVER_ALERTS,
        SILVER_DEPENDENCIES,
        SILVER_BASELINES,
        GOLD_INCIDENTS,
        GOLD_PROBLEMS,
        PLATINUM_INCIDENTS,
        PLATINUM_PROBLEMS,
    )
}

#: The tables that say how reliable those are.
RELIABILITY_CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (
        PIPELINE_LATENCY,
        QUALITY_SCORES,
        PIPELINE_HEALTH,
        RUN_COST,
        COLUMN_PROFILES,
        DRIFT_STATUS,
        TABLE_AVAILABILITY,
        SLO_STATUS,
    )
}

#: Everything somebody may rely on: the landing event and every table.
ALL_CONTRACTS: dict[str, Contract] = {
    contract.name: contract for contract in (EVENT, *CONTRACTS.values(), BRONZE_HELD, *RELIABILITY_CONTRACTS.values())
}
