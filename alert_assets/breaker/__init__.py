"""The circuit breaker: rules, store, the gate around Dagster's executors, the guard in the write path."""
