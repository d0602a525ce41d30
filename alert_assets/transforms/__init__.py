"""The pipeline's rules as functions from DataFrame to DataFrame: no Dagster, no I/O."""
