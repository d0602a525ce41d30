"""What each series was in each hour, written from docs/causes.md in plain Python; shares no code with the product."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import datetime, timedelta
from math import floor
from typing import Any

Series = tuple[str, str, str | None, str | None, str | None]


def _lowest(values: list[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def measurements(events: list[Any]) -> dict[Series, list[tuple[datetime, float, float]]]:
    """By (measure, application, host, callee, its host): when each value ended, its weight and itself."""
    deliveries = defaultdict(list)
    for event in events:
        if event.event_type in ("metric", "dependency", "log"):
            callee = (event.depends_on, event.depends_on_host) if event.event_type == "dependency" else (None, None)
            series = (event.event_type, event.application_id, event.host or None, *callee)
            deliveries[series, event.event_id, event.timestamp].append(event)
    found: dict[Series, list[tuple[datetime, float, float]]] = defaultdict(list)
    minutes: dict[Series, dict[datetime, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for ((kind, *names), _, at), same in deliveries.items():
        about = (names[0], names[1], names[2], names[3])
        if kind == "log":
            minute = at.replace(second=0, microsecond=0)
            is_bad = all(event.log_level in ("WARN", "ERROR", "FATAL") for event in same)
            minutes["bad_log_share", about[0], about[1], None, None][minute].append(is_bad)
            continue

        def number(name: str, same: list[Any] = same) -> float | None:
            return _lowest([(event.metrics or {}).get(name) for event in same])

        requests = number("requests")
        values: dict[str, tuple[float | None, float | None]] = {}
        if kind == "metric":
            values["cpu_percent"] = 1.0, _lowest([event.cpu_percent for event in same])
            values["latency_ms"] = requests, number("latency_ms")
            values["error_rate"] = requests, _lowest([event.error_rate for event in same])
        else:
            client, server, errors = number("client_latency_ms"), number("server_latency_ms"), number("errors")
            values["calls"] = 1.0, requests or 0.0
            values["client_latency_ms"] = requests, client
            values["server_latency_ms"] = requests, server
            values["network_ms"] = requests, None if client is None or server is None else client - server
            share = min(1.0, errors / requests) if errors is not None and requests else None
            values["call_error_share"] = requests, share
        for measure, (weight, value) in values.items():
            if value is not None and weight is not None and weight > 0:
                found[(measure, *about)].append((at, weight, value))
    for series, by_minute in minutes.items():
        for minute, lines in by_minute.items():
            found[series].append((minute + timedelta(minutes=1), len(lines), sum(lines) / len(lines)))
    return found


def baselines(events: list[Any]) -> dict[tuple[str, datetime], dict[str, Any]]:
    """The rows of silver_baselines by series_id and hour."""
    rows: dict[tuple[str, datetime], dict[str, Any]] = {}
    for (measure, *about), values in measurements(events).items():
        parts = [*about, measure]
        series_id = hashlib.sha256("\x1f".join(part or "" for part in parts).encode()).hexdigest()
        hours: dict[datetime, list[tuple[float, float]]] = defaultdict(list)
        for at, weight, value in values:
            hours[at.replace(minute=0, second=0, microsecond=0)].append((value, weight))
        for hour, some in hours.items():
            rows[series_id, hour] = {
                "series_id": series_id,
                "measure": measure,
                **dict(zip(("application_id", "host", "depends_on", "depends_on_host"), about, strict=True)),
                "hour": hour,
                "samples": len(some),
                "weight": sum(floor(weight + 0.5) for _, weight in some),
                "values": _kept(sorted(value for value, _ in some)),
            }
    return rows


def _kept(values: list[float]) -> list[float]:
    """All of up to 60; of more, those in the middle of 60 equal parts, by their place."""
    number = len(values)
    if number <= 60:
        return values
    places = [-(-(part * number + (number + 1) // 2) // 60) for part in range(60)]
    return [values[place - 1] for place in places]
