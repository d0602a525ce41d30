"""A lake that is filled up to platinum, as of the tests of checks."""

from alert_assets_tests.checks.conftest import healthy, healthy_once

__all__ = ["healthy", "healthy_once"]
