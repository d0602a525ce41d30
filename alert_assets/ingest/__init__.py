"""Landing to bronze: the landing zone, its query, the judge of lines, batches that are held."""
