"""The reports, by schedule."""
