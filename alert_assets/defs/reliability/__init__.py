"""The tables that say how reliable the others are."""
