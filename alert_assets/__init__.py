"""Operational telemetry in, trusted incidents out: a Dagster software-defined-asset project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alert_assets.breaker.circuit_breaker import CircuitBreaker as CircuitBreaker
    from alert_assets.breaker.circuit_breaker import CircuitBreakerError as CircuitBreakerError


def __getattr__(name: str) -> Any:
    """Import what is for other programs when it is asked for: no process of ours waits for it."""
    if name in ("CircuitBreaker", "CircuitBreakerError"):
        from alert_assets.breaker import circuit_breaker

        return getattr(circuit_breaker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
