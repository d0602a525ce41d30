"""A lake for the checks as Dagster runs them."""

from alert_assets_tests.checks.conftest import healthy, healthy_once, lake

__all__ = ["healthy", "healthy_once", "lake"]
