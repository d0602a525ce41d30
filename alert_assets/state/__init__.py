"""The state database: breakers, run outcomes, check results, outbox, notifications, audit log."""
