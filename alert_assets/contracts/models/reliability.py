"""The pandera models of the tables that say how reliable the others are, columns in the order they are stored.

No `from __future__ import annotations`: on Python 3.10 pandera does not resolve them.
"""

import pyspark.sql.types as T
from pandera.pyspark import DataFrameModel, Field

import alert_assets.contracts.models.struct_dtype  # noqa: F401  (registers the struct dtype)
from alert_assets.contracts.catalog import CONTRACTS, NOTIFIED_STAGE
from alert_assets.contracts.vocabulary import DIMENSIONS, FREE_TEXT

_FREE_TEXT = {"pii": True, "masking": FREE_TEXT}
_BATCH_ID = "Commit that last changed the row; grows with every commit that changes rows."

BURN_RATE = T.StructType(
    [
        T.StructField("severity", T.StringType()),
        T.StructField("long_window_minutes", T.LongType()),
        T.StructField("short_window_minutes", T.LongType()),
        T.StructField("long_burn_rate", T.DoubleType()),
        T.StructField("short_burn_rate", T.DoubleType()),
        T.StructField("limit", T.DoubleType()),
        T.StructField("events", T.LongType()),
        T.StructField("firing", T.BooleanType()),
    ]
)


class PipelineLatency(DataFrameModel):
    """How long the rows of one commit took."""

    stage: T.StringType() = Field(
        isin=[*(stage for contract in CONTRACTS.values() for stage in contract.stages), NOTIFIED_STAGE],
        description="From where to where: the file landed, its batch began, or the event happened.",
    )
    table_version: T.LongType() = Field(
        ge=0,
        description="Delta version of the commit in the stage's table; to notified, the last delivery's number.",
    )
    committed_at: T.TimestampType() = Field(
        description="When the commit made the rows visible, or the last of the messages was sent, UTC."
    )
    newest_event_at: T.TimestampType() = Field(nullable=True, description="Highest event time among the rows, UTC.")
    row_count: T.LongType() = Field(
        ge=0, description="Rows of the commit that the figures are about: none that was old when it landed."
    )
    p50_seconds: T.DoubleType() = Field(nullable=True, description="Median, seconds.")
    p95_seconds: T.DoubleType() = Field(nullable=True, description="95th percentile, seconds.")
    p99_seconds: T.DoubleType() = Field(nullable=True, description="99th percentile, seconds.")
    max_seconds: T.DoubleType() = Field(nullable=True, description="Longest, seconds.")
    threshold_seconds: T.DoubleType() = Field(gt=0.0, description="The stage's SLO threshold when it was measured.")
    over_threshold: T.LongType() = Field(ge=0, description="Rows that took longer than the threshold.")
    run_id: T.StringType() = Field(nullable=True, description="Dagster run that made the commit.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "pipeline_latency"
        strict = True


class QualityScores(DataFrameModel):
    """What a table was worth in one dimension at one time."""

    table_name: T.StringType() = Field(description="The table.")
    dimension: T.StringType() = Field(
        isin=[*DIMENSIONS, "overall"], description="One of the six dimensions, or overall, their weighted mean."
    )
    evaluated_at: T.TimestampType() = Field(description="When, UTC.")
    score: T.DoubleType() = Field(ge=0.0, le=100.0, description="0 to 100.")
    good: T.LongType() = Field(nullable=True, ge=0, description="Rows or values that passed; null for overall.")
    total: T.LongType() = Field(nullable=True, ge=0, description="Rows or values that were looked at.")
    weight: T.DoubleType() = Field(nullable=True, ge=0.0, description="Share in the overall score.")
    run_id: T.StringType() = Field(nullable=True, description="Dagster run that evaluated it.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "quality_scores"
        strict = True


class PipelineHealth(DataFrameModel):
    """One health metric of the pipeline's runs or of the host."""

    metric: T.StringType() = Field(description="E.g. success_rate_percent, duration_ratio, backlog_runs.")
    subject: T.StringType() = Field(description="Job, breaker or host the metric is about.", metadata={"pii": True})
    evaluated_at: T.TimestampType() = Field(description="When, UTC.")
    value: T.DoubleType() = Field(
        nullable=True, description="The metric in the unit its name ends with; null: no data."
    )
    limit: T.DoubleType() = Field(description="Beyond it the metric is unhealthy.")
    healthy: T.BooleanType() = Field(description="Whether the value keeps the limit; true without data.")
    samples: T.LongType() = Field(ge=0, description="Runs or samples behind the value.")
    detail: T.StringType() = Field(nullable=True, description="What broke the limit, by name.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "pipeline_health"
        strict = True


class RunCost(DataFrameModel):
    """What one step of one run used and cost."""

    run_id: T.StringType() = Field(description="Dagster run; of the resident process, stream/ and a number.")
    step: T.StringType() = Field(description="Step of the run; (run) for its start, its end and what is in between.")
    job: T.StringType() = Field(description="Job of the run; stream for the resident process.")
    ended_at: T.TimestampType() = Field(description="When the run ended and its use was recorded, UTC.")
    cpu_seconds: T.DoubleType() = Field(ge=0.0, description="CPU time of its processes and of the Spark server.")
    bytes_read: T.LongType() = Field(ge=0, description="Bytes these read by system calls, cached or not.")
    bytes_written: T.LongType() = Field(ge=0, description="Bytes these wrote by system calls.")
    prompt_tokens: T.LongType() = Field(ge=0, description="Tokens sent to the model.")
    completion_tokens: T.LongType() = Field(ge=0, description="Tokens the model wrote.")
    cost_usd: T.DoubleType() = Field(ge=0.0, description="All of it at the prices of the settings, US dollars.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "run_cost"
        strict = True


class ColumnProfiles(DataFrameModel):
    """How the values of one column were distributed in one hour."""

    table_name: T.StringType() = Field(description="The table.")
    column_name: T.StringType() = Field(description="The column; a map's key and a struct's field behind a dot.")
    hour: T.TimestampType() = Field(description="Start of the hour, by the table's time column, UTC.")
    row_count: T.LongType() = Field(ge=0, description="Rows of the hour; of a map's key, those that have it.")
    null_count: T.LongType() = Field(ge=0, description="Rows without a value.")
    distinct_count: T.LongType() = Field(ge=0, description="Distinct values; 0 where they are not compared.")
    sketch: T.BinaryType() = Field(
        nullable=True, description="KLL sketch of the numbers, as Apache DataSketches serializes kll_doubles_sketch."
    )
    value_counts: T.MapType(T.StringType(), T.LongType()) = Field(
        nullable=True, description="Rows by value of a text, where an hour has at most 100.", metadata=_FREE_TEXT
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "column_profiles"
        strict = True


class DriftStatus(DataFrameModel):
    """What one hour of a column is against the hours before."""

    table_name: T.StringType() = Field(description="The table.")
    column_name: T.StringType() = Field(description="The column, as in column_profiles.")
    hour: T.TimestampType() = Field(description="Start of the hour that was judged, UTC.")
    evaluated_at: T.TimestampType() = Field(description="When, UTC.")
    state: T.StringType() = Field(
        isin=["learning", "few", "ok", "drifted"],
        description="learning: the baseline is too short; few: the hour has too few values.",
    )
    kinds: T.ArrayType(T.StringType()) = Field(
        description="What has changed: shifted, unit, frozen, category, nulls; missing, unexpected, retyped columns."
    )
    psi: T.DoubleType() = Field(nullable=True, description="Population stability index against the baseline.")
    psi_limit: T.DoubleType() = Field(nullable=True, description="Beyond it the column has drifted.")
    ks: T.DoubleType() = Field(
        nullable=True, ge=0.0, le=1.0, description="Statistic of Kolmogorov and Smirnov; null for texts."
    )
    ks_limit: T.DoubleType() = Field(nullable=True, description="Beyond it the column has drifted.")
    null_share: T.DoubleType() = Field(nullable=True, ge=0.0, le=1.0, description="Of the hour.")
    usual_null_share: T.DoubleType() = Field(nullable=True, ge=0.0, le=1.0, description="Of the baseline.")
    baseline_hours: T.LongType() = Field(ge=0, description="Hours it was compared with.")
    reason: T.StringType() = Field(nullable=True, description="What has changed, in figures.", metadata=_FREE_TEXT)
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "drift_status"
        strict = True


class TableAvailability(DataFrameModel):
    """Whether a table was available at one time."""

    table_name: T.StringType() = Field(description="The table.")
    probed_at: T.TimestampType() = Field(description="When it was looked at, UTC.")
    readable: T.BooleanType() = Field(description="Whether its log and a row of its newest file could be read.")
    fresh: T.BooleanType() = Field(description="Whether it was no further behind than its contract allows.")
    behind_minutes: T.DoubleType() = Field(
        nullable=True, ge=0.0, description="For how long data has been waited for; null when it cannot be told."
    )
    problem: T.StringType() = Field(
        nullable=True, description="Why it could not be read; null when it could.", metadata=_FREE_TEXT
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "table_availability"
        strict = True


class SloStatus(DataFrameModel):
    """Where one SLO stood at one time."""

    slo: T.StringType() = Field(description="Name of the SLO.")
    service: T.StringType() = Field(description="Service it belongs to.")
    evaluated_at: T.TimestampType() = Field(description="When, UTC.")
    target_percent: T.DoubleType() = Field(gt=0.0, lt=100.0, description="Objective.")
    window_minutes: T.LongType() = Field(gt=0, description="Rolling window of the objective.")
    good: T.DoubleType() = Field(ge=0.0, description="Good events, or good minutes, in the window.")
    total: T.DoubleType() = Field(ge=0.0, description="All events, or minutes, in the window.")
    excluded: T.DoubleType() = Field(
        ge=0.0, description="Bad events, or minutes, not counted: an open circuit breaker caused them."
    )
    achieved_percent: T.DoubleType() = Field(nullable=True, description="Good of total; null without events.")
    budget_left_percent: T.DoubleType() = Field(
        nullable=True,
        description="Error budget of the whole window left; below 0 it is overspent; null without data or warming up.",
    )
    burn_rates: T.ArrayType(BURN_RATE) = Field(
        description="Each pair of windows: rates, limit, whether it fires; empty without data or warming up."
    )
    state: T.StringType() = Field(
        isin=["no_data", "warming_up", "ok", "burning", "exhausted", "exhausted, burning"],
        description="Everything that is so; warming_up: too young or too few events for budget and burn rates.",
    )
    severity: T.StringType() = Field(nullable=True, description="Of the worst burn-rate alert that fires.")
    detail: T.StringType() = Field(nullable=True, description="What is still missing while it is warming up.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "slo_status"
        strict = True
