"""A shop of five services, an hour of it in events, and what can go wrong in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from alert_assets.analysis.causes import Ranking, Window, log_minutes, observe, rank

Event = dict[str, Any]

START = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)
#: The fault begins here, and is asked for two minutes later.
FAULT = 50
AT = START + timedelta(minutes=FAULT + 2)
MINUTES = 56

#: Who calls whom, how often a minute, and how long the callee takes, its callees included, in milliseconds.
CALLS = {
    ("storefront", "cart"): (120, 40.0),
    ("storefront", "search"): (200, 25.0),
    ("cart", "ledger"): (90, 15.0),
    ("search", "ledger"): (30, 15.0),
    ("search", "images"): (60, 5.0),
}
#: Requests a minute and milliseconds of each service that measures itself.
SERVICES = {
    "storefront": (300, 80.0),
    "cart": (120, 40.0),
    "search": (200, 25.0),
    "ledger": (120, 15.0),
    "images": (60, 5.0),
}


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def jitter(*parts: object) -> float:
    """A few percent up or down, the same every time."""
    return 1 + (sum(map(ord, "".join(map(str, parts)))) % 7 - 3) / 100


def event(event_type: str, application_id: str, minute: float, **fields: Any) -> Event:
    extra = "-".join(str(fields.get(name, "")) for name in ("host", "depends_on", "deployment_id", "message"))
    return {
        "event_id": f"{event_type}-{application_id}-{minute}-{extra}",
        "event_type": event_type,
        "application_id": application_id,
        "timestamp": at(minute),
        **fields,
    }


def metric(application_id: str, minute: float, **fields: Any) -> Event:
    """One minute of a service that measures itself; `requests` and `latency_ms` go into `metrics`."""
    metrics = {name: fields.pop(name) for name in ("requests", "latency_ms") if name in fields}
    return event("metric", application_id, minute, metrics=metrics or None, **fields)


def call(caller: str, callee: str, minute: float, **metrics: float) -> Event:
    return event("dependency", caller, minute, depends_on=callee, metrics=metrics or None)


def deployment(application_id: str, minute: float, change_type: str = "rolling_update") -> Event:
    return event(
        "deployment", application_id, minute, change_type=change_type, version="v2", deployment_id=f"d{minute}"
    )


def graph() -> list[Event]:
    """The calls, without numbers."""
    return [call(caller, callee, 0) for caller, callee in CALLS]


def services(
    slower: dict[str, float] | None = None, failing: dict[str, float] | None = None, minutes: int = MINUTES
) -> list[Event]:
    """What the services measure themselves.

    Args:
        slower: milliseconds more from the fault on.
        failing: share of requests that fail from the fault on.
    """
    return [
        metric(
            name,
            minute,
            requests=float(requests),
            latency_ms=latency * jitter(name, minute) + (slower or {}).get(name, 0) * (minute >= FAULT),
            error_rate=(failing or {}).get(name, 0.0) * (minute >= FAULT),
        )
        for name, (requests, latency) in SERVICES.items()
        for minute in range(minutes)
    ]


def traces(
    served: dict[tuple[str, str], float] | None = None,
    on_the_way: dict[tuple[str, str], float] | None = None,
    errors: dict[tuple[str, str], float] | None = None,
    minutes: int = MINUTES,
) -> list[Event]:
    """What callers and callees measure of calls, with milliseconds and failures more from the fault on."""
    events = []
    for edge, (requests, latency) in CALLS.items():
        caller, callee = edge
        for minute in range(minutes):
            server = latency * jitter(*edge, minute) + (served or {}).get(edge, 0) * (minute >= FAULT)
            way = 2 * jitter(minute, *edge) + (on_the_way or {}).get(edge, 0) * (minute >= FAULT)
            numbers = {"requests": float(requests), "client_latency_ms": server + way, "server_latency_ms": server}
            if errors is not None:
                numbers["errors"] = errors.get(edge, 0) * (minute >= FAULT)
            events.append(call(caller, callee, minute, **numbers))
    return events


def cpu(application_id: str, usual: float, peak: float, host: str | None = None) -> list[Event]:
    return [
        metric(
            application_id,
            minute + 0.3,
            host=host or f"{application_id}-1",
            cpu_percent=peak if minute >= FAULT else usual * jitter(minute),
        )
        for minute in range(MINUTES)
    ]


def logs(application_id: str, bad: int, minutes: int = MINUTES) -> list[Event]:
    """Twenty lines a minute, of which so many are errors from the fault on."""
    return [
        event(
            "log",
            application_id,
            minute + line / 60,
            log_level="ERROR" if minute >= FAULT and line < bad else "INFO",
            message=f"line {line}",
        )
        for minute in range(minutes)
        for line in range(20)
    ]


def ask(events: list[Event], symptom: str | None = None, when: datetime = AT, lookback_minutes: float = 60) -> Ranking:
    moment = when.timestamp()
    seen = observe(events, log_minutes(events))
    return rank(seen, Window(moment, moment), symptom=symptom, lookback_seconds=60 * lookback_minutes)


def names(ranking: Ranking) -> list[str]:
    return [cause.application_id for cause in ranking.causes]
