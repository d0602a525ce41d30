"""What `SPARK_REMOTE` changes before there is a server to talk to."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from alert_assets.errors import UserError
from alert_assets.spark.session import spark_conf, spark_resource

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def test_a_server_that_is_not_there_is_said_to_be_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, so that nobody else listens there
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("SPARK_REMOTE", f"sc://localhost:{port}/;token=geheim")

        with pytest.raises(UserError, match=rf"SPARK_REMOTE \(localhost:{port}\)") as refused:
            _ = spark_resource(settings).spark_session

    assert "geheim" not in str(refused.value)


def test_how_big_a_cluster_is_and_how_it_cuts_its_work_is_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = spark_conf(settings)
    monkeypatch.setenv("SPARK_REMOTE", "sc://spark.internal")
    remote = spark_conf(settings)

    assert {"spark.master", "spark.driver.memory", "spark.sql.shuffle.partitions"} <= local.keys() - remote.keys()
    assert remote["spark.sql.session.timeZone"] == "UTC"
    assert remote["spark.sql.ansi.enabled"] == "true"
