"""The assets: thin functions that let transforms work on what the lakehouse has."""
