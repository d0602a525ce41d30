"""What a row of each table must look like, who owns it, and how it is identified.

:data:`CONTRACTS` is light: it imports neither Spark nor pandera, so that the command line and the
sensors stay quick. A contract's pandera model is loaded when :attr:`Contract.model` is first asked for.
"""

from alert_assets.contracts.catalog import (
    ALL_CONTRACTS,
    BRONZE_EVENTS,
    BRONZE_HELD,
    BRONZE_QUARANTINE,
    CONTRACTS,
    EVENT,
    GOLD_INCIDENTS,
    PIPELINE_HEALTH,
    PIPELINE_LATENCY,
    PLATINUM_INCIDENTS,
    QUALITY_SCORES,
    RELIABILITY_CONTRACTS,
    SILVER_ALERTS,
    SLO_STATUS,
    Contract,
    Volume,
)

__all__ = [
    "ALL_CONTRACTS",
    "BRONZE_EVENTS",
    "BRONZE_HELD",
    "BRONZE_QUARANTINE",
    "CONTRACTS",
    "EVENT",
    "GOLD_INCIDENTS",
    "PIPELINE_HEALTH",
    "PIPELINE_LATENCY",
    "PLATINUM_INCIDENTS",
    "QUALITY_SCORES",
    "RELIABILITY_CONTRACTS",
    "SILVER_ALERTS",
    "SLO_STATUS",
    "Contract",
    "Volume",
]
