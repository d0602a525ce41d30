"""The rules of the event and the tables once more, in plain Python, so that the Spark code has something to
be wrong against."""
