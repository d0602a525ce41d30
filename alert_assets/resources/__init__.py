"""What the assets work with: a Spark session, the lakehouse."""
