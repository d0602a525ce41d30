"""What processes use, and how it is divided among steps: by real processes that burn real CPU time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from alert_assets.kernel.usage import AROUND, StepMeter, Usage, usage_of

BURN = "import time\nwhile time.process_time() < {seconds}: pass\nprint('burned', flush=True)\n"


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_a_child_counts_while_it_runs_and_after_it_was_waited_for() -> None:
    before = usage_of([os.getpid()])
    code = BURN.format(seconds=0.3) + "input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    running = usage_of([os.getpid()]).since(before).cpu_seconds
    child.communicate("\n")
    ended = usage_of([os.getpid()]).since(before).cpu_seconds
    # The kernel counts in ticks of a hundredth.
    assert 0.28 <= running <= ended < running + 0.2


def test_what_is_written_and_read_is_counted(tmp_path: object) -> None:
    before = usage_of([os.getpid()])
    with open(f"{tmp_path}/file", "w+b", buffering=0) as file:
        file.write(bytes(3_000_000))
        file.seek(0)
        file.read(2_000_000)
    used = usage_of([os.getpid()]).since(before)
    assert 3_000_000 <= used.bytes_written < 3_100_000
    assert 2_000_000 <= used.bytes_read < 2_500_000


def test_steps_get_what_is_used_while_they_are_under_way_and_share_what_both_used() -> None:
    begun = usage_of([os.getpid()])
    meter = StepMeter(lambda: [os.getpid()])
    burn(0.1)
    meter.begin("a")
    burn(0.2)
    meter.begin("b")
    burn(0.2)
    meter.end("a")
    meter.end("b")
    used = {step: usage.cpu_seconds for step, usage in meter.take().items()}
    total = usage_of([os.getpid()]).since(begun).cpu_seconds
    assert used == {
        AROUND: pytest.approx(0.1, abs=0.06),
        "a": pytest.approx(0.3, abs=0.06),
        "b": pytest.approx(0.1, abs=0.06),
    }
    assert sum(used.values()) == pytest.approx(total, abs=0.05)
    assert meter.take().get("a") is None


def test_steps_one_after_the_other_take_one_reading_each() -> None:
    readings = []

    def pids() -> list[int]:
        readings.append(time.process_time())
        return [os.getpid()]

    meter = StepMeter(pids)
    for step in ("a", "b"):
        meter.turn_to(step)
        burn(0.1)
    meter.turn_to(None)
    burn(0.1)
    assert len(readings) == 4
    used = {step: usage.cpu_seconds for step, usage in meter.take().items()}
    assert used == {step: pytest.approx(0.1, abs=0.06) for step in (AROUND, "a", "b")}


def test_parts_add_up_to_the_whole() -> None:
    whole = Usage(1.0, 10, 11)
    parts = whole.split(3)
    total = sum(parts, Usage())
    assert total.cpu_seconds == pytest.approx(1.0)
    assert (total.bytes_read, total.bytes_written) == (10, 11)


def test_a_process_that_is_gone_takes_nothing_back() -> None:
    assert Usage(1.0, 5, 5).since(Usage(2.0, 3, 9)) == Usage(0.0, 2, 0)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert usage_of([child.pid]) == Usage()
