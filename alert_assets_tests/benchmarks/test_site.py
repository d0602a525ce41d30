"""Lakes to measure on: a copy has what the original has, at its own place, and shares only what nobody changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alert_assets.ingest.landing import backlog
from benchmarks.cli import app
from benchmarks.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One landing file of two is ingested, as Spark's checkpoint says."""
    made = Site.new(tmp_path / "a lake", tmp_path)
    made.land(20, lines_per_file=10)
    first = sorted(made.landing.iterdir())[0]
    log = made.folder / "data" / "checkpoints" / "landing"
    for part in ("sources/0", "commits"):
        (log / part).mkdir(parents=True)
    path = f"file://{str(first).replace(' ', '%20')}"
    (log / "sources/0/0").write_text("v1\n" + json.dumps({"path": path, "timestamp": 0, "batchId": 0}))
    (log / "sources/0/.0.crc").write_bytes(b"of the old content")
    (log / "commits/0").write_text("v1\n{}")
    return made


def test_a_copy_has_ingested_what_the_original_has(site: Site, tmp_path: Path):
    copy = site.copy(tmp_path / "another lake")
    waiting = backlog(copy.settings)
    assert waiting.ingested == 1
    assert [Path(file.path).parent for file in waiting.pending] == [copy.landing]
    assert not list((copy.folder / "data/checkpoints/landing/sources/0").glob(".*"))


def test_a_copy_does_not_change_the_original(site: Site, tmp_path: Path):
    state = site.folder / "data" / "state.db"
    state.write_text("one")
    copy = site.copy(tmp_path / "copy")
    (copy.folder / "data" / "state.db").write_text("another")
    for file in copy.landing.iterdir():
        file.unlink()
    assert state.read_text() == "one"
    assert len(list(site.landing.iterdir())) == 2
    assert backlog(site.settings).ingested == 1


def test_landing_files_are_shared(site: Site, tmp_path: Path):
    copy = site.copy(tmp_path / "copy")
    for file in site.landing.iterdir():
        assert (copy.landing / file.name).samefile(file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "cycle,speed"], "speed: the parts are"),
        (["--history", "10,1"], "growing"),
        (["--history", "1,many"], "numbers of millions"),
        (["--events", "5"], "10000"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(arguments, said, tmp_path: Path):
    done = CliRunner().invoke(app, ["run", "--work", str(tmp_path / "work"), *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "work").exists()
