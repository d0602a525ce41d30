from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
from deltalake import write_deltalake

from alert_assets.contracts import CONTRACTS, GOLD_INCIDENTS
from alert_assets.defs.delta_tables import delta_table_resources
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_there_is_a_resource_for_each_table_and_it_loads_the_table_of_the_lake(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    write_deltalake(lakehouse.uri(GOLD_INCIDENTS), pa.table({"incident_id": ["a", "b"]}))

    resources = delta_table_resources(lakehouse)
    with dg.build_resources(resources) as built:
        assert built.gold_incidents_table.load().count() == 2

    assert set(resources) == {f"{name}_table" for name in CONTRACTS}
