"""The archive of ingested landing files, and what bounds Spark's memory of them."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.errors import UserError
from alert_assets.ingest import landing
from alert_assets.ingest.landing import archive_ingested, backlog, checkpoint, look_at_landing, waiting_for_archive
from alert_assets.ingest.query_log import QueryLog
from alert_assets.settings import Settings, SettingsError, load_settings
from alert_assets_tests.conftest import NewPipeline, settings_in

if TYPE_CHECKING:
    from alert_assets_tests.support.pipeline import Pipeline

LANDED = datetime(2026, 2, 14, 23, 59, 58, 123456, tzinfo=UTC)
DAY = "2026-02-14"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "data", archive_dir=str(tmp_path / "archive"))


def land(settings: Settings, name: str, text: str = "{}", at: datetime = LANDED) -> Path:
    path = Path(settings.landing_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    nanoseconds = int(at.timestamp() * 1e6) * 1000 + 789
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return path


def taken(settings: Settings, batch: int, *files: Path, committed: bool = True) -> None:
    """The landing query's checkpoint as Spark writes it, after a batch of these files."""
    folder = Path(checkpoint(settings))
    for part in ("sources/0", "commits", "offsets"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    entries = [
        {"path": file.as_uri(), "timestamp": file.stat().st_mtime_ns // 1_000_000, "batchId": batch} for file in files
    ]
    (folder / "sources/0" / str(batch)).write_text("\n".join(["v1", *map(json.dumps, entries)]))
    if committed:
        (folder / "commits" / str(batch)).write_text('v1\n{"nextBatchWatermarkMs":0}')


def archived(settings: Settings) -> dict[str, str]:
    root = Path(settings.archive_dir)
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def in_landing(settings: Settings) -> set[str]:
    root = Path(settings.landing_dir)
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# The walk


def seen(settings: Settings) -> tuple[set[str], dict[str, str]]:
    there = look_at_landing(settings)
    root = f"{settings.landing_dir}/"
    return {file.path.removeprefix(root) for file in there.files}, {left.path: left.reason for left in there.skipped}


def test_a_folder_that_is_too_deep_is_said_and_looked_into_no_further(settings: Settings):
    deep = "/".join("d" * landing.MAX_DEPTH)
    land(settings, f"{deep}/a.jsonl")
    land(settings, f"{deep}/e/b.jsonl")
    assert seen(settings) == ({f"{deep}/a.jsonl"}, {f"{deep}/e": "only 32 folders in one another are looked into"})


def test_a_tree_longer_than_any_path_is_walked(settings: Settings):
    """Made folder by folder from within, as `cd` does, it can be deeper than a path can say."""
    at = os.open(settings.landing_dir, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("x" * 200, dir_fd=at)
        inner = os.open("x" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    land(settings, "a.jsonl")
    files, skipped = seen(settings)
    assert files == {"a.jsonl"}
    (reason,) = skipped.values()
    assert reason == "the folder cannot be listed: File name too long"


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything, here")
def test_what_this_user_may_not_look_at_is_said_and_the_rest_goes_on(settings: Settings):
    land(settings, "closed/a.jsonl")
    land(settings, "names only/b.jsonl")
    land(settings, "c.jsonl")
    land(settings, "mine.jsonl")
    Path(settings.landing_dir, "closed").chmod(0)
    Path(settings.landing_dir, "names only").chmod(0o400)
    Path(settings.landing_dir, "c.jsonl").chmod(0)
    script = (
        "import sys; from alert_assets_tests.conftest import settings_in; "
        "from alert_assets.ingest.landing import *; settings = settings_in(sys.argv[1]); there = backlog(settings); "
        "print({file.name for file in there.pending}); print({left.path: left.reason for left in there.skipped}); "
        "print(broken_files(settings, there.pending))"
    )
    without_rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    try:
        told = subprocess.run(
            [*without_rights, sys.executable, "-c", script, str(settings.data_dir)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for name in ("closed", "names only"):
            Path(settings.landing_dir, name).chmod(0o700)
    files, skipped, broken = map(ast.literal_eval, told.stdout.splitlines())
    assert files == {"c.jsonl", "mine.jsonl"}
    assert skipped == {
        "closed": "the folder cannot be listed: Permission denied",
        "names only/b.jsonl": "it cannot be looked at: Permission denied",
    }
    assert broken == {str(Path(settings.landing_dir, "c.jsonl")): "Permission denied"}


def test_a_landing_folder_behind_a_file_is_named(settings: Settings):
    Path(settings.landing_dir).rmdir()
    Path(settings.landing_dir).touch()
    with pytest.raises(UserError, match=r"The landing folder .* does not exist"):
        backlog(settings)


# The archive


def test_committed_files_move_and_the_others_stay(settings: Settings):
    done = [land(settings, "a b+ü.jsonl", "1"), land(settings, "host/b.jsonl.gz", "2")]
    taken(settings, 0, *done)
    taken(settings, 1, land(settings, "begun.jsonl"), committed=False)
    land(settings, "new.jsonl")
    land(settings, ".half.jsonl")
    assert waiting_for_archive(settings) == (2, 3)

    assert archive_ingested(settings) == 2

    assert archived(settings) == {f"{DAY}/a b+ü.jsonl": "1", f"{DAY}/host/b.jsonl.gz": "2"}
    assert in_landing(settings) == {"begun.jsonl", "new.jsonl", ".half.jsonl"}
    waiting = backlog(settings)
    assert [file.name for file in waiting.pending] == ["new.jsonl"]
    assert len(waiting.unfinished) == 1
    assert waiting.ingested == 2
    assert archive_ingested(settings) == 0
    assert waiting_for_archive(settings) == (0, 3)


def test_without_an_archive_files_stay(settings: Settings):
    kept = settings.model_copy(update={"archive_dir": ""})
    taken(kept, 0, land(kept, "a.jsonl"))
    assert archive_ingested(kept) == 0
    assert in_landing(kept) == {"a.jsonl"}


def test_a_name_that_came_again_is_not_taken_for_the_old_file(settings: Settings):
    taken(settings, 0, land(settings, "a.jsonl", "old"))
    land(settings, "a.jsonl", "new", LANDED.replace(hour=1))
    assert archive_ingested(settings) == 0
    assert in_landing(settings) == {"a.jsonl"}
    assert checkpoint(settings).endswith("/landing"), "the ingested version may be in what is there now"


def test_nothing_is_ever_overwritten(settings: Settings):
    there = Path(settings.archive_dir, DAY, "a.jsonl")
    there.parent.mkdir(parents=True)
    there.write_text("somebody else's")
    taken(settings, 0, land(settings, "a.jsonl", "mine"))
    assert archive_ingested(settings) == 1
    assert sorted(archived(settings).values()) == ["mine", "somebody else's"]
    assert there.read_text() == "somebody else's"
    assert in_landing(settings) == set()


def test_a_move_that_was_cut_short_ends_with_one_copy(settings: Settings):
    """Copied and not yet removed; or half copied."""
    first, second = land(settings, "a.jsonl", "1"), land(settings, "b.jsonl", "2")
    taken(settings, 0, first, second)
    day = Path(settings.archive_dir, DAY)
    day.mkdir(parents=True)
    shutil.copy(first, day / "a.jsonl")
    (day / ".b.jsonl.part").write_text("hal")
    assert archive_ingested(settings) == 2
    found = archived(settings)
    assert (found[f"{DAY}/a.jsonl"], found[f"{DAY}/b.jsonl"]) == ("1", "2")
    assert in_landing(settings) == set()


def test_on_another_filesystem_a_copy_is_compared_before_the_original_goes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    taken(settings, 0, land(settings, "a.jsonl.gz", "not really gzip"))
    assert archive_ingested(settings) == 1
    assert archived(settings) == {f"{DAY}/a.jsonl.gz": "not really gzip"}
    assert in_landing(settings) == set()


def test_an_archive_that_cannot_be_written(settings: Settings):
    Path(settings.archive_dir).write_text("a file where the folder should be")
    taken(settings, 0, land(settings, "a.jsonl"), land(settings, "b.jsonl"))
    with pytest.raises(UserError, match=r"2 ingested files could not be moved .* \(ALERTS_ARCHIVE_DIR\), the first: "):
        archive_ingested(settings)
    assert in_landing(settings) == {"a.jsonl", "b.jsonl"}


@pytest.mark.parametrize("inside", ["", "/done", "/2026/x"])
def test_an_archive_inside_the_landing_zone_is_refused(tmp_path: Path, inside: str):
    with pytest.raises(SettingsError, match=r"ALERTS_ARCHIVE_DIR=.*where it would be ingested again"):
        load_settings(_env_file=None, data_dir=tmp_path, archive_dir=f"{tmp_path}/landing{inside}")


def test_an_archive_beside_the_landing_zone_is_fine(tmp_path: Path):
    assert load_settings(_env_file=None, data_dir=tmp_path, archive_dir=f"{tmp_path}/landing-done").archive_dir


# A new checkpoint


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "RENEW_AT_ENTRIES", 3)


@pytest.mark.usefixtures("soon")
def test_a_long_list_of_files_begins_anew(settings: Settings):
    for batch in range(3):
        taken(settings, batch, land(settings, f"{batch}.jsonl"))
        archive_ingested(settings)
    assert checkpoint(settings).endswith("/landing-000001")
    assert not Path(settings.checkpoint_dir, "landing").exists()
    assert backlog(settings).ingested == 3
    for batch in range(3):
        taken(settings, batch, land(settings, f"later-{batch}.jsonl"))
    assert backlog(settings).ingested == 6
    assert archive_ingested(settings) == 3
    assert checkpoint(settings).endswith("/landing-000002")
    assert backlog(settings).ingested == 6
    assert waiting_for_archive(settings) == (0, 0)


@pytest.mark.usefixtures("soon")
def test_not_while_a_batch_is_unfinished_or_a_file_is_left(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    files = [land(settings, f"{n}.jsonl") for n in range(3)]
    taken(settings, 0, *files)
    taken(settings, 1, land(settings, "begun.jsonl"), committed=False)
    assert archive_ingested(settings) == 3
    assert checkpoint(settings).endswith("/landing")
    taken(settings, 1, Path(settings.landing_dir, "begun.jsonl"))
    monkeypatch.setattr(landing, "_move", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(UserError, match="full"):
        archive_ingested(settings)
    assert checkpoint(settings).endswith("/landing")
    monkeypatch.undo()
    monkeypatch.setattr(landing, "RENEW_AT_ENTRIES", 3)
    assert archive_ingested(settings) == 1
    assert checkpoint(settings).endswith("/landing-000001")


def test_a_name_that_comes_again_after_the_archive_is_new(settings: Settings):
    """Spark's list has its name, so it would never look at it: the list begins anew."""
    taken(settings, 0, land(settings, "a.jsonl", "first"))
    assert archive_ingested(settings) == 1
    land(settings, "a.jsonl", "second", LANDED.replace(day=15))
    assert not backlog(settings), "as Spark sees it"
    assert archive_ingested(settings) == 0
    assert [file.name for file in backlog(settings).pending] == ["a.jsonl"]


def test_a_list_whose_writer_died_before_its_batch_is_done_with_the_batch_that_took_it(settings: Settings):
    """Spark goes on with the next list, and one batch takes both; a cycle that asked the numbers never ended."""
    folder = Path(checkpoint(settings))
    for part in ("sources/0", "commits", "offsets"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in (0, 1):
        entry = {"path": f"file:///landing/{number}.jsonl", "timestamp": 0, "batchId": number}
        (folder / "sources/0" / str(number)).write_text(f"v1\n{json.dumps(entry)}")
    (folder / "offsets/0").write_text('v1\n{"batchWatermarkMs":0}\n{"logOffset":1}')
    assert len(backlog(settings).unfinished) == 2
    (folder / "commits/0").write_text('v1\n{"nextBatchWatermarkMs":0}')
    assert backlog(settings).unfinished == ()
    assert backlog(settings).ingested == 2
    without_spark = settings.model_copy(update={"landing_engine": "arrow"})
    assert QueryLog.of(without_spark) is None, "it would take list 1 again, as batch 1"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("died_at", ["before the count", "before the removal", "in the removal"])
def test_dying_on_the_way_to_a_new_checkpoint(settings: Settings, died_at: str, monkeypatch: pytest.MonkeyPatch):
    taken(settings, 0, *[land(settings, f"{n}.jsonl") for n in range(3)])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        calls = []

        def die(*_: Any) -> None:
            calls.append(1)
            if died_at == "before the count" or len(calls) > 1:
                raise KeyboardInterrupt

        if died_at == "before the count":
            patch.setattr(landing, "json", type("Json", (), {"dumps": die, "loads": staticmethod(json.loads)}))
        else:
            patch.setattr(landing, "_remove_retired", die)
        archive_ingested(settings)
    if died_at == "in the removal":
        shutil.rmtree(Path(settings.checkpoint_dir, "landing/commits"))
    assert checkpoint(settings).endswith("/landing-000001")
    assert not backlog(settings)
    new = land(settings, "new.jsonl")
    assert [file.path for file in backlog(settings).pending] == [str(new)]
    archive_ingested(settings)
    assert not Path(settings.checkpoint_dir, "landing").exists()
    assert in_landing(settings) == {"new.jsonl"}


# With Spark


def lines(first: int, count: int) -> list[bytes]:
    known = {"event_type": "log", "application_id": "payments", "log_level": "INFO"}
    at = "2026-02-14T10:00:00Z"
    return [json.dumps({**known, "event_id": f"e{n}", "timestamp": at}).encode() for n in range(first, first + count)]


@pytest.mark.slow
def test_spark_goes_on_with_an_archive_and_new_checkpoints(
    new_pipeline: NewPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Files leave between runs and a query begins anew: nothing is lost and nothing comes twice."""
    monkeypatch.setattr(landing, "RENEW_AT_ENTRIES", 4)
    pipeline: Pipeline = new_pipeline(tmp_path / "data", archive_dir=str(tmp_path / "archive"), max_files_per_trigger=1)
    settings = pipeline.settings
    applications = set()
    for number in range(4):
        pipeline.land(f"a{number} +ü.jsonl", *lines(20 * number, 10))
        pipeline.land(f"b{number}.jsonl", *lines(20 * number + 10, 10), b"broken")
        report = pipeline.ingest()
        assert (report.batches, report.rows, report.quarantined) == (2, 20, 1)
        archive_ingested(settings)
        assert in_landing(settings) == set()
        assert not pipeline.ingest().batches
        assert backlog(settings).ingested == 2 * (number + 1)
        commits = pipeline.lakehouse.commits(BRONZE_EVENTS)
        applications |= {app for c in commits for app in c["transactions"] if app.startswith("alert_assets/landing/")}
    assert checkpoint(settings).endswith("/landing-000002")
    assert len(applications) == 2, "each checkpoint counts its batches under a name of its own"
    found = [row["event_id"] for row in pipeline.rows(BRONZE_EVENTS)]
    assert sorted(found) == sorted(f"e{n}" for n in range(80))
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == 4
    assert len(archived(settings)) == 8

    pipeline.land("a0 +ü.jsonl", *lines(900, 5))
    pipeline.ingest()
    archive_ingested(settings)
    assert len(pipeline.rows(BRONZE_EVENTS)) == 85, "its name was forgotten with the checkpoint"
