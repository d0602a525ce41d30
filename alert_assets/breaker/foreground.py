"""Run a command in the foreground as a shell does: its terminal, its signals and its exit code are the caller's."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What a scheduler, a terminal or a person ends a command with.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The command was told to end; how it ended says nothing about its work.

    Attributes:
        code: its exit code, as a shell gives it.
    """

    def __init__(self, code: int) -> None:
        self.code = code


def run_in_foreground(command: Sequence[str]) -> int:
    """Run a command to its end, and pass SIGINT, SIGTERM and SIGHUP on to it.

    Returns:
        The exit code as a shell gives it: 128 and the number of the signal that ended it.

    Raises:
        Interrupted: a signal was passed on, or the terminal interrupted it.
        OSError: it cannot be started.
    """
    with _passing_on() as passed:
        child = subprocess.Popen(command)
        passed.begin(child)
        code = child.wait()
    shown = code if code >= 0 else 128 - code
    if passed.received:
        raise Interrupted(shown)
    return shown


class _Passing:
    """Passes the signals of this process on to a child, those that came before its start too."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        for number in self.received:
            self._send(number)

    def __call__(self, number: int, _frame: Any) -> None:
        self.received.append(number)
        if self._child is not None:
            self._send(number)

    def _send(self, number: int) -> None:
        # Ctrl-C reaches the whole foreground group: a second one would end what is just cleaning up.
        if self._child is not None and not (number == signal.SIGINT and _is_on_terminal()):
            self._child.send_signal(number)


@contextmanager
def _passing_on() -> Iterator[_Passing]:
    passing = _Passing()
    before = {number: signal.signal(number, passing) for number in _PASSED_ON}
    try:
        yield passing
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_on_terminal() -> bool:
    """Whether this process is in the foreground of a terminal, whose keys reach its children too."""
    with suppress(OSError), open("/dev/tty", "rb") as terminal:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    return False
