"""Migrate the tables of a state database from any earlier revision to this program's, by alembic.

A database without tables gets those of :mod:`alert_assets.state.tables` at once and is stamped with the newest
revision, so alembic (a quarter of a second to import) is loaded only where an older one is upgraded. All of it is one
transaction of :meth:`~alert_assets.state.database.State.writing`: of two processes the second finds it done, and one
that is killed leaves the database as it was.

To add a column:

1. add it to its table in `state/tables.py`, nullable or with a `server_default`: rows are there already;
2. add `versions/vNNNN_WHAT.py` with the next number as its `revision`, the one before as its `down_revision`, and an
   `upgrade()` that calls `op.add_column("episodes", sa.Column(...))`. Spell types and names out there:
   `state/tables.py` goes on changing, a revision that has been released does not;
3. run `alert_assets_tests/state/test_migrations.py`: on SQLite and PostgreSQL it compares an old database that was
   upgraded with a new one, triggers included. A table that SQLite has to copy (`op.batch_alter_table`) loses its
   triggers, and so its promise to be append-only: call `append_only` for it again.

Commit 6049a12 counted versions in the table `alert_assets_schema`. Its database is stamped with the revision of that
number. The table stays, and new databases have it too: that program refuses a number above 2.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from alert_assets.state.tables import metadata

_FOLDER = Path(__file__).parent

#: What this program knows, oldest first.
REVISIONS = sorted(file.stem[1:5] for file in _FOLDER.glob("versions/v*.py"))
HEAD = REVISIONS[-1]

_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the tables that are there, e.g. `0003`; None when there are none.

    A database that is not stamped yet has the version that its program counted, `2`: no revision of this program's.
    """
    present = inspect(connection)
    if present.has_table(_version.name):
        return connection.scalar(select(_version.c.version_num))
    if present.has_table("alert_assets_schema"):
        return str(connection.scalar(text("SELECT version FROM alert_assets_schema")))
    return None


def create(connection: Connection) -> None:
    """Create all tables, as of the newest revision."""
    metadata.create_all(connection)
    _version.create(connection, checkfirst=True)
    connection.execute(_version.insert().values(version_num=HEAD))
    connection.execute(text("CREATE TABLE IF NOT EXISTS alert_assets_schema AS SELECT 3 AS version"))


def upgrade(connection: Connection, revision: str) -> None:
    """Run the migrations after what :func:`revision_of` returned."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    if revision not in REVISIONS:
        command.stamp(config, revision.zfill(4))
    command.upgrade(config, "head")
