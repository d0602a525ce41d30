"""The Spark session and the warm local server behind it."""
