"""Another user of the machine reads nothing of ours, whatever the umask is: what we make is closed to all but us."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS
from alert_assets.ingest.landing import archive_ingested
from alert_assets.ingest.query import ingest
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.state.database import State
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from collections.abc import Iterator

AS_ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that all users can look into, and a umask that closes nothing."""
    before = os.umask(0)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
    os.umask(before)


def test_another_user_sees_the_landing_zone_and_nothing_else(open_folder: Path) -> None:
    settings = settings_in(open_folder / "data", archive_dir=str(open_folder / "archive"))
    lakehouse = Lakehouse(settings)
    ingest(lambda: pytest.fail("nothing has landed"), lakehouse, settings, print)
    for contract in (BRONZE_EVENTS, GOLD_INCIDENTS):
        lakehouse.create(contract)
    with State(settings.state_url).writing():
        pass
    archive_ingested(settings)
    (settings.state_dir / "last-run.log").write_text("a log")
    Path(settings.checkpoint_dir, "offsets").write_text("names of files")
    assert Path(settings.state_dir, "alert_assets.db").is_file()

    # By name too, not only by listing.
    ours = [str(path) for path in open_folder.rglob("*") if path.is_file()]
    assert len(ours) > 5
    script = 'for file; do test ! -r "$file" || echo "$file"; done; find "$0" 2>/dev/null'
    command = [*AS_ANOTHER_USER, "sh", "-c", script, str(open_folder), *ours]
    seen = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    closed = ("archive", "data/lake", "data/checkpoints", "data/state")
    assert sorted(seen) == sorted(
        [str(open_folder), *(f"{open_folder}/{name}" for name in ("data", "data/landing", *closed))]
    )
