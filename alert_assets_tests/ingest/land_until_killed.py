"""Lands a file, takes it to bronze without Spark, and again, until it is killed."""

import itertools
import sys

from alert_assets.ingest.query import ingest
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
from alert_assets_tests.ingest.test_bad_files import alert

if __name__ == "__main__":

    def no_spark():
        raise SystemExit("a batch is unfinished: it is Spark's")

    settings = load_settings(data_dir=sys.argv[1])
    lakehouse = Lakehouse(settings)
    for number in itertools.count():
        name = f"{sys.argv[2]}-{number:04}"
        draft = settings.data_dir / "landing" / f".{name}"
        draft.write_bytes(alert(name) + b"\n" + b"no event\n")
        draft.rename(draft.with_name(f"{name}.jsonl"))
        ingest(no_spark, lakehouse, settings, lambda _: None)
        print(name, flush=True)
