"""Each table as a `DeltaTableResource` of dagster-deltalake, for assets and checks that only read one.

Made when first asked for: the package brings pandas along, which nothing else here needs to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import CONTRACTS, Contract
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from dagster_deltalake import DeltaTableResource


def delta_table_resources(lakehouse: Lakehouse) -> dict[str, dg.ResourceDefinition]:
    """A resource a table under the name `TABLE_table`; its `load()` gives the `deltalake.DeltaTable`."""
    return {f"{name}_table": _resource(lakehouse, contract) for name, contract in CONTRACTS.items()}


def _resource(lakehouse: Lakehouse, contract: Contract) -> dg.ResourceDefinition:
    def load() -> DeltaTableResource:
        from dagster_deltalake import DeltaTableResource, LocalConfig

        return DeltaTableResource(url=lakehouse.uri(contract), storage_options=LocalConfig())

    return dg.ResourceDefinition(lambda _: load(), description=f"Reads {contract.name}: {contract.description}")
