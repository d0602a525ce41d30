"""The pandera models of the medallion's Delta tables (docs/rules.md), columns in the order they are stored.

A column whose name starts with an underscore is declared under its plain name with an alias: pandera
takes leading underscores for private attributes.
"""

from collections.abc import Sequence

import pyspark.sql.types as T
from pandera.pyspark import DataFrameModel, Field

import alert_assets.contracts.models.struct_dtype  # noqa: F401  (registers the struct dtype)
from alert_assets.contracts.models.event import Event
from alert_assets.contracts.vocabulary import FREE_TEXT, SEVERITIES, STATUSES, SUMMARIES

_SHA256 = r"^[0-9a-f]{64}$"
#: May hold anything that anybody wrote. Analysts quote the incident's context, and with it hosts and messages.
_FREE_TEXT = {"pii": True, "masking": FREE_TEXT}
_BATCH_ID = "Commit that last changed the row; grows with every commit that changes rows."

DEPLOYMENT = T.StructType(
    [
        T.StructField("deployment_id", T.StringType()),
        T.StructField("version", T.StringType()),
        T.StructField("change_type", T.StringType()),
        T.StructField("timestamp", T.TimestampType()),
    ]
)
CHANGE = T.StructType(
    [
        T.StructField("application_id", T.StringType()),
        T.StructField("deployment_id", T.StringType()),
        T.StructField("version", T.StringType()),
        T.StructField("change_type", T.StringType()),
        T.StructField("timestamp", T.TimestampType()),
    ]
)
CAUSE = T.StructType(
    [
        T.StructField("application_id", T.StringType()),
        T.StructField("host", T.StringType()),
        T.StructField("share", T.DoubleType()),
        T.StructField("because", T.StringType()),
        T.StructField("change", T.StringType()),
    ]
)
TOP_MESSAGE = T.StructType([T.StructField("message", T.StringType()), T.StructField("count", T.LongType())])
METRIC_SUMMARY = T.StructType([T.StructField(summary.name, T.DoubleType()) for summary in SUMMARIES])


def _made_of(*columns: str, by: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """The lineage of a column: whose values it shows, and by what those are chosen.

    The notation is in :mod:`alert_assets.contracts.lineage`.
    """
    return {"made_of": columns, "chosen_by": tuple(by)}


def _chosen_by(*columns: str) -> dict[str, tuple[str, ...]]:
    """The lineage of a column that shows the one of the same name, chosen by these."""
    return {"chosen_by": columns}


#: An analyst may use all that it reads in everything it says.
_SAID = _made_of("{read}")
#: By which the first and the last firing of a window are found.
_FIRING_ORDER = "bronze_events.timestamp,event_id,status"
#: By which an incident's evidence is found, each event once.
_LOOKBACK = (
    "bronze_events.application_id,timestamp,event_type,event_id",
    "silver_alerts.application_id,first_seen_timestamp",
)
#: What is measured around a problem.
_MEASUREMENTS = (
    "silver_baselines.measure,application_id,host,depends_on,depends_on_host,hour,samples,weight,values",
    "bronze_events.event_id,event_type,application_id,host,timestamp,depends_on,depends_on_host",
    "bronze_events.cpu_percent,error_rate,metrics,log_level",
)
#: Which calls are known at a time.
_CALLS = "silver_dependencies.caller,callee,first_seen,last_seen"
#: When a problem was, and where.
_PROBLEM = "gold_incidents.application_id,first_seen_timestamp,last_seen_timestamp"


class BronzeEvents(Event):
    """Every valid event, as it came."""

    rescued: T.StringType() = Field(
        alias="_rescued",
        nullable=True,
        description="Fields the contract does not know, as one JSON object.",
        metadata=_FREE_TEXT,
    )
    adapted: T.ArrayType(T.StringType()) = Field(
        alias="_adapted",
        nullable=True,
        description="Fields that were not taken as they were written, sorted; null when there are none.",
    )
    source_file: T.StringType() = Field(alias="_source_file", description="Landing file of the line.")
    landed_at: T.TimestampType() = Field(alias="_landed_at", description="When that file was written, UTC.")
    ingested_at: T.TimestampType() = Field(alias="_ingested_at", description="When its micro-batch began, UTC.")
    late_by_seconds: T.DoubleType() = Field(
        alias="_late_by_seconds",
        nullable=True,
        gt=0.0,
        description="Seconds behind the watermark when it came; null when on time.",
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "bronze_events"
        strict = True


class BronzeQuarantine(DataFrameModel):
    """Every line that broke the event contract."""

    raw: T.StringType() = Field(
        description="The line as it came; U+FFFD stands for bytes that are not UTF-8.",
        metadata=_FREE_TEXT,
    )
    raw_bytes: T.BinaryType() = Field(
        nullable=True,
        description="The line's bytes, only where `raw` could not hold them.",
        metadata={"pii": True, "masking": ("hash",)},
    )
    reasons: T.ArrayType(T.StringType()) = Field(
        description="malformed_json, too_deep, too_long, missing:, invalid:, future: or too_long:FIELD; all that apply."
    )
    contract_version: T.IntegerType() = Field(ge=1, description="Event contract the line was judged by.")
    source_file: T.StringType() = Field(alias="_source_file", description="Landing file of the line.")
    landed_at: T.TimestampType() = Field(alias="_landed_at", description="When that file was written, UTC.")
    ingested_at: T.TimestampType() = Field(alias="_ingested_at", description="When its micro-batch began, UTC.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)
    replayed_at: T.TimestampType() = Field(nullable=True, description="When a replay moved the line to bronze, UTC.")

    class Config:
        """pandera's options."""

        name = "bronze_quarantine"
        strict = True


class BronzeHeld(DataFrameModel):
    """Every line of a batch that was not published."""

    batch: T.LongType() = Field(
        ge=1, description="Number of the held batch: the commit that set it aside. `alert-assets held release BATCH`."
    )
    raw: T.StringType() = Field(
        description="The line as it came; U+FFFD stands for bytes that are not UTF-8.",
        metadata=_FREE_TEXT,
    )
    raw_bytes: T.BinaryType() = Field(
        nullable=True,
        description="The line's bytes, only where `raw` could not hold them.",
        metadata={"pii": True, "masking": ("hash",)},
    )
    because: T.ArrayType(T.StringType()) = Field(description="The gating checks that the batch broke, with figures.")
    source_file: T.StringType() = Field(alias="_source_file", description="Landing file of the line.")
    landed_at: T.TimestampType() = Field(alias="_landed_at", description="When that file was written, UTC.")
    ingested_at: T.TimestampType() = Field(alias="_ingested_at", description="When its micro-batch began, UTC.")
    decision: T.StringType() = Field(
        nullable=True, isin=["released", "discarded"], description="What became of the batch; null while it waits."
    )
    decided_at: T.TimestampType() = Field(nullable=True, description="When, UTC.")
    decided_by: T.StringType() = Field(nullable=True, description="By whom.", metadata=_FREE_TEXT)
    decided_why: T.StringType() = Field(nullable=True, description="The reason they gave.", metadata=_FREE_TEXT)
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "bronze_held"
        strict = True


class SilverAlerts(DataFrameModel):
    """One row per fingerprint and window."""

    fingerprint: T.StringType() = Field(
        str_matches=_SHA256,
        description="Hex SHA-256 of the DEDUP_FIELDS values joined by U+001F, null as empty.",
        metadata=_made_of("bronze_events.{dedup_fields}"),
    )
    window_start: T.TimestampType() = Field(
        description="Start of the window, aligned to the epoch, UTC.", metadata=_made_of("bronze_events.timestamp")
    )
    window_end: T.TimestampType() = Field(
        description="End of the window, not included, UTC.", metadata=_made_of("bronze_events.timestamp")
    )
    application_id: T.StringType() = Field(description="Of the first firing.", metadata=_chosen_by(_FIRING_ORDER))
    host: T.StringType() = Field(
        nullable=True, description="Of the first firing.", metadata={"pii": True, **_chosen_by(_FIRING_ORDER)}
    )
    alert_type: T.StringType() = Field(description="Of the first firing.", metadata=_chosen_by(_FIRING_ORDER))
    severity: T.StringType() = Field(
        isin=list(SEVERITIES),
        description="The highest of the firings; of the resolutions where there are none.",
        metadata=_chosen_by("bronze_events.status"),
    )
    alert_id: T.StringType() = Field(
        nullable=True, description="Of the first firing.", metadata=_chosen_by(_FIRING_ORDER)
    )
    current_value: T.DoubleType() = Field(
        nullable=True, description="Of the first firing.", metadata=_chosen_by(_FIRING_ORDER)
    )
    threshold: T.DoubleType() = Field(
        nullable=True, description="Of the first firing.", metadata=_chosen_by(_FIRING_ORDER)
    )
    max_value: T.DoubleType() = Field(
        nullable=True,
        description="Highest current_value of the firings.",
        metadata=_made_of("bronze_events.current_value", by=("bronze_events.status",)),
    )
    first_seen_timestamp: T.TimestampType() = Field(
        nullable=True,
        description="First firing, UTC.",
        metadata=_made_of("bronze_events.timestamp", by=("bronze_events.status",)),
    )
    last_seen_timestamp: T.TimestampType() = Field(
        nullable=True,
        description="Last firing, UTC.",
        metadata=_made_of("bronze_events.timestamp", by=("bronze_events.status",)),
    )
    alert_count: T.LongType() = Field(
        ge=0,
        description="Distinct firing events, by event_id and timestamp.",
        metadata=_made_of("bronze_events.event_id,timestamp", by=("bronze_events.status",)),
    )
    suppressed_count: T.LongType() = Field(
        ge=0, description="alert_count - 1, 0 at least.", metadata=_made_of("alert_count")
    )
    duplicate_count: T.LongType() = Field(
        ge=0,
        description="Repeated deliveries of the window's alerts.",
        metadata=_made_of("bronze_events.event_id,timestamp"),
    )
    resolved_at: T.TimestampType() = Field(
        nullable=True,
        description="Latest resolved event, UTC; null when the window's last firing is later.",
        metadata=_made_of("bronze_events.timestamp", by=("bronze_events.status",)),
    )
    source: T.StringType() = Field(
        nullable=True,
        description="The system that raised the alert; of the last firing, as are the three below.",
        metadata=_chosen_by(_FIRING_ORDER),
    )
    labels: T.MapType(T.StringType(), T.StringType()) = Field(
        nullable=True, description="Free key-value pairs.", metadata={**_FREE_TEXT, **_chosen_by(_FIRING_ORDER)}
    )
    message: T.StringType() = Field(
        nullable=True,
        description="Free text; data from outside, never an instruction.",
        metadata={**_FREE_TEXT, **_chosen_by(_FIRING_ORDER)},
    )
    url: T.StringType() = Field(
        nullable=True,
        description="Link back to where the alert came from.",
        metadata={"pii": True, "masking": ("secret",), **_chosen_by(_FIRING_ORDER)},
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "silver_alerts"
        strict = True


class SilverDependencies(DataFrameModel):
    """One row per pair of applications of which one calls the other."""

    caller: T.StringType() = Field(
        description="application_id that calls.", metadata=_made_of("bronze_events.application_id")
    )
    callee: T.StringType() = Field(
        description="application_id that is called.", metadata=_made_of("bronze_events.depends_on")
    )
    first_seen: T.TimestampType() = Field(
        description="Earliest dependency event of the pair, UTC.", metadata=_made_of("bronze_events.timestamp")
    )
    last_seen: T.TimestampType() = Field(
        description="Latest dependency event of the pair, UTC.", metadata=_made_of("bronze_events.timestamp")
    )
    requests: T.LongType() = Field(
        ge=0,
        description="Calls that its events count, each event once and as a whole number; 0 where none counts.",
        metadata=_made_of("bronze_events.metrics", by=("bronze_events.event_id,timestamp",)),
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "silver_dependencies"
        strict = True


class SilverBaselines(DataFrameModel):
    """One row per series and hour in which it was measured."""

    series_id: T.StringType() = Field(
        str_matches=_SHA256,
        description="Hex SHA-256 of the five columns below, joined by U+001F, null as empty.",
        metadata=_made_of("application_id", "host", "depends_on", "depends_on_host"),
    )
    measure: T.StringType() = Field(
        description="What is measured, e.g. latency_ms: milliseconds, percent, a share of 0 to 1, or calls an event.",
        metadata=_made_of(),
    )
    application_id: T.StringType() = Field(description="Whose it is; of a call, the caller's.")
    host: T.StringType() = Field(nullable=True, description="On which host.", metadata={"pii": True})
    depends_on: T.StringType() = Field(nullable=True, description="Of a call, the callee.")
    depends_on_host: T.StringType() = Field(nullable=True, description="Its host.", metadata={"pii": True})
    hour: T.TimestampType() = Field(
        description="Start of the hour in which the measured intervals end, UTC.",
        metadata=_made_of("bronze_events.timestamp"),
    )
    samples: T.LongType() = Field(
        ge=1,
        description="Values it had, each event once.",
        metadata=_made_of("bronze_events.event_id,timestamp"),
    )
    weight: T.LongType() = Field(
        ge=0,
        description="Requests, calls or log lines behind them, as a whole number; one a value without any.",
        metadata=_made_of("bronze_events.metrics", by=("bronze_events.event_id,timestamp",)),
    )
    values: T.ArrayType(T.DoubleType()) = Field(
        description="The values by their size; of more than 60, 60 at even distances.",
        metadata=_made_of(
            "bronze_events.cpu_percent,error_rate,metrics,log_level",
            by=("bronze_events.event_id,timestamp",),
        ),
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "silver_baselines"
        strict = True


class GoldIncidents(DataFrameModel):
    """Each alert with its evidence."""

    incident_id: T.StringType() = Field(
        str_matches=r"^[0-9a-f]{16}$",
        description="First 16 hex digits of SHA-256 of fingerprint, U+001F, alert_timestamp.",
        metadata=_made_of("silver_alerts.fingerprint,first_seen_timestamp"),
    )
    fingerprint: T.StringType() = Field(str_matches=_SHA256, description="The alert's fingerprint.")
    alert_timestamp: T.TimestampType() = Field(
        description="first_seen_timestamp of the alert, UTC.", metadata=_made_of("silver_alerts.first_seen_timestamp")
    )
    window_start: T.TimestampType() = Field(description="Start of the alert's window, UTC.")
    window_end: T.TimestampType() = Field(description="End of the alert's window, UTC.")
    application_id: T.StringType() = Field(description="Of the first firing.")
    host: T.StringType() = Field(nullable=True, description="Of the first firing.", metadata={"pii": True})
    alert_type: T.StringType() = Field(description="Of the first firing.")
    severity: T.StringType() = Field(isin=list(SEVERITIES), description="The highest of the window's firings.")
    alert_id: T.StringType() = Field(description="Of the first firing.")
    current_value: T.DoubleType() = Field(nullable=True, description="Of the first firing.")
    threshold: T.DoubleType() = Field(nullable=True, description="Of the first firing.")
    max_value: T.DoubleType() = Field(nullable=True, description="Highest current_value of the firings.")
    first_seen_timestamp: T.TimestampType() = Field(description="First firing, UTC; the same as alert_timestamp.")
    last_seen_timestamp: T.TimestampType() = Field(description="Last firing, UTC.")
    alert_count: T.LongType() = Field(ge=1, description="Distinct firing events, by event_id and timestamp.")
    suppressed_count: T.LongType() = Field(ge=0, description="alert_count - 1.")
    duplicate_count: T.LongType() = Field(ge=0, description="Repeated deliveries of the window's alerts.")
    resolved_at: T.TimestampType() = Field(
        nullable=True, description="Latest resolved event of the window, UTC; null when its last firing is later."
    )
    source: T.StringType() = Field(
        nullable=True, description="The system that raised the alert; of the last firing, as are the three below."
    )
    labels: T.MapType(T.StringType(), T.StringType()) = Field(
        nullable=True, description="Free key-value pairs.", metadata=_FREE_TEXT
    )
    message: T.StringType() = Field(
        nullable=True,
        description="Free text; data from outside, never an instruction.",
        metadata=_FREE_TEXT,
    )
    url: T.StringType() = Field(
        nullable=True,
        description="Link back to where the alert came from.",
        metadata={"pii": True, "masking": ("secret",)},
    )
    correlated_deployments: T.ArrayType(DEPLOYMENT) = Field(
        description="The newest 50 deployments of the application in the lookback, by time, then id.",
        metadata=_made_of("bronze_events.deployment_id,version,change_type,timestamp", by=(*_LOOKBACK,)),
    )
    error_summary: T.MapType(T.StringType(), T.LongType()) = Field(
        description="ERROR and FATAL logs with a code in the lookback, by code: the 50 most frequent, then `other`.",
        metadata=_made_of(
            "bronze_events.error_code",
            by=(
                "bronze_events.log_level",
                *_LOOKBACK,
            ),
        ),
    )
    metric_summary: METRIC_SUMMARY = Field(
        description="Extremes and mean of the lookback's metric events.",
        metadata=_made_of(*(f"bronze_events.{summary.field}" for summary in SUMMARIES), by=(*_LOOKBACK,)),
    )
    prior_alert_count: T.LongType() = Field(
        ge=0,
        description="Firing alerts of the application in the lookback whose alert_id is not this one's.",
        metadata=_made_of(
            "bronze_events.alert_id",
            "silver_alerts.alert_id",
            by=(
                "bronze_events.status",
                *_LOOKBACK,
            ),
        ),
    )
    top_messages: T.ArrayType(TOP_MESSAGE) = Field(
        nullable=True,
        description="The five most frequent messages of ERROR and FATAL logs in the lookback, numbers as `#`.",
        metadata={
            **_FREE_TEXT,
            **_made_of(
                "bronze_events.message",
                by=(
                    "bronze_events.log_level",
                    *_LOOKBACK,
                ),
            ),
        },
    )
    other_alert_count: T.LongType() = Field(
        nullable=True,
        ge=0,
        description="Firing alerts of the application in the lookback of other fingerprints than this alert's.",
        metadata=_made_of(
            "bronze_events.{dedup_fields}",
            "silver_alerts.fingerprint",
            by=(
                "bronze_events.status",
                *_LOOKBACK,
            ),
        ),
    )
    incident_context_text: T.StringType() = Field(
        description="All of the above as the analyst reads it.",
        metadata={
            **_FREE_TEXT,
            **_made_of(
                "alert_type",
                "application_id",
                "host",
                "current_value",
                "threshold",
                "correlated_deployments",
                "error_summary",
                "metric_summary",
                "prior_alert_count",
                "other_alert_count",
                "message",
                "labels",
                "top_messages",
            ),
        },
    )
    context_hash: T.StringType() = Field(
        str_matches=_SHA256, description="Hex SHA-256 of the context text.", metadata=_made_of("incident_context_text")
    )
    evidence_count: T.LongType() = Field(
        ge=1,
        description="Events of the application in the lookback, each once.",
        metadata=_made_of(
            by=(
                "bronze_events.application_id,timestamp,event_id",
                "silver_alerts.application_id,first_seen_timestamp",
            )
        ),
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "gold_incidents"
        strict = True


class GoldProblems(DataFrameModel):
    """Incidents of one outage."""

    problem_id: T.StringType() = Field(
        str_matches=r"^[0-9a-f]{16}$",
        description="First 16 hex digits of SHA-256 of its first incident's id.",
        metadata=_made_of("gold_incidents.incident_id"),
    )
    state: T.StringType() = Field(
        isin=list(STATUSES),
        description="Resolved when each of its alerts is; firing until then.",
        metadata=_made_of(
            "silver_alerts.resolved_at",
            by=(
                "silver_alerts.fingerprint",
                "gold_incidents.fingerprint,last_seen_timestamp",
            ),
        ),
    )
    opened_at: T.TimestampType() = Field(
        description="First firing of its first incident, UTC.", metadata=_made_of("gold_incidents.first_seen_timestamp")
    )
    last_seen_at: T.TimestampType() = Field(
        description="Last firing of any, UTC; of one that became part of another, when it did.",
        metadata=_made_of("gold_incidents.last_seen_timestamp"),
    )
    resolved_at: T.TimestampType() = Field(
        nullable=True,
        description="When its last alert was resolved, UTC.",
        metadata=_made_of("silver_alerts.resolved_at", by=("state",)),
    )
    severity: T.StringType() = Field(isin=list(SEVERITIES), description="The highest of its incidents.")
    title: T.StringType() = Field(
        description="What fires, where, and how far it has spread.",
        metadata={
            **_FREE_TEXT,
            **_made_of("gold_incidents.alert_type,application_id", by=("gold_incidents.severity",)),
        },
    )
    applications: T.ArrayType(T.StringType()) = Field(
        description="Of its incidents, in the order they joined.",
        metadata=_made_of("gold_incidents.application_id", by=("gold_incidents.first_seen_timestamp",)),
    )
    incident_ids: T.ArrayType(T.StringType()) = Field(
        description="Its incidents, in order of their first firing.",
        metadata=_made_of("gold_incidents.incident_id", by=("gold_incidents.first_seen_timestamp",)),
    )
    fingerprints: T.ArrayType(T.StringType()) = Field(
        description="Of its incidents, in the order they joined.",
        metadata=_made_of("gold_incidents.fingerprint", by=("gold_incidents.first_seen_timestamp",)),
    )
    alert_count: T.LongType() = Field(
        ge=0, description="Distinct firing events of its incidents.", metadata=_made_of("gold_incidents.alert_count")
    )
    changes: T.ArrayType(CHANGE) = Field(
        description="The newest 50 deployments of its applications and of those they call, from the lookback on.",
        metadata=_made_of(
            "bronze_events.application_id,deployment_id,version,change_type,timestamp",
            by=(
                "bronze_events.event_type,event_id",
                _CALLS,
                _PROBLEM,
            ),
        ),
    )
    causes: T.ArrayType(CAUSE) = Field(
        description="The three likeliest causes, the best first; share is of all blame, 0 to 1.",
        metadata={
            **_FREE_TEXT,
            **_made_of("confidence", "bronze_events.version"),
        },
    )
    confidence: T.DoubleType() = Field(
        ge=0.0,
        le=1.0,
        description="In the first cause; below 0.4 it is unknown.",
        metadata=_made_of(*_MEASUREMENTS, "bronze_events.change_type", by=(_CALLS, _PROBLEM)),
    )
    context_text: T.StringType() = Field(
        description="All of the above as the analyst reads it.",
        metadata={
            **_FREE_TEXT,
            **_made_of(
                "title",
                "severity",
                "opened_at",
                "resolved_at",
                "causes",
                "confidence",
                "gold_incidents.alert_type,application_id,host,alert_count,max_value,threshold",
                "silver_dependencies.caller,callee",
                by=(_CALLS,),
            ),
        },
    )
    context_hash: T.StringType() = Field(
        str_matches=_SHA256, description="Hex SHA-256 of the context text.", metadata=_made_of("context_text")
    )
    merged_into: T.StringType() = Field(
        nullable=True,
        str_matches=r"^[0-9a-f]{16}$",
        description="The older problem that it became part of, which has its incidents now; null for any other.",
        metadata=_made_of("gold_incidents.incident_id"),
    )
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)

    class Config:
        """pandera's options."""

        name = "gold_problems"
        strict = True


class _IncidentKey(DataFrameModel):
    """What names an incident."""

    fingerprint: T.StringType() = Field(str_matches=_SHA256, description="The alert's fingerprint.")
    alert_timestamp: T.TimestampType() = Field(description="When the incident's alert first fired, UTC.")


class _ProblemKey(DataFrameModel):
    """What names a problem, and when it opened."""

    problem_id: T.StringType() = Field(str_matches=r"^[0-9a-f]{16}$", description="The problem's id.")
    opened_at: T.TimestampType() = Field(description="When the problem opened, UTC.")


class _Analysis(DataFrameModel):
    """What an analyst says."""

    summary: T.StringType() = Field(
        nullable=True, description="What happened, in a sentence or two.", metadata={**_FREE_TEXT, **_SAID}
    )
    patterns: T.ArrayType(T.StringType()) = Field(
        nullable=True, description="What was recognised in the evidence.", metadata={**_FREE_TEXT, **_SAID}
    )
    root_cause: T.StringType() = Field(
        nullable=True, description="The likeliest cause, marked as what it is.", metadata={**_FREE_TEXT, **_SAID}
    )
    confidence_score: T.DoubleType() = Field(nullable=True, ge=0.0, le=1.0, description="0 to 1.", metadata=_SAID)
    recommended_action: T.StringType() = Field(
        nullable=True, description="What to do first.", metadata={**_FREE_TEXT, **_SAID}
    )
    model: T.StringType() = Field(nullable=True, description="The analyst that wrote the row.")
    prompt_version: T.StringType() = Field(nullable=True, description="Version of the prompt or of the rules.")
    context_hash: T.StringType() = Field(str_matches=_SHA256, description="The context that was analysed.")
    analyzed_at: T.TimestampType() = Field(description="When, UTC.")
    prompt_tokens: T.LongType() = Field(nullable=True, ge=0, description="Tokens sent to the model.")
    completion_tokens: T.LongType() = Field(nullable=True, ge=0, description="Tokens the model wrote.")
    error: T.StringType() = Field(
        nullable=True, description="Why the configured analyst did not answer.", metadata=_FREE_TEXT
    )
    attempts: T.LongType() = Field(ge=0, description="Runs in which it was asked about this context.")
    batch_id: T.LongType() = Field(alias="_batch_id", ge=1, description=_BATCH_ID)


class PlatinumIncidents(_Analysis, _IncidentKey):
    """What each incident means."""

    class Config:
        """pandera's options."""

        name = "platinum_incidents"
        strict = True


class PlatinumProblems(_Analysis, _ProblemKey):
    """What each problem means."""

    class Config:
        """pandera's options."""

        name = "platinum_problems"
        strict = True
