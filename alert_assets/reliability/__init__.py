"""What decides whether the data can be trusted: rules as plain Python, without I/O."""
