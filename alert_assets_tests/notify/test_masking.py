"""One alert the whole way: silver keeps what came; neither the outbox nor a delivered message has what is masked."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from alert_assets.contracts import SILVER_ALERTS
from alert_assets.lake.rows import query
from alert_assets.notify.channels.http import Http
from alert_assets.notify.channels.targets import Targets
from alert_assets.notify.channels.webhook import Webhook
from alert_assets.notify.deliverer import Deliverer, DeliveryRules
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.notify.routing.rules import Destination, Policy
from alert_assets.state.tables import deliveries, outbox
from alert_assets_tests.commands.lake import incident, window
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.notify.desk import Desk, alert, routing
from alert_assets_tests.notify.test_sources import NOW, Look, fired

if TYPE_CHECKING:
    from alert_assets.settings import Settings

HIDDEN = ("ann.smith@example.com", "10.20.30.40", "s3cr3t-bearer", "hunter2", "hunter3", "hunter4", "10.20.30.41")
MESSAGE = (
    "ann.smith@example.com from 10.20.30.40 sent Authorization: Bearer s3cr3t-bearer "
    "to https://svc:hunter2@db.example.com/x"
)
LABELS = {"user": "ann.smith@example.com", "instance": "10.20.30.41:9100", "db_password": "hunter3", "team": "core"}
URL = "https://viewer:hunter4@grafana.example.com/d/1"


def test_what_is_masked_reaches_neither_the_outbox_nor_a_receiver(settings: Settings) -> None:
    look = Look(settings)
    look.put(SILVER_ALERTS, window(fired(30), message=MESSAGE, labels=LABELS, url=URL, severity="HIGH"))
    (payload,) = look.look()
    assert payload["message"] == (
        "a***@example.com from 10.20.x.x sent Authorization: [secret] to https://svc:***@db.example.com/x"
    )
    assert payload["url"] == "https://viewer:***@grafana.example.com/d/1"
    assert payload["labels"].items() >= {
        "user": "a***@example.com", "instance": "10.20.x.x:9100", "db_password": "[secret]", "team": "core",
        "host": "host-a",
    }.items()  # fmt: skip

    policy = Policy((Destination("webhook"),))
    sent_to = routing(policies=dict.fromkeys(("P1", "P2", "P3", "P4"), policy), configured=frozenset({"webhook"}))
    with running() as service:
        http = Http(Targets.parse("127.0.0.0/8"), timeout_seconds=5, tls=ssl.create_default_context())
        channel = Webhook(f"{service.url}/in", "shared", http)
        Dispatcher(look.state, sent_to).tick(NOW)
        assert Deliverer(look.state, {"webhook": channel}, DeliveryRules()).tick(NOW) == 1
    assert service.last.json["alert"]["message"] == payload["message"]
    with look.state.reading() as connection:
        kept = [*connection.scalars(select(outbox.c.payload)), *connection.scalars(select(deliveries.c.payload))]
    left = json.dumps(kept) + service.last.body.decode()
    assert [hidden for hidden in HIDDEN if hidden in left] == []

    silver = look.lakehouse.snapshot(SILVER_ALERTS).table
    assert silver is not None
    (row,) = query("SELECT message, labels, url FROM s", s=silver)
    assert (row["message"], dict(row["labels"]), row["url"]) == (MESSAGE, LABELS, URL)


@pytest.mark.parametrize("name", ["description", "error", "stack_trace", "message", "cause", "suggested_action"])
def test_every_free_text_of_an_alert_is_masked(name: str) -> None:
    given: dict[str, Any] = {name: MESSAGE}
    text = getattr(alert(**given).masked(), name)
    assert [hidden for hidden in HIDDEN if hidden in text] == []


def test_names_keep_addresses_and_lose_secrets() -> None:
    given = alert(
        title="Held batch 3 of 10.1.2.3 was released by ann@example.com",
        host="10.1.2.3",
        labels={"host": "10.1.2.3"},
        application="ops@core.example.com",
        links={"Run": "https://u:hunter2@dagster.example.com/runs/1"},
    ).masked()
    assert given.title == "Held batch 3 of 10.1.2.3 was released by a***@example.com"
    assert (given.host, given.labels, given.application) == ("10.1.2.3", {"host": "10.1.2.3"}, "ops@core.example.com")
    assert given.links == {"Run": "https://u:***@dagster.example.com/runs/1"}
    assert given.masked() == given


def test_an_error_is_masked_before_it_is_cut(state_url: str) -> None:
    """A key that is cut in two has lost its shape."""
    from alert_assets.state.database import State

    key = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
    desk = Desk(State(state_url))
    desk.raise_(alert(error=" " * 1_985 + key))
    with desk.state.reading() as connection:
        assert "ghp_" not in connection.scalars(select(outbox.c.payload)).one()["error"]


def test_what_came_is_as_it_was_where_nothing_is_masked() -> None:
    given = alert(message="CPU is high", host="host-a", labels={"team": "core"}, url=incident(1).get("url"))
    assert given.masked() == given
