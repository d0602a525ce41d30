"""The command line."""

from __future__ import annotations

import sys

from alert_assets.errors import UserError
from benchmarks.cli import app

if __name__ == "__main__":
    try:
        app(prog_name="python -m benchmarks")
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
