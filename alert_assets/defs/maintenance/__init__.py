"""The maintenance asset with its job and schedules."""
