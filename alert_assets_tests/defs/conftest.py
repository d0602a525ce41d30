"""A lake for the checks as Dagster runs them."""

from alert_assets_tests.checks.conftest import healthy, lake

__all__ = ["healthy", "lake"]
