"""The circuit breakers' jobs and sensors."""
