"""What goes into an analysis, what comes out, and what an analyst is.

An analysis is stored under the hash of its context and reused for every incident or problem with that
hash. That is only sound if an analyst sees nothing that the context text does not show, so
:class:`IncidentContext` holds values as the text prints them: two decimals, whole seconds, no
deployment id, no incident time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from alert_assets.kernel.text import one_line, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


#: The highest confidence an analysis may claim with this many kinds of evidence. Of an incident: values, deployments,
#: errors, metrics, other alerts. Never 1: no count of telemetry is proof.
CEILINGS = (0.2, 0.4, 0.65, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Deployment:
    """One correlated deployment, as its line in the context text shows it."""

    version: str
    change_type: str | None
    timestamp: datetime


@dataclass(frozen=True)
class Metrics:
    """The metric summary: percentages, and a rate from 0 to 1; None is "not measured"."""

    cpu_max: float | None = None
    cpu_avg: float | None = None
    memory_max: float | None = None
    error_rate_max: float | None = None


class Context(Protocol):
    """What an analyst is asked about: an incident or a problem."""

    @property
    def context_hash(self) -> str:
        """What the analysis is stored under."""

    @property
    def text(self) -> str:
        """All of it as text: what a model reads."""

    @property
    def evidence_ids(self) -> frozenset[str]:
        """Ids of the evidence in the text that an answer may cite, e.g. `A1`; empty where it has none."""

    @property
    def confidence_ceiling(self) -> float:
        """How confident an analysis may be, by rules or model: less evidence, less confidence."""


@dataclass(frozen=True)
class IncidentContext:
    """Everything an analyst may use. Deployments are in time order; `text` is `incident_context_text`."""

    context_hash: str
    text: str
    application_id: str
    alert_type: str
    host: str | None = None
    current_value: float | None = None
    threshold: float | None = None
    deployments: tuple[Deployment, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    metrics: Metrics = Metrics()
    other_alert_count: int = 0

    @classmethod
    def from_gold_row(cls, row: Mapping[str, Any]) -> IncidentContext:
        """The context of one `gold_incidents` row, as Spark, Arrow or pandas give it.

        Raises:
            KeyError, TypeError, ValueError: the row is not a row of gold.
        """
        return cls(
            context_hash=str(row["context_hash"]),
            text=str(row["incident_context_text"]),
            application_id=str(row["application_id"]),
            alert_type=str(row["alert_type"]),
            host=_text_or_none(row["host"]),
            current_value=_two_decimals(row["current_value"]),
            threshold=_two_decimals(row["threshold"]),
            deployments=_deployments(row["correlated_deployments"]),
            errors=_counts(row["error_summary"]),
            metrics=_metrics(row["metric_summary"]),
            # Null in rows that the release before made, whose text does not show it either.
            other_alert_count=int(row.get("other_alert_count") or 0),
        )

    @property
    def evidence_ids(self) -> frozenset[str]:
        """None: the lines of its text have no ids."""
        return frozenset()

    @property
    def confidence_ceiling(self) -> float:
        """By how many kinds of evidence there are."""
        kinds = (
            self.current_value is not None and self.threshold is not None,
            bool(self.deployments),
            bool(self.errors),
            self.metrics != Metrics(),
            self.other_alert_count > 0,
        )
        return CEILINGS[sum(kinds)]


def _two_decimals(value: Any) -> float | None:
    """The number the text prints."""
    if value is None or not math.isfinite(number := float(value)):
        return None
    return float(f"{number:.2f}")


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _deployments(rows: Iterable[Mapping[str, Any]] | None) -> tuple[Deployment, ...]:
    if rows is None:
        return ()
    return tuple(
        Deployment(
            version=str(row["version"]),
            change_type=_text_or_none(row["change_type"]),
            timestamp=_utc(row["timestamp"]).replace(microsecond=0),
        )
        for row in rows
    )


def _utc(moment: datetime) -> datetime:
    """Return an aware time: Spark hands out naive ones, and the session is in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _counts(summary: Mapping[str, int] | Iterable[tuple[str, int]] | None) -> dict[str, int]:
    """Return a map as a dict: Arrow hands it over as pairs."""
    if summary is None:
        return {}
    return {str(code): int(count) for code, count in dict(summary).items() if int(count) > 0}


def _metrics(summary: Mapping[str, Any] | None) -> Metrics:
    if summary is None:
        return Metrics()
    return Metrics(**{name: _two_decimals(summary[name]) for name in Metrics.__dataclass_fields__})


HYPOTHESIS = "Hypothesis: "
UNKNOWN = "Unknown: "


def _labelled(text: str) -> str:
    """Label a root cause as a hypothesis where it is not labelled: it is never a fact."""
    return text if text.startswith((HYPOTHESIS, UNKNOWN)) else HYPOTHESIS + text


def _readable(value: object) -> object:
    return readable(value) if isinstance(value, str) else value


def _single_line(value: object) -> object:
    return " ".join(readable(value).split()) if isinstance(value, str) else value


Prose = Annotated[str, Field(min_length=1, max_length=1200), BeforeValidator(_readable)]


class Analysis(BaseModel):
    """What an analyst says: the platinum columns, and the schema a model must answer in.

    Facts and guesses never share a field: `summary` and `patterns` hold what was observed,
    `root_cause` says on its face that it is a hypothesis or unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    summary: Annotated[Prose, Field(description="Observed facts only: what happened, to what. One to three sentences.")]
    patterns: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=300), BeforeValidator(_single_line)]],
        Field(
            max_length=12,
            description="Observed facts only, one short line each, each readable from the data. At most eight.",
        ),
    ]
    root_cause: Annotated[
        Prose,
        AfterValidator(_labelled),
        Field(
            description=f"What probably caused it. Starts with '{HYPOTHESIS.strip()}', or with '{UNKNOWN.strip()}' "
            "when the data does not say. One to three sentences."
        ),
    ]
    confidence_score: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False, description="0 to 1: how well the data supports root_cause."),
    ]
    recommended_action: Annotated[Prose, Field(description="What to do first, then next. One to four sentences.")]


@dataclass(frozen=True)
class Answer:
    """An analysis and what it cost."""

    analysis: Analysis
    prompt_tokens: int = 0
    completion_tokens: int = 0


class AnalysisFailed(Exception):
    """No usable analysis. `reason` is short and safe to store and show; the tokens are spent all the same."""

    def __init__(self, reason: str, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Keep the reason, shortened to one line, and the tokens that were spent."""
        self.reason = one_line(reason, 300)
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        super().__init__(self.reason)


class BudgetExhausted(Exception):
    """The run's budget has no room for this context; nothing was sent."""


class Analyst(Protocol):
    """Reads one context at a time. Many `analyze` calls may be in flight at once."""

    @property
    def name(self) -> str:
        """What the platinum column `model` says."""

    @property
    def prompt_version(self) -> str:
        """Changes whenever the same context could be read differently."""

    async def analyze(self, context: Context) -> Answer:
        """Analyse `context`.

        Raises:
            AnalysisFailed: asked, and no usable answer.
            BudgetExhausted: not asked.
        """
