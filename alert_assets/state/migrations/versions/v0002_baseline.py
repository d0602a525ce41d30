"""The tables of commit 6049a12, which counted versions itself."""

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Change nothing: a database of this revision has its tables."""
