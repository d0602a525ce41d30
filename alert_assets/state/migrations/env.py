"""Run the migrations on the connection, and in the transaction, of :func:`alert_assets.state.migrations.upgrade`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
