"""The rules of DESIGN §4 to §6 once more, in plain Python, so that the Spark code has something to be wrong against."""
