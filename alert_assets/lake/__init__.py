"""The Delta tables through delta-rs: read, written, compacted, maintained."""
