"""The jobs of the reports' schedules, executed: what a tick asks for ends in a mailbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from alert_assets.contracts import RUN_COST
from alert_assets.defs.reporting.definitions import defs
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.deliverer import waiting
from alert_assets.notify.stack import NotificationStack
from alert_assets_tests.commands.lake import write
from alert_assets_tests.commands.test_cost import run_cost
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.notify.channels import relay as fake

if TYPE_CHECKING:
    from pathlib import Path

MONDAY, FIRST = datetime(2026, 3, 2, 6, tzinfo=UTC), datetime(2026, 3, 1, 6, tzinfo=UTC)


def mail_through(relay: fake.Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOST": "127.0.0.1",
        "PORT": str(relay.port),
        "STARTTLS": "false",
        "FROM": "alerts@example.test",
        "TO": "lead@example.test",
    }.items():
        monkeypatch.setenv(f"ALERTS_SMTP_{name}", value)


@pytest.mark.parametrize(
    ("kind", "at", "title"),
    [
        ("weekly", MONDAY, "Weekly quality review"),
        ("monthly", FIRST, "Monthly reliability report"),
    ],
)
def test_a_tick_of_the_schedule_is_a_mail(
    kind: str, at: datetime, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path / "data")
    write(settings, RUN_COST, run_cost(ended_at=utc_now() - timedelta(days=40)))
    made = dg.Definitions.merge(defs, dg.Definitions(resources={"settings": settings}))
    schedule = made.get_repository_def().get_schedule_def(f"{kind}_report_schedule")
    (asked,) = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at)).run_requests or ()
    with fake.running(None) as relay:
        mail_through(relay, monkeypatch)
        job = made.resolve_job_def(schedule.job_name)
        assert job.execute_in_process(run_config=asked.run_config, tags=asked.tags).success
        (received,) = relay.deliveries
    (path,) = (settings.data_dir / "reports").iterdir()
    assert path.name.startswith(f"{kind}-")
    assert received.recipients == ("lead@example.test",)
    assert received.mail["Subject"].startswith(title)
    assert [part.get_filename() for part in received.mail.iter_attachments()] == [path.name]


def test_a_report_that_the_relay_refuses_is_mailed_later_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path / "data")
    write(settings, RUN_COST, run_cost(ended_at=utc_now() - timedelta(days=40)))
    made = dg.Definitions.merge(defs, dg.Definitions(resources={"settings": settings}))
    job = made.resolve_job_def("monthly_report")
    with fake.running(None) as relay:
        mail_through(relay, monkeypatch)
        relay.failures["MAIL"] = b"451 come back later"
        assert job.execute_in_process().success, "the report is written, and its mail waits"
        assert relay.deliveries == []
        stack = NotificationStack(settings)
        assert waiting(stack.state) == {"email": 1}
        relay.failures.clear()
        for hours in (1, 2):
            stack.deliverer.tick(utc_now() + timedelta(hours=hours))
        assert job.execute_in_process().success, "another run of the same month"
        (received,) = relay.deliveries
        assert received.recipients == ("lead@example.test",)
        assert received.mail["Subject"].startswith("Monthly reliability report")
        assert waiting(stack.state) == {}
