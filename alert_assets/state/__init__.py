"""The state database: breakers, outcomes, check results, outbox, audit log."""
