"""The command line as people and scripts use it, on a lake of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets import cli
from alert_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that the commands find in the environment; neither lake nor landing zone is there yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALERTS_DATA_DIR", str(tmp_path / "data"))
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return load_settings()


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*args: str) -> Result:
        with pytest.raises(SystemExit) as left:
            cli.main(args)
        captured = capsys.readouterr()
        return Result(int(left.value.code or 0), captured.out, captured.err)

    return run_command
