"""Episodes say when, how and with which severity people were notified."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rename the columns, and have programs that only know the old names refuse the database."""
    for name in ("at", "severity", "as"):
        op.alter_column("episodes", f"told_{name}", new_column_name=f"notified_{name}")
    op.execute("UPDATE alert_assets_schema SET version = 3")
