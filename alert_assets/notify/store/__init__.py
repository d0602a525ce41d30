"""Episodes, deliveries and the ledger as they are stored."""
