"""Quality scores, volume anomalies and the health of the pipeline: rules as plain Python."""
