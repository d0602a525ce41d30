"""What stays is not looked at again and again."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from alert_assets.kernel.garbage import uncollected


def test_what_is_made_meanwhile_is_never_looked_at() -> None:
    with pytest.raises(ValueError, match="stopped"), uncollected():
        assert not gc.isenabled()
        kept = [object()]
        raise ValueError("stopped")
    assert gc.isenabled()
    assert not any(seen is kept for seen in gc.get_objects())


@pytest.mark.parametrize("started", ["alert_assets.definitions", "alert_assets.cli status --help"])
def test_a_process_that_has_started_collects_what_comes_later(started: str) -> None:
    module, *arguments = started.split()
    code = (
        f"import gc, runpy, sys; sys.argv[1:] = {arguments!r}\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "True True"
