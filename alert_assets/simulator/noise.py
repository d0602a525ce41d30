"""The background: what an ordinary hour of several services looks like.

Services that have a scenario appear with their healthy hosts only, without alerts, deployments or
errors, so that the noise never changes the facts of an incident.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.simulator.events import Event, alert, deployment, log, metric

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

#: Lowest and highest normal value.
Range = tuple[float, float]


@dataclass(frozen=True)
class Service:
    """A service and its normal ranges; `hosts` is empty where a platform hides them."""

    application_id: str
    hosts: tuple[str, ...]
    cpu_percent: Range
    memory_percent: Range
    latency_ms_p95: Range
    has_scenario: bool = False


SERVICES = (
    Service("payments-api", ("payments-2", "payments-3"), (30, 48), (55, 66), (90, 160), has_scenario=True),
    Service("orders-service", ("orders-1", "orders-3"), (25, 45), (50, 60), (60, 140), has_scenario=True),
    Service("inventory-service", ("inventory-1", "inventory-2"), (20, 40), (35, 50), (30, 80), has_scenario=True),
    Service("search-api", ("search-1", "search-2", "search-3"), (40, 70), (60, 75), (110, 240)),
    Service("auth-service", ("auth-1", "auth-2"), (15, 35), (30, 45), (15, 50)),
    Service("notification-worker", (), (5, 60), (20, 50), (200, 900)),
)
_OTHERS = tuple(service for service in SERVICES if not service.has_scenario)

_ROUTINE_LOGS = (
    ("INFO", "Health check passed"),
    ("INFO", "Handled a batch of 250 requests"),
    ("INFO", "Configuration reloaded, nothing changed"),
    ("INFO", "Session opened for customer Zoë K."),
    ("DEBUG", "Cache refreshed in 84 ms"),
    ("WARNING", "Slow query: 1240 ms, limit is 1000 ms"),
    ("WARN", "Retrying after a 429 from upstream"),
)
_ERRORS = (
    ("UpstreamUnavailable", "Upstream answered 503"),
    ("RateLimitExceeded", "Client is over its quota"),
    ("SerializationError", "Could not decode message 17 of the batch"),
)
#: Type, severity as its producer writes it, threshold, and the range it fires in.
_ALERTS = (
    ("disk_usage_high", "LOW", 80.0, (81, 89)),
    ("queue_depth_high", "medium", 1000.0, (1050, 1900)),
    ("latency_p95_high", "Info", 500.0, (510, 780)),
)


def background_metric(rng: Random) -> Event:
    """A sample in the service's normal ranges."""
    service = rng.choice(SERVICES)
    return metric(
        service.application_id,
        _host(rng, service),
        cpu_percent=round(rng.uniform(*service.cpu_percent), 2),
        memory_percent=round(rng.uniform(*service.memory_percent), 2),
        error_rate=round(rng.uniform(0, 0.015), 4),
        metrics={"latency_ms_p95": round(rng.uniform(*service.latency_ms_p95), 1)},
    )


def background_log(rng: Random) -> Event:
    """A routine line; one in twelve is an error that no alert follows."""
    if rng.random() < 1 / 12:
        service = rng.choice(_OTHERS)
        code, message = rng.choice(_ERRORS)
        return log(service.application_id, _host(rng, service), "ERROR", message, code)
    service = rng.choice(SERVICES)
    level, message = rng.choice(_ROUTINE_LOGS)
    return log(service.application_id, _host(rng, service), level, message)


def background_alert(rng: Random) -> Event:
    """A minor alert that fires once. Its producer gives no alert_id."""
    service = rng.choice(_OTHERS)
    alert_type, severity, threshold, fires_in = rng.choice(_ALERTS)
    value = round(rng.uniform(*fires_in), 1)
    return alert(
        service.application_id, _host(rng, service), alert_type, severity, current_value=value, threshold=threshold
    )


def background_deployment(rng: Random) -> Event:
    """A rollout that goes well."""
    service = rng.choice(_OTHERS)
    version = f"v3.{rng.randrange(20)}.{rng.randrange(10)}"
    deployment_id = f"dep-{rng.getrandbits(48):012x}"
    return deployment(
        service.application_id, _host(rng, service), deployment_id, version, "blue_green", f"Switched to {version}"
    )


#: Event type to its maker and how many in a thousand of the noise it is.
BACKGROUND: dict[str, tuple[Callable[[Random], Event], int]] = {
    "metric": (background_metric, 620),
    "log": (background_log, 360),
    "alert": (background_alert, 15),
    "deployment": (background_deployment, 5),
}


def background_event(rng: Random) -> Event:
    """Any one of them, in its usual proportion."""
    makers = [maker for maker, _ in BACKGROUND.values()]
    weights = [weight for _, weight in BACKGROUND.values()]
    return rng.choices(makers, weights)[0](rng)


def _host(rng: Random, service: Service) -> str | None:
    return rng.choice(service.hosts) if service.hosts else None
