"""All that Dagster loads: the folders of defs/, over one set of resources and behind one executor."""

from __future__ import annotations

import dagster as dg

from alert_assets.kernel.garbage import uncollected

with uncollected():
    from alert_assets.defs import resources
    from alert_assets.defs.breaker import definitions as breaker
    from alert_assets.defs.maintenance import definitions as maintenance
    from alert_assets.defs.medallion import definitions as medallion
    from alert_assets.defs.notifications import definitions as notifications
    from alert_assets.defs.reliability import definitions as reliability
    from alert_assets.defs.reporting import definitions as reporting

    defs = dg.Definitions.merge(
        resources.defs,
        medallion.defs,
        reliability.defs,
        breaker.defs,
        notifications.defs,
        maintenance.defs,
        reporting.defs,
    )
