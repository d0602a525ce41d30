"""The contracts by name: description, owner, consumers, key, service levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandera.api.pyspark.container import DataFrameSchema


@dataclass(frozen=True)
class Contract:
    """One table (or the landing event): what its rows promise, to whom, by whom.

    Attributes:
        name: folder of the Delta table under the lake; the asset key; the contract's name.
        version: grows when a change breaks a consumer.
        key: columns that identify one row.
        freshness_minutes: oldest the newest row may be while events keep landing.
        model_path: where the pandera model is, as `module:Class`.
    """

    name: str
    version: int
    description: str
    owner: str
    consumers: tuple[str, ...]
    key: tuple[str, ...]
    freshness_minutes: int
    model_path: str

    @cached_property
    def model(self) -> Any:
        """The pandera `DataFrameModel` class."""
        module, _, name = self.model_path.partition(":")
        return getattr(import_module(module), name)

    @cached_property
    def schema(self) -> DataFrameSchema:
        """The pandera schema of :attr:`model`."""
        return self.model.to_schema()


_DATA_PLATFORM = "team:data-platform"
_ON_CALL = "team:on-call"

EVENT = Contract(
    name="event",
    version=1,
    description="One operational event as a producer writes it: one JSON object a line in the landing zone.",
    owner=_DATA_PLATFORM,
    consumers=("bronze_events",),
    key=("event_id", "timestamp"),
    freshness_minutes=5,
    model_path="alert_assets.contracts.event:Event",
)
BRONZE_EVENTS = Contract(
    name="bronze_events",
    version=1,
    description="Every valid event as it came, redeliveries included, and where and when it came from. Append only.",
    owner=_DATA_PLATFORM,
    consumers=("silver_alerts", "gold_incidents"),
    key=("event_id", "timestamp"),
    freshness_minutes=10,
    model_path="alert_assets.contracts.tables:BronzeEvents",
)
BRONZE_QUARANTINE = Contract(
    name="bronze_quarantine",
    version=1,
    description="Every line that breaks the event contract, as it came, with all the reasons. Can be replayed.",
    owner=_DATA_PLATFORM,
    consumers=(_DATA_PLATFORM,),
    key=(),
    freshness_minutes=10,
    model_path="alert_assets.contracts.tables:BronzeQuarantine",
)
SILVER_ALERTS = Contract(
    name="silver_alerts",
    version=1,
    description="One row per alert fingerprint and dedup window, instead of a storm.",
    owner=_DATA_PLATFORM,
    consumers=("gold_incidents",),
    key=("fingerprint", "window_start"),
    freshness_minutes=15,
    model_path="alert_assets.contracts.tables:SilverAlerts",
)
GOLD_INCIDENTS = Contract(
    name="gold_incidents",
    version=1,
    description="Each alert with what happened to its application in the hour before it.",
    owner=_ON_CALL,
    consumers=("platinum_incidents", _ON_CALL),
    key=("fingerprint", "alert_timestamp"),
    freshness_minutes=15,
    model_path="alert_assets.contracts.tables:GoldIncidents",
)
PLATINUM_INCIDENTS = Contract(
    name="platinum_incidents",
    version=1,
    description="What each incident means and what to do about it, by a model or by rules.",
    owner=_ON_CALL,
    consumers=(_ON_CALL,),
    key=("fingerprint", "alert_timestamp"),
    freshness_minutes=20,
    model_path="alert_assets.contracts.tables:PlatinumIncidents",
)

CONTRACTS: dict[str, Contract] = {
    contract.name: contract
    for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS)
}
