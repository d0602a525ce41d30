"""What needs nothing of ours: text from outside, YAML files with line numbers."""
