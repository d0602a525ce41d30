"""Bronze to platinum: assets, checks, the landing sensor."""
