"""The incidents an hour may hold, each timed from its own T+0 in minutes.

Of the three that it holds unless told otherwise, two are real and one is noise: a rollout that breaks its service, a
leak without a deployment, and a restart that looks like trouble for three minutes. The fourth is played when it is
asked for: a fault in a service that nobody watches, which shows in two that call it. Alerts repeat every minute, as a
rule that is evaluated every minute repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.simulator.events import Event, alert, call, deployment, log, metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

#: Minutes after the scenario's T+0, and what happens then.
Step = tuple[float, Event]


@dataclass(frozen=True)
class Scenario:
    """`starts_at_minute` is where in the hour the scenario's T+0 lies; `by_name` is played only when asked for."""

    name: str
    starts_at_minute: int
    play: Callable[[Random], Iterator[Step]]
    by_name: bool = False


def deployment_incident(rng: Random) -> Iterator[Step]:
    """payments-api v2.4.1 rolls out at T+0; 20 minutes later load finds the connection leak it brought.

    CPU and error rate climb over T+20..30 to 92.5 percent and 0.18, time-outs follow in T+30..35.
    """
    app, host = "payments-api", "payments-1"
    yield 0, deployment(app, host, _id(rng, "dep"), "v2.4.1", "rolling_update", "Rolling update to v2.4.1 started")
    for replica in range(1, 4):
        message = f"Replica {replica} of 3 is ready on v2.4.1"
        yield 0.5 * replica, log(app, f"payments-{replica}", "INFO", message)

    cpu = [_ramp(minute, 20, 30, 41.0, 92.5) for minute in range(36)]
    error_rate = [_ramp(minute, 20, 30, 0.01, 0.18) for minute in range(36)]
    for minute in range(36):
        if minute != 30:  # the peak is exact, everything else wavers below it
            cpu[minute] = round(cpu[minute] - rng.uniform(0, 3), 2)
            error_rate[minute] = round(error_rate[minute] * rng.uniform(0.85, 0.99), 4)
        sample = metric(
            app,
            host,
            cpu_percent=cpu[minute],
            memory_percent=round(rng.uniform(58, 66), 2),
            error_rate=error_rate[minute],
            metrics={"latency_ms_p95": round(_ramp(minute, 20, 30, 120, 2900) * rng.uniform(0.9, 1.1), 1)},
        )
        yield minute, sample

    for minute in (22, 24, 26, 28):
        in_use = round(_ramp(minute, 20, 30, 20, 50))
        yield minute + rng.uniform(0, 1), log(app, host, "WARN", f"Connection pool: {in_use} of 50 in use")
    yield from _errors(rng, app, host)

    labels = {"team": "payments", "region": "eu-west-1"}
    cpu_alert = {"alert_id": _id(rng, "alr"), "threshold": 80.0, "message": "CPU above 80 percent", "labels": labels}
    for minute in range(31, 36):
        yield minute, alert(app, host, "cpu_high", "HIGH", current_value=cpu[minute], **cpu_alert)
    message = "More than one request in ten fails"
    errors_alert = {"alert_id": _id(rng, "alr"), "threshold": 0.1, "message": message, "labels": labels}
    for minute in range(30, 35):
        value = error_rate[minute]
        yield minute + 0.5, alert(app, host, "error_rate_high", "CRITICAL", current_value=value, **errors_alert)


def memory_leak(rng: Random) -> Iterator[Step]:
    """orders-service loses memory from 55 to 92 percent over T+0..40; nothing was deployed.

    memory_high (threshold 85) fires at T+35 and every minute to T+40, between ever longer collections.
    """
    app, host = "orders-service", "orders-2"
    memory = [round(_ramp(minute, 0, 40, 55.0, 92.0), 2) for minute in range(41)]
    for minute in range(41):
        sample = metric(
            app,
            host,
            cpu_percent=round(_ramp(minute, 30, 40, 35, 58) + rng.uniform(-3, 3), 2),
            memory_percent=memory[minute],
            metrics={
                "heap_used_percent": round(memory[minute] + rng.uniform(1, 3), 2),
                "gc_pause_ms": round(_ramp(minute, 25, 40, 40, 1900) * rng.uniform(0.9, 1.1), 1),
            },
        )
        yield minute, sample

    for minute in range(35, 40):
        pause_ms = round(_ramp(minute, 35, 39, 700, 1900))
        level, code = ("ERROR", "GCPauseExceeded") if pause_ms >= 1000 else ("WARN", None)
        message = f"GC pause of {pause_ms} ms stopped all request threads"
        yield minute + rng.uniform(0.1, 0.4), log(app, host, level, message, code)
        message = f"Heap pressure: {memory[minute] + 2:.0f} percent used after a full collection"
        yield minute + rng.uniform(0.5, 0.9), log(app, host, "WARN", message)

    labels = {"team": "orders", "region": "eu-west-1"}
    fields = {"alert_id": _id(rng, "alr"), "threshold": 85.0, "message": "Memory above 85 percent", "labels": labels}
    for minute in range(35, 41):
        severity = "CRITICAL" if memory[minute] >= 90 else "HIGH"
        yield minute, alert(app, host, "memory_high", severity, current_value=memory[minute], **fields)


def infra_restart(rng: Random) -> Iterator[Step]:
    """A host of inventory-service restarts for maintenance: CPU spikes while it warms up, then all is well."""
    app, host = "inventory-service", "inventory-3"
    restart = "Host restarts for scheduled maintenance"
    yield 0, deployment(app, host, _id(rng, "chg"), "v1.12.0", "maintenance_restart", restart)
    yield 0.1, log(app, host, "WARN", "Shutting down: termination signal received")
    yield 0.7, log(app, host, "INFO", "Started in 21.4 s, warming caches")

    cpu = {1: 84.0, 1.5: 89.0, 2: 86.5, 3: 41.0, 3.5: 36.0, 4: 34.0, 4.5: 33.0, 5: 32.0}
    for minute, percent in cpu.items():
        sample = metric(
            app,
            host,
            cpu_percent=round(percent + rng.uniform(-1, 1), 2),
            memory_percent=round(rng.uniform(38, 46), 2),
            error_rate=round(rng.uniform(0, 0.004), 4),
        )
        yield minute, sample

    labels = {"team": "inventory", "region": "eu-west-1"}
    fields = {"alert_id": _id(rng, "alr"), "threshold": 80.0, "labels": labels}
    for minute, status, value in ((2, "firing", 86.5), (4, "resolved", 34.0)):
        yield minute, alert(app, host, "cpu_high", "MEDIUM", status=status, current_value=value, **fields)
    yield 4.8, log(app, host, "INFO", "Maintenance finished, host is back in rotation")


#: Who calls whom, how often a minute, and how long the callee takes, its own callees included, in milliseconds.
CALLS = {
    ("webshop", "checkout"): (120, 60.0),
    ("webshop", "catalog"): (300, 35.0),
    ("checkout", "ledger"): (120, 20.0),
    ("catalog", "ledger"): (90, 20.0),
    ("catalog", "images"): (300, 8.0),
}


def leaf_fault(rng: Random) -> Iterator[Step]:
    """A change of the ledger's settings at T+24 makes each of its answers take 900 ms longer over T+25..37.

    No alert watches the ledger. checkout and webshop, which wait for it, fire over T+28..36 and are resolved at T+39;
    images and catalog's own work are as usual.
    """
    slow = ("checkout", "catalog", "ledger")
    change = "Connection pool: 4 instead of 40"
    yield 24, deployment("ledger", None, _id(rng, "chg"), "v5.0.3", "config_change", change)
    for minute in range(41):
        for (caller, callee), (requests, milliseconds) in CALLS.items():
            late = 900.0 if 25 <= minute <= 37 and callee in slow else 0.0
            took = round((milliseconds + late) * rng.uniform(0.95, 1.05), 1)
            wait = round(took + rng.uniform(1, 2), 1)
            yield (
                minute,
                call(caller, callee, requests=requests, client_latency_ms=wait, server_latency_ms=took, errors=0),
            )
    for offset, app in ((0.0, "checkout"), (0.3, "webshop")):
        fields = {"alert_id": _id(rng, "alr"), "threshold": 500.0, "message": "Requests take longer than 500 ms"}
        for minute in range(28, 37):
            value = round(rng.uniform(940, 1000), 1)
            yield minute + offset, alert(app, None, "latency_high", "HIGH", current_value=value, **fields)
        over = {**fields, "status": "resolved", "current_value": 70.0}
        yield 39 + offset, alert(app, None, "latency_high", "HIGH", **over)


#: Placed so that they overlap, and end 16 minutes before the hour does: the dedup windows of their alerts
#: (5 minutes, closed 10 later) are closed within it.
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("deployment", 4, deployment_incident),
        Scenario("memory-leak", 4, memory_leak),
        Scenario("infra-restart", 20, infra_restart),
        Scenario("leaf-fault", 4, leaf_fault, by_name=True),
    )
}

#: Those that an hour holds unless told otherwise.
USUAL = tuple(name for name, scenario in SCENARIOS.items() if not scenario.by_name)


def _errors(rng: Random, app: str, host: str) -> Iterator[Step]:
    """Time-outs and connection errors of T+30..35, most of them in the first minute."""
    timeout = ("TimeoutException", "Timed out after 30000 ms waiting for a connection")
    refused = ("DBConnectionError", "Could not connect to the payments database: too many connections")
    first_minute = [timeout] * 9 + [refused] * 3
    later = [timeout] * 6 + [refused] * 3
    for span, errors in (((30, 31), first_minute), ((31, 35), later)):
        for code, message in errors:
            yield rng.uniform(*span), log(app, host, "ERROR", message, code)


def _ramp(minute: float, begin: float, end: float, low: float, high: float) -> float:
    """`low` until `begin`, `high` from `end` on, straight in between."""
    share = min(max((minute - begin) / (end - begin), 0), 1)
    return low + share * (high - low)


def _id(rng: Random, prefix: str) -> str:
    return f"{prefix}-{rng.getrandbits(48):012x}"
