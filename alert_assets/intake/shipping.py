"""A landing zone in an object store: files are durable in a local spool first, and shipped from there, in order.

An object store has no rename and no append, and may be away; an answer waits for neither. What was answered is in the
spool, on this machine's disk, until it is in the landing zone, whole.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    from alert_assets.settings import Settings

_CHUNK = 1 << 20


def spool_of(settings: Settings) -> Path:
    """Return the folder that the writer writes to: the landing zone itself, or the spool before it."""
    is_remote = "://" in settings.landing_dir
    return settings.state_dir / "intake" / "spool" if is_remote else Path(settings.landing_dir)


class Shipper:
    """Moves whole files from the spool to the landing zone, the oldest first; a thread of its own."""

    def __init__(self, spool: Path, landing_dir: str, every_seconds: float = 1.0) -> None:
        self._spool, self._landing_dir = spool, landing_dir
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="landing-shipper", daemon=True)
        #: Why the last file could not be shipped; None when it could.
        self.failure: str | None = None

    def start(self) -> None:
        """Begin with what is there."""
        self._thread.start()

    def close(self) -> None:
        """Ship what is there once more, and end the thread; what cannot be shipped stays for the next start."""
        self._stop.set()
        self._thread.join()
        self.ship()

    def ship(self) -> int:
        """Ship the files that are whole; returns how many. After a failure none that is younger is tried."""
        shipped = 0
        try:
            filesystem, root = filesystem_of(self._landing_dir)
            for path in sorted(self._spool.glob("intake-*.jsonl")):
                # Objects appear whole when they are closed. One that was shipped before a crash is shipped again under
                # the same name, with the same content.
                with path.open("rb") as source, filesystem.open_output_stream(f"{root}/{path.name}") as target:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
                path.unlink()
                shipped += 1
            self.failure = None
        except OSError as error:
            self.failure = f"The landing zone {self._landing_dir} takes no files: {error}; they wait in {self._spool}"
        return shipped

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self.ship()
