"""Lines of the log are read in terminals and by machines."""

from __future__ import annotations

import json

import pytest

from alert_assets.logs import run_log


@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2028"])
def test_what_cannot_be_seen_is_escaped(capsys: pytest.CaptureFixture[str], character: str) -> None:
    run_log("1").info(f"title{character}", application=f"shop{character}")

    line = capsys.readouterr().err
    assert character not in line
    assert json.loads(line)["application"] == f"shop\\u{{{ord(character):04x}}}"
