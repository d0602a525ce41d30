"""HTTP in: what other tools send becomes lines in the landing zone, on disk before it is answered."""
