"""The sensors and jobs of notifications."""
