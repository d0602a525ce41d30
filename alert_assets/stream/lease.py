"""Who is the resident process: one for each lake, by a lease in the state database that has to be renewed.

Of a process on this host it is known at once that it has ended, of another host's after a while without a sign of life.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.state.database import upsert
from alert_assets.state.tables import residents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from alert_assets.settings import Settings
    from alert_assets.state.database import State

#: A resident process gives a sign of life so often, and is dead after so long without one.
RENEW_SECONDS, STALE = 5.0, timedelta(seconds=30)


@dataclass(frozen=True)
class Resident:
    """A resident process that is alive, as far as anybody knows.

    Attributes:
        began_at: when it started.
        heard_at: its last sign of life.
        facts: what it says of itself.
    """

    id: str
    owner: ProcessOwner
    began_at: datetime
    heard_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Its number and host, for people."""
        return f"process {self.owner.pid} on {self.owner.host.split(' ')[0]}"


class LeaseLost(UserError):
    """Another process has taken the place of this one, which gave no sign of life for too long."""


def resident(state: State, settings: Settings, now: datetime) -> Resident | None:
    """The resident process of this lake; None when there is none that is alive."""
    with state.reading() as connection:
        return _alive(connection, settings, now)


class Lease:
    """This process's claim to be the resident one."""

    def __init__(self, state: State, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        """Keep the arguments; :meth:`take` takes it."""
        self._state, self._settings, self._clock = state, settings, clock
        self._id = str(uuid.uuid4())

    def take(self) -> None:
        """Become the resident process.

        Raises:
            UserError: another one is.
        """
        now, owner = self._clock(), ProcessOwner.current()
        row = {
            "lake": self._settings.lake_dir,
            "id": self._id,
            "host": owner.host,
            "pid": owner.pid,
            "process_started": owner.started,
            "began_at": now,
            "heard_at": now,
            "facts": {},
        }
        with self._state.writing() as connection:
            if other := _alive(connection, self._settings, now):
                silent = (now - other.heard_at).total_seconds()
                raise UserError(
                    f"Another `alert-assets stream` works on {self._settings.lake_dir}: {other.where}, since "
                    f"{other.began_at:%Y-%m-%d %H:%M:%S}Z, last heard of {silent:.0f} s ago. "
                    "One is enough; stop it with SIGTERM to start this one."
                )
            statement = upsert(connection, residents).values(row)
            connection.execute(statement.on_conflict_do_update(index_elements=["lake"], set_=row))

    def renew(self, facts: Mapping[str, Any]) -> None:
        """Give a sign of life.

        Raises:
            LeaseLost: another process has the lease.
        """
        with self._state.writing() as connection:
            changed = connection.execute(
                residents.update().where(residents.c.id == self._id).values(heard_at=self._clock(), facts=dict(facts))
            )
        if not changed.rowcount:
            raise LeaseLost(
                "Another `alert-assets stream` has taken the place of this one, which gave no sign of life for more "
                f"than {STALE.total_seconds():.0f} s."
            )

    def release(self) -> None:
        """Say that this process is not resident any more."""
        with self._state.writing() as connection:
            connection.execute(residents.delete().where(residents.c.id == self._id))


def _alive(connection: Connection, settings: Settings, now: datetime) -> Resident | None:
    found = select(residents).where(residents.c.lake == settings.lake_dir)
    row = connection.execute(found).mappings().first()
    if row is None:
        return None
    owner = ProcessOwner(row["host"], row["pid"], row["process_started"])
    # A clock that was ahead and was put right makes nobody alive for ever.
    if abs(now - row["heard_at"]) > STALE or owner.is_gone():
        return None
    return Resident(row["id"], owner, row["began_at"], row["heard_at"], row["facts"])
