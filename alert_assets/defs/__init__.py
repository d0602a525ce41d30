"""Dagster wiring and nothing else."""
