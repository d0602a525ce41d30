"""The resident process: works as soon as something lands, with the functions that the assets call."""
