"""`simulate --to`: the same events over HTTP, also as Alertmanager sends them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import httpx
import pytest

from alert_assets.cli import main
from alert_assets_tests.intake.site import environment, serving


def simulate(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "alert_assets.cli", "simulate", *arguments],
        env=environment(folder),
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_history_is_posted(tmp_path):
    with serving(tmp_path / "data") as site:
        done = simulate(tmp_path / "data", "--to", site.url, "--events", "150")
        assert done.returncode == 0, done.stderr
        assert f"Landed in  {site.url}\n" in done.stdout
    assert len(site.landed) == 150


def test_alerts_are_posted_as_alertmanager_does(tmp_path):
    with serving(tmp_path / "data") as site:
        live = ("--stream", "--speed", "1200", "--count", "500", "--flush-seconds", "0.5")
        done = simulate(tmp_path / "data", "--to", site.url, "--as", "alertmanager", *live)
        assert done.returncode == 0, done.stderr
    sources = Counter((event["event_type"], event.get("source")) for event in site.landed)
    assert {source for (kind, source) in sources if kind == "alert"} == {"alertmanager"}
    assert sum(sources.values()) == 500


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "http://127.0.0.1:1"), "alert-assets serve"),
        (("--to", "http://127.0.0.1:1", "--as", "nagios"), "one of events, alertmanager"),
        (("--to", "http://127.0.0.1:1", "--as", "alertmanager"), "needs --stream"),
        (("--to", "127.0.0.1:8080"), "--to 127.0.0.1:8080 is no address of a server; e.g. http://127.0.0.1:8080"),
        (("--to", "http://127.0.0.1:1", "--name", "mine"), "--name cannot be used with --to"),
        (("--as", "alertmanager", "--stream"), "--as needs --to"),
    ],
)
def test_what_cannot_be(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / "data"))
    with pytest.raises(SystemExit) as end:
        main(["simulate", *arguments])
    assert end.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "data").exists()


def test_a_server_that_wants_a_token(tmp_path):
    with serving(tmp_path / "data", ALERTS_INTAKE_TOKENS="ci=a-long-token") as site:
        assert "401" in simulate(tmp_path / "data", "--to", site.url, "--events", "150").stderr
        done = simulate(tmp_path / "data", "--to", site.url, "--events", "150", "--token", "a-long-token")
        assert done.returncode == 0, done.stderr
        assert httpx.get(f"{site.url}/readyz").status_code == 200
