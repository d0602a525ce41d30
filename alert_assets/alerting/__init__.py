"""Telling people: what can be told, to whom it goes, through which channel, and until when."""
