"""How fast the pipeline is, against others on the same machine: `python -m benchmarks --help`."""
