"""Asset checks: can the tables be trusted? Six dimensions on every table, read from Delta without Spark."""
