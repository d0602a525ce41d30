"""Places that belong to an alert: the page of its problem, and those in the Dagster UI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from alert_assets.kernel.frozen import replace
from alert_assets.notify.runbooks import runbook_url

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert


def with_links(alert: Alert, dagster_url: str, web_url: str = "", runbook_base: str = "") -> Alert:
    """The alert with links to its runbook, its problem's page, its run and its table.

    `dagster_url` is the webserver's, `web_url` that of our pages and `runbook_base` that of the runbooks where they are
    elsewhere; what is empty is not linked to.
    """
    runbook = alert.runbook_url or runbook_url(alert, runbook_base or (f"{web_url}/runbooks" if web_url else ""))
    links = dict(alert.links)
    if web_url and alert.incident_id:
        links.setdefault("Problem", f"{web_url}/incidents/{quote(alert.incident_id, safe='')}")
    root = dagster_url.rstrip("/")
    if not root:
        is_as_it_was = (runbook, links) == (alert.runbook_url, alert.links)
        return alert if is_as_it_was else replace(alert, links=links, runbook_url=runbook)
    # What the resident process does is no run of Dagster's, and has no page.
    if alert.run_id and not alert.run_id.startswith("stream/"):
        links.setdefault("Run", f"{root}/runs/{quote(alert.run_id, safe='')}")
    if alert.table:
        view = "checks" if alert.kind in ("check_failure", "contract_break") else "events"
        links.setdefault(alert.table, f"{root}/assets/{quote(alert.table, safe='')}?view={view}")
    if alert.kind == "breaker_transition":
        links.setdefault("Circuit breakers", f"{root}/assets/circuit_breakers?view=events")
    return replace(alert, links=links, runbook_url=runbook)
