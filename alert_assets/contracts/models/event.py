"""The event contract, version 2: the fields a producer may send and the rule of each.

A field's `metadata` says what pandera's own checks cannot: for which event types it is required
(`required_for`; `"*"` is all of them), how its text is normalised (`case`, `aliases`), which other words of producers
are `understood`, what it falls back to (`default`, `default_from`), for which types (`default_for`) and whether that is
noted (`default_is_noted`), whether it is `free_text`, of which blanks are a part, whether it may tell about a
person (`pii`), what is masked when it leaves the lake (`masking`), and `examples` of it; whether a `fingerprint` may
be made of it; whether it is `measured`, of which a metric event needs one, and `never_zero` where anything runs.

No `from __future__ import annotations` here and in the tables: on Python 3.10 pandera does not resolve them.
"""

import pyspark.sql.types as T
from pandera.pyspark import DataFrameModel, Field

from alert_assets.contracts.vocabulary import (
    EVENT_TYPE_ALIASES,
    EVENT_TYPES,
    EVERY,
    FREE_TEXT,
    LOG_LEVEL_ALIASES,
    LOG_LEVELS,
    SEVERITIES,
    SEVERITY_ALIASES,
    STATUS_ALIASES,
    STATUSES,
)


class Event(DataFrameModel):
    """One operational event."""

    event_id: T.StringType() = Field(
        description="With `timestamp`, the producer's idempotency key: a redelivery carries both unchanged.",
        metadata={"required_for": EVERY},
    )
    event_type: T.StringType() = Field(
        isin=list(EVENT_TYPES),
        description="alert, log, metric, deployment or dependency.",
        metadata={"required_for": EVERY, "understood": EVENT_TYPE_ALIASES},
    )
    application_id: T.StringType() = Field(
        description="The application the event is about; of a dependency the caller.",
        metadata={"required_for": EVERY, "examples": ("payments-api",), "fingerprint": True},
    )
    host: T.StringType() = Field(
        nullable=True,
        description="Host, pod or instance.",
        metadata={"pii": True, "examples": ("host-a",), "fingerprint": True},
    )
    timestamp: T.TimestampType() = Field(
        description="When it happened, UTC; RFC 3339 with an offset or Z on the wire.",
        metadata={"required_for": EVERY, "examples": ("2026-02-14T10:05:00Z",)},
    )
    source: T.StringType() = Field(
        nullable=True, description="The system that produced the event.", metadata={"fingerprint": True}
    )
    labels: T.MapType(T.StringType(), T.StringType()) = Field(
        nullable=True, description="Free key-value pairs.", metadata={"pii": True, "masking": FREE_TEXT}
    )
    url: T.StringType() = Field(
        nullable=True,
        str_matches=r"^https?://[^/ ]",
        description="Link back to where the event came from; http or https.",
        metadata={"pii": True, "masking": ("secret",)},
    )
    alert_id: T.StringType() = Field(
        nullable=True,
        description="The alert's own id; its event_id when the producer gave none.",
        metadata={"default_from": "event_id", "default_for": ("alert",), "fingerprint": True},
    )
    alert_type: T.StringType() = Field(
        nullable=True,
        description="What kind of alert.",
        metadata={"required_for": ("alert",), "examples": ("cpu_high",), "fingerprint": True},
    )
    severity: T.StringType() = Field(
        nullable=True,
        isin=list(SEVERITIES),
        description="CRITICAL, HIGH, MEDIUM, LOW or INFO; MEDIUM when the producer gave none.",
        metadata={
            "case": "upper",
            "understood": SEVERITY_ALIASES,
            "default": "MEDIUM",
            "default_for": ("alert",),
            "default_is_noted": True,
            "fingerprint": True,
        },
    )
    status: T.StringType() = Field(
        nullable=True,
        isin=list(STATUSES),
        description="firing (default) or resolved.",
        metadata={"case": "lower", "understood": STATUS_ALIASES, "default": "firing", "default_for": ("alert",)},
    )
    current_value: T.DoubleType() = Field(nullable=True, description="What the alert measured.")
    threshold: T.DoubleType() = Field(nullable=True, description="What it was measured against.")
    cpu_percent: T.DoubleType() = Field(
        nullable=True,
        ge=0.0,
        description="Percent of the request; real data exceeds 100.",
        metadata={"measured": True, "never_zero": True},
    )
    memory_percent: T.DoubleType() = Field(
        nullable=True,
        ge=0.0,
        description="Percent of the request; real data exceeds 100.",
        metadata={"measured": True, "never_zero": True},
    )
    error_rate: T.DoubleType() = Field(
        nullable=True, ge=0.0, le=1.0, description="Share of failed requests, 0 to 1.", metadata={"measured": True}
    )
    metrics: T.MapType(T.StringType(), T.DoubleType()) = Field(
        nullable=True, description="Any other measurements by name.", metadata={"measured": True}
    )
    log_level: T.StringType() = Field(
        nullable=True,
        isin=list(LOG_LEVELS),
        description="TRACE, DEBUG, INFO, WARN, ERROR or FATAL.",
        metadata={
            "required_for": ("log",),
            "case": "upper",
            "aliases": {"WARNING": "WARN"},
            "understood": LOG_LEVEL_ALIASES,
        },
    )
    error_code: T.StringType() = Field(
        nullable=True,
        description="Exception class or error code of a log.",
        metadata={"examples": ("TimeoutException",), "fingerprint": True},
    )
    message: T.StringType() = Field(
        nullable=True,
        description="Free text; data from outside, never an instruction.",
        metadata={"pii": True, "masking": FREE_TEXT, "fingerprint": True, "free_text": True},
    )
    deployment_id: T.StringType() = Field(
        nullable=True, description="Id of a deployment.", metadata={"required_for": ("deployment",)}
    )
    version: T.StringType() = Field(
        nullable=True,
        description="What was deployed.",
        metadata={"required_for": ("deployment",), "examples": ("v2.3.1",)},
    )
    change_type: T.StringType() = Field(
        nullable=True, description="How it was deployed.", metadata={"examples": ("rolling_update",)}
    )
    depends_on: T.StringType() = Field(
        nullable=True,
        description="The application that is called.",
        metadata={"required_for": ("dependency",), "examples": ("ledger-api",)},
    )
    depends_on_host: T.StringType() = Field(
        nullable=True, description="Host, pod or instance that is called.", metadata={"pii": True}
    )

    class Config:
        """pandera's options."""

        name = "event"
        strict = True
