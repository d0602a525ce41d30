"""The durable writer: lines are on disk, in the landing zone, before the request that brought them is answered.

Lines are appended to a hidden file (`.intake-TIME-TOKEN.jsonl`, which readers skip) and made durable in groups: what
arrives within some milliseconds, or while the disk is busy with the group before, shares one fsync. A file gets its
name by rename, and the folder is synced, when it is *due*: big enough, or so long after the one before. So after a
quiet second the file is there before the answer; under load there is one file a second, not one a request, and lines
that were answered wait in the hidden file, durable, for at most that second.

A hidden file is locked by the process that writes it. One without a lock was left by a process that was killed: the
next writer of the folder cuts a half-written last line, which nobody was answered for, and gives the file its name.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from alert_assets.errors import UserError
from alert_assets.intake.ledger import Entry
from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alert_assets.intake.ledger import Ledger

_PREFIX, _SUFFIX = "intake-", ".jsonl"


class NotWrittenError(Exception):
    """Nothing of the request is kept; the sender should try again after `retry_after_seconds`."""

    def __init__(self, reason: str, retry_after_seconds: int) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class OverloadedError(NotWrittenError):
    """More waits to be written than may."""


class UnwritableError(NotWrittenError):
    """The landing zone takes no data: full, read-only, gone."""


@dataclass(frozen=True)
class WriterRules:
    """When lines are made durable and files get their names.

    Attributes:
        gather_seconds: how long the first line of a group waits for others.
        roll_seconds: a file is due so long after the one before.
        roll_bytes: a file is due at this size.
        max_pending_bytes: more than this that waits to be written is refused.
    """

    gather_seconds: float = 0.003
    roll_seconds: float = 1.0
    roll_bytes: int = 16 << 20
    max_pending_bytes: int = 64 << 20


class DurableWriter:
    """Appends lines to the landing zone from one thread; asyncio tasks wait for their lines to be durable."""

    def __init__(self, folder: Path, rules: WriterRules | None = None, ledger: Ledger | None = None) -> None:
        self._folder, self._ledger = folder, ledger
        self._rules = rules or WriterRules()
        self._queue: deque[tuple[bytes, Callable[[Exception | None], object]]] = deque()
        self._pending_bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._file: _OpenFile | None = None
        #: Durable, but could not be renamed yet.
        self._unnamed: list[_OpenFile] = []
        self._rolled_at = -float("inf")
        #: Why the last group could not be written; None when it could.
        self.failure: str | None = None

    def start(self) -> list[Path]:
        """Recover what killed writers left, and begin, if it has not begun; returns the recovered files.

        Raises:
            UserError: the folder cannot be made or listed.
        """
        if self._thread:
            return []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            recovered = recover(self._folder)
        except OSError as error:
            raise UserError(
                f"ALERTS_LANDING_DIR={self._folder} cannot be used: {error.strerror or error}. "
                "Name a folder that this user can make and write."
            ) from None
        for path in recovered:
            # Its entry, if there is one, is of before it was cut.
            content = path.read_bytes()
            self._record(path.name, content.count(b"\n"), len(content))
        self._thread = threading.Thread(target=self._run, name="landing-writer", daemon=True)
        self._thread.start()
        return recovered

    def close(self) -> None:
        """Write what was accepted, give the open file its name, and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread:
            self._thread.join()

    async def write(self, lines: bytes) -> None:
        """Append whole lines, each with its line feed, and return once they are durable.

        Raises:
            OverloadedError: too much waits already; nothing was kept.
            UnwritableError: the disk did not take them; nothing was kept.
        """
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            # The request may have been cancelled meanwhile; its lines are kept all the same.
            if not durable.done():
                durable.set_exception(error) if error else durable.set_result(None)

        self.submit(lines, lambda error: loop.call_soon_threadsafe(settle, error))
        await durable

    def submit(self, lines: bytes, settle: Callable[[Exception | None], object]) -> None:
        """Queue lines; `settle` is called in the writer's thread with None once they are durable, or with an error.

        Raises:
            OverloadedError: as :meth:`write`.
        """
        with self._wake:
            if self._closing:
                raise OverloadedError("The server is shutting down", 1)
            if self._queue and self._pending_bytes + len(lines) > self._rules.max_pending_bytes:
                raise OverloadedError("More requests wait to be written than fit", 1)
            self._queue.append((lines, settle))
            self._pending_bytes += len(lines)
            if len(self._queue) == 1:
                self._wake.notify()

    def probe(self) -> str | None:
        """Try to make a file in the folder; returns why that fails, or None. The state after a failure."""
        try:
            _OpenFile.create(self._folder).discard()
        except OSError as error:
            self.failure = _explained(error, self._folder)
        else:
            self.failure = None
        return self.failure

    # In the writer's thread

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    due_in = self._due_in()
                    if due_in is not None and due_in <= 0:
                        break
                    self._wake.wait(due_in)
                is_last = self._closing and not self._queue
            if is_last:
                self._publish()
                return
            if self._queue:
                if not self._closing:
                    time.sleep(self._rules.gather_seconds)
                self._commit(self._take())
            elif self._is_due():
                self._publish()

    def _take(self) -> list[tuple[bytes, Callable[[Exception | None], object]]]:
        with self._wake:
            group = list(self._queue)
            self._queue.clear()
            self._pending_bytes = 0
        return group

    def _commit(self, group: list[tuple[bytes, Callable[[Exception | None], object]]]) -> None:
        error: Exception | None = None
        try:
            if self._file is None:
                self._file = _OpenFile.create(self._folder)
            self._file.append(b"".join(lines for lines, _ in group))
            self.failure = None
        except OSError as problem:
            self.failure = _explained(problem, self._folder)
            error = UnwritableError(self.failure, 5)
        if error or self._is_due():
            self._publish()
        for _, settle in group:
            settle(error)

    def _due_in(self) -> float | None:
        if self._file is None and not self._unnamed:
            return None
        return self._rolled_at + self._rules.roll_seconds - time.monotonic()

    def _is_due(self) -> bool:
        due_in = self._due_in()
        is_big = self._file is not None and self._file.durable_bytes >= self._rules.roll_bytes
        return is_big or (due_in is not None and due_in <= 0)

    def _publish(self) -> None:
        """Give the open file its name, and those that could not be named before."""
        if self._file:
            self._unnamed.append(self._file)
            self._file = None
        if self._unnamed:
            self._rolled_at = time.monotonic()
        while self._unnamed:
            file = self._unnamed[0]
            self._record(file.path.name[1:], file.durable_lines, file.durable_bytes)
            try:
                file.publish()
            except OSError as error:
                self.failure = _explained(error, self._folder)
                return
            del self._unnamed[0]

    def _record(self, name: str, lines: int, size_bytes: int) -> None:
        """Write down what was answered for, before the file has its name; without room for it, it goes unchecked."""
        if self._ledger and lines:
            with suppress(OSError):
                self._ledger.record(Entry(name, lines, size_bytes), utc_now())


class _OpenFile:
    """A hidden file of the landing zone that this process holds locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.durable_bytes = self.durable_lines = 0
        #: Whether a failed write may have left bytes behind the durable ones.
        self._is_torn = False

    @classmethod
    def create(cls, folder: Path) -> _OpenFile:
        while True:
            name = f".{_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}{_SUFFIX}"
            path = folder / name
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue
            # Between its creation and its lock, another process may take it for one that was left behind.
            if _lock(descriptor) and _is_there(path, descriptor):
                _sync_folder(folder)
                return cls(path, descriptor)
            os.close(descriptor)

    def append(self, data: bytes) -> None:
        """Add data and make it durable, all or nothing."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            self._is_torn = True
            raise
        self.durable_bytes += len(data)
        self.durable_lines += data.count(b"\n")

    def publish(self) -> None:
        """Rename it into sight, durably; an empty one is removed. May be called again after an error."""
        if self._is_torn:
            os.ftruncate(self._descriptor, self.durable_bytes)
            os.fsync(self._descriptor)
            self._is_torn = False
        _name(self.path, self.durable_bytes)
        os.close(self._descriptor)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


def recover(folder: Path) -> list[Path]:
    """Give the files that killed writers left in a folder their names; returns them as they are called now."""
    recovered = []
    for path in sorted(folder.glob(f".{_PREFIX}*{_SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _lock(descriptor) and _is_there(path, descriptor):
                size = _cut_half_line(descriptor)
                # It lands now: readers look for files by their age.
                os.utime(descriptor)
                os.fsync(descriptor)
                _name(path, size)
                if size:
                    recovered.append(path.with_name(path.name[1:]))
        finally:
            os.close(descriptor)
    return recovered


def _name(hidden: Path, size: int) -> None:
    if size and hidden.exists():
        hidden.rename(hidden.with_name(hidden.name[1:]))
    elif not size:
        hidden.unlink(missing_ok=True)
    _sync_folder(hidden.parent)


def _cut_half_line(descriptor: int) -> int:
    """Cut what follows the last line feed; returns the size that is left."""
    size = os.fstat(descriptor).st_size
    while size:
        begin = max(0, size - (1 << 16))
        end = os.pread(descriptor, size - begin, begin).rfind(b"\n")
        if end >= 0:
            size = begin + end + 1
            break
        size = begin
    os.ftruncate(descriptor, size)
    return size


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, folder: Path) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    hint = {
        errno.ENOSPC: "make room",
        errno.EDQUOT: "make room",
        errno.EROFS: "mount it writable",
        errno.EACCES: "grant the right to write",
        errno.ENOENT: "create it",
    }.get(error.errno or 0, "see the system's log")
    return f"The landing zone {folder} takes no data: {text}; {hint}"
