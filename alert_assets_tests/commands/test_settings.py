"""`alert-assets settings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.commands.output import without_credentials
from alert_assets.settings import Settings

if TYPE_CHECKING:
    from alert_assets_tests.commands.conftest import Run


def test_every_setting_with_its_variable_value_and_source(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("ALERTS_DEDUP_WINDOW_MINUTES=7\nALERTS_WATERMARK_DELAY_MINUTES=8\n")
    monkeypatch.setenv("ALERTS_WATERMARK_DELAY_MINUTES", "9")
    found = {setting["variable"]: setting for setting in run("settings", "--json").json["settings"]}

    assert set(found) > {f"ALERTS_{name.upper()}" for name in Settings.model_fields}
    assert all(setting["description"] for setting in found.values())
    sources = {name: (found[f"ALERTS_{name}"]["value"], found[f"ALERTS_{name}"]["source"]) for name in (
        "DEDUP_WINDOW_MINUTES", "WATERMARK_DELAY_MINUTES", "MAX_FILES_PER_TRIGGER", "LANDING_DIR",
    )}  # fmt: skip
    assert sources == {
        "DEDUP_WINDOW_MINUTES": (7, ".env"),
        "WATERMARK_DELAY_MINUTES": (9, "environment"),
        "MAX_FILES_PER_TRIGGER": (10, "default"),
        "LANDING_DIR": (settings.landing_dir, "default"),
    }
    shown = {line.split()[0]: line for line in run("settings").out.splitlines()}
    assert shown["ALERTS_DEDUP_WINDOW_MINUTES"].split()[1:3] == ["7", ".env"]
    assert "aligned to the epoch" in shown["ALERTS_DEDUP_WINDOW_MINUTES"]
    assert shown["ALERTS_DEDUP_FIELDS"].split()[1:3] == ["application_id,host,alert_type", "default"]


def test_secrets_are_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_LLM_API_KEY", "sk-hunter2")
    monkeypatch.setenv("ALERTS_STATE_URL", "postgresql://user:hunter2@db/alerts?sslpassword=hunter2")
    monkeypatch.setenv("ALERTS_LAKE_DIR", "s3://key:hunter2@bucket/lake")

    for out in (run("settings").out, run("settings", "--json").out):
        assert "hunter2" not in out
        assert "(hidden)" in out
        assert "postgresql://user:***@db/alerts" in out


def test_the_channels_are_settings_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("ALERTS_SMTP_FROM=alerts@example.test\nALERTS_SMTP_HOST=relay\nALERTS_SMTP_TO=a@b,c@d\n")
    monkeypatch.setenv("ALERTS_SLACK_WEBHOOK_URL", "https://hooks.example.test/hunter2")
    result = run("settings", "--json")
    found = {setting["variable"]: (setting["value"], setting["source"]) for setting in result.json["settings"]}

    assert found["ALERTS_SMTP_FROM"] == ("alerts@example.test", ".env")
    assert found["ALERTS_SMTP_TO"] == (["a@b", "c@d"], ".env")
    assert found["ALERTS_SMTP_PORT"] == (587, "default")
    assert found["ALERTS_SLACK_WEBHOOK_URL"] == ("(hidden)", "environment")
    assert found["ALERTS_SLACK_TOKEN"] == ("", "default")
    assert found["ALERTS_PAGERDUTY_ROUTING_KEY"] == ("", "default")
    assert "hunter2" not in result.out + run("settings").out
    monkeypatch.setenv("ALERTS_PAGERDUTY_URL", "https://events.eu.pagerduty.com/v2/enqueue")
    assert "ALERTS_PAGERDUTY_ROUTING_KEY is not set: pagerduty needs it" in run("settings").err


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/data/lake", "/data/lake"),
        ("s3://bucket/a@b:c", "s3://bucket/a@b:c"),
        ("postgresql://u:p:w@x@db/x", "postgresql://u:***@db/x"),
        ("https://h/x?sig=abc&y=1", "https://h/x?sig=***&y=1"),
    ],
)
def test_credentials_in_a_location(location: str, shown: str) -> None:
    assert without_credentials(location) == shown


def test_settings_that_cannot_be_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_DEDUP_WINDOW_MINUTES", "0")
    monkeypatch.setenv("ALERTS_SPARK_MEMORY", "lots")
    result = run("settings")

    assert (result.code, result.out) == (2, "")
    assert "ALERTS_DEDUP_WINDOW_MINUTES='0'" in result.err
    assert "ALERTS_SPARK_MEMORY='lots'" in result.err
