"""Every sender there is. A new one is a module here, its example beside it, and its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.intake.senders import (
    alertmanager,
    argocd,
    cloudevents,
    cloudwatch,
    datadog,
    flux,
    github,
    grafana,
    kubernetes,
    pagerduty,
    sentry,
    servicenow,
)

if TYPE_CHECKING:
    from alert_assets.intake.senders.sender import Sender

SENDERS: dict[str, Sender] = {
    module.SENDER.name: module.SENDER
    for module in (
        *(alertmanager, grafana, datadog, cloudwatch, pagerduty, sentry),
        *(kubernetes, servicenow, github, argocd, flux, cloudevents),
    )
}
