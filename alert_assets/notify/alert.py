"""The one type of everything that people are notified of.

An alert says that something is so, since when, and what to do. It does not say to whom: that is routing's
business, and whether it is sent now is the dispatcher's. Alerts of one `episode` are about
one condition: the first opens it, later ones update it, one that is `resolved` closes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from alert_assets.contracts.masking import mask, masked, masked_labels, without_secrets
from alert_assets.kernel.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Severity = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"]
#: From the highest to the lowest.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

#: The priority that a severity stands for; INFO wakes no one.
PRIORITIES: Mapping[Severity, str] = {"CRITICAL": "P1", "HIGH": "P2", "MEDIUM": "P3", "LOW": "P4", "INFO": "P4"}

Kind = Literal[
    "incident",
    "run_failure",
    "check_failure",
    "slo_burn",
    "breaker_transition",
    "batch_held",
    "contract_break",
    "delivery_failure",
    "suspicious_act",
    "report",
]
#: A report goes to the addresses of the e-mail channel, past the routing, so no rule names it.
KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "report")

Status = Literal["firing", "resolved"]

#: Characters of an error and lines of a stack trace that are kept: its end says what broke.
_ERROR_LENGTH, _TRACE_LINES = 2_000, 15

#: Fields that anybody may have written, and those that name something, from which only secrets are taken.
_FREE_TEXTS = ("description", "error", "stack_trace", "message", "cause", "suggested_action", "body")
_NAMES = ("application", "table", "pipeline", "alert_type", "host", "source", "url", "runbook_url")

#: Fields that only reports have.
_OF_REPORTS = ("body", "attached")

#: How a cause begins that is none.
UNKNOWN = "Unknown:"

_MOMENTS = ("at", "since", "fired_at", "resolved_at")


@dataclass(frozen=True)
class Alert:
    """A condition that people may have to be notified of.

    Attributes:
        kind: what it is about.
        episode: identifies the condition, e.g. an alert's fingerprint or `run/bronze_to_gold`.
        status: firing, or resolved when it is over.
        severity: decides channels, escalation and deadlines.
        title: one line.
        at: when this was found to be so, UTC.
        since: since when it is so, UTC.
        description: a few lines of plain text. Data from outside, never markup.
        source: the system that noticed.
        application, table, pipeline, run_id: what it is about, where that applies.
        labels: anything else to route by.
        error, stack_trace: what broke, and the end of its trace.
        owner: the team it belongs to, e.g. `team:data-platform`.
        runbook_url, suggested_action: what to do.
        links: places in the Dagster UI, by what they show.
        count: how many alerts this one stands for.
        occurrence: what `count` counts, e.g. the start of a dedup window: a later report of the same occurrence takes
            the place of the earlier. Empty: every report is an occurrence of its own.
        fired_at, resolved_at: the latest firing and the latest resolution that it reports of. Neither given: `at`, by
            `status`. It is firing while the firing is the later one.
        alert_type, host, message, url: of the alert itself, as its sender gave them; data from outside.
        value, threshold: what was measured, and against what.
        incident_id: of the newest incident of the lake that it reports of.
        problem_id: of the problem that the incident is part of.
        problem_alerts: names of all alerts of that problem, as members are named in messages.
        routed_priority: that of the routing, where a route sets one.
        surge: how far it is above its usual rate, in words, where that is news.
        body: a report's message as HTML, in the place of one made of the fields here.
        attached: HTML pages that go with it, by file name; for channels that can.
        cause, confidence: of the analysis, once there is one; the first action is `suggested_action`.
    """

    kind: Kind
    episode: str
    severity: Severity
    title: str
    at: datetime
    since: datetime
    status: Status = "firing"
    description: str = ""
    source: str = "alert_assets"
    application: str | None = None
    table: str | None = None
    pipeline: str | None = None
    run_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    stack_trace: str | None = None
    owner: str | None = None
    runbook_url: str | None = None
    suggested_action: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    count: int = 1
    occurrence: str = ""
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    alert_type: str | None = None
    host: str | None = None
    message: str | None = None
    url: str | None = None
    value: float | None = None
    threshold: float | None = None
    incident_id: str | None = None
    problem_id: str | None = None
    problem_alerts: Sequence[str] = ()
    surge: str | None = None
    cause: str | None = None
    confidence: float | None = None
    routed_priority: str | None = None
    body: str | None = None
    attached: Mapping[str, str] = field(default_factory=dict)

    @property
    def priority(self) -> str:
        """P1 to P4: as a route says, else by the severity."""
        return self.routed_priority or PRIORITIES[self.severity]

    @property
    def is_explained(self) -> bool:
        """Whether an analysis names a cause; one that says it is unknown is no news."""
        return self.cause is not None and not self.cause.startswith(UNKNOWN)

    def shortened(self) -> Alert:
        """Return the alert with its error and stack trace cut to what people read."""
        trace = self.stack_trace and "\n".join(self.stack_trace.rstrip().splitlines()[-_TRACE_LINES:])
        return replace(self, error=self.error and self.error[:_ERROR_LENGTH], stack_trace=trace)

    def masked(self) -> Alert:
        """Return the alert as it may leave the lake: no secrets, and no whole e-mail or IP address in free text.

        Host and application stay, also as an IP and where the title or a label repeats them; so does the host of a URL.
        """
        names = {getattr(self, name) for name in _NAMES}
        texts: dict[str, Any] = {name: masked(text) for name in _FREE_TEXTS if (text := getattr(self, name))}
        named: dict[str, Any] = {name: without_secrets(text) for name in _NAMES if (text := getattr(self, name))}
        return replace(
            self,
            title=self.masked_title,
            labels=masked_labels(self.labels, names=names),
            links={name: without_secrets(link) for name, link in self.links.items()},
            attached={name: masked(page) for name, page in self.attached.items()},
            **texts,
            **named,
        )

    @property
    def masked_title(self) -> str:
        """The title as it may leave the lake."""
        return _masked_title(self.title)

    def to_json(self) -> dict[str, Any]:
        """Return the alert as the outbox keeps it and webhooks have it; a report's fields are a report's alone."""
        moments = {name: _stamp(moment) for name in _MOMENTS if (moment := getattr(self, name))}
        known = {name: value for name, value in asdict(self).items() if value or name not in _OF_REPORTS}
        return {**known, **moments}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Alert:
        """Return the alert that :meth:`to_json` wrote; fields that are not known here are left out."""
        known = {part.name: payload[part.name] for part in fields(cls) if part.name in payload}
        known["problem_alerts"] = tuple(known.get("problem_alerts") or ())
        times = {name: datetime.fromisoformat(known[name]) for name in _MOMENTS if known.get(name)}
        return cls(**{**known, **times})


@lru_cache(4_096)
def _masked_title(title: str) -> str:
    return str(mask({"masking": "email"}, title))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
