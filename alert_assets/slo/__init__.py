"""Service level objectives: OpenSLO files, indicators, error budgets and burn rates."""
