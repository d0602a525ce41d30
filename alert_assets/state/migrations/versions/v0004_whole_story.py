"""Deliveries know who takes their place; looks for alerts and failed runs are remembered here."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add what is nullable; rows that are there stay as they are."""
    op.add_column("deliveries", sa.Column("fallbacks", sa.JSON()))
    _add_lookouts()


def _add_lookouts() -> None:
    op.create_table(
        "lookouts", sa.Column("name", sa.Text(), primary_key=True), sa.Column("cursor", sa.JSON(), nullable=False)
    )
    op.create_table(
        "failed_runs",
        sa.Column("job", sa.Text(), primary_key=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone", sa.JSON(), nullable=False),
    )
