"""Deliveries know who takes their place."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add what is nullable; rows that are there stay as they are."""
    op.add_column("deliveries", sa.Column("fallbacks", sa.JSON()))
