"""First on PYTHONPATH, as if the extras `otel` and `lineage` were not installed: none of their modules can be imported.

Python runs it at the start of each process, so children of a run are without them too.
"""

import sys


class Absent:
    """Finds nothing, and lets no one else look."""

    def find_spec(self, name: str, *_: object) -> None:
        """Refuse what the extras bring."""
        if name.partition(".")[0] in ("opentelemetry", "openlineage"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
