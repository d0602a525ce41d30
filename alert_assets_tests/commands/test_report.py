"""`alert-assets report`: the page is written where it is asked for, and mailed through a relay on loopback."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import RUN_COST
from alert_assets_tests.commands.lake import write
from alert_assets_tests.commands.test_cost import run_cost
from alert_assets_tests.notify.channels import relay as fake

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

MARCH = ("--before", "2026-03-01T00:00:00Z")


def test_a_month_is_written_and_mailed_with_its_tables(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings, RUN_COST, run_cost(), run_cost(1))
    path = settings.data_dir / "reports" / "monthly-2026-02-01.html"
    nobody = run("report", "monthly", *MARCH, "--mail")
    assert nobody.code == 2
    assert "no e-mail is set up" in nobody.err
    with fake.running(None) as relay:
        for name, value in relay.variables("lead@example.test,team@example.test,lead@example.test").items():
            monkeypatch.setenv(name, value)
        result = run("report", "monthly", *MARCH, "--mail")
        assert result.code == 0, result.err
        assert str(path) in result.out
        assert result.out.count("Mailed to lead@example.test.") == 1
        assert "Mailed to team@example.test." in result.out
        again = run("report", "monthly", *MARCH, "--mail")
        assert again.code == 0, again.err
        received, other = relay.deliveries
    assert (received.recipients, other.recipients) == (("lead@example.test",), ("team@example.test",))
    mail = received.mail
    assert mail["Subject"] == "Monthly reliability report, 2026-02-01"
    body = mail.get_body(("html",))
    assert body is not None
    # Mail programs drop curves: the tables are in the mail, the page with both is attached.
    assert "$3.7500" in body.get_content()
    assert "<svg" not in body.get_content()
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == path.name
    assert attached.get_content().splitlines() == path.read_text().splitlines()
    assert "<svg" in path.read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Debian's chromium is needed")
def test_a_week_is_printed_as_pdf(settings: Settings, run: Run, tmp_path: Path) -> None:
    result = run("report", "weekly", *MARCH, "--pdf", str(tmp_path / "week.pdf"))
    assert result.code == 0, result.err
    pdf = (tmp_path / "week.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/Title (Weekly quality review, " in pdf


def test_a_browser_that_still_writes_takes_no_pdf_away(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium's processes outlive it for a moment, and write into its profile while that is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    browser = tmp_path / "chromium"
    browser.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in --print-to-pdf=*) pdf=${word#*=};; esac; done\n'
        'profile=${pdf%/*}/profile; mkdir "$profile"\n'
        'n=0; while [ $((n += 1)) -lt 100000 ]; do : > "$profile/$n"; done > /dev/null 2>&1 &\n'
        'while [ ! -e "$profile/500" ]; do :; done\n'
        'echo %PDF- > "$pdf"\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    result = run("report", "weekly", *MARCH, "--pdf", str(tmp_path / "week.pdf"))
    assert result.code == 0, result.err
    assert (tmp_path / "week.pdf").read_text() == "%PDF-\n"


def test_without_a_browser_a_pdf_is_refused_with_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("report", "weekly", *MARCH, "--pdf", str(tmp_path / "week.pdf"))
    assert result.code == 2
    assert "apt-get install chromium" in result.err


def test_a_file_that_cannot_be_written_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = run("report", "weekly", "--to", str(tmp_path / "taken" / "report.html"))
    assert result.code == 2
    assert "cannot be written" in result.err
