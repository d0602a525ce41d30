import time, random
from datetime import datetime, timezone
from alert_assets_tests.oracle.generate import generate_lines, write_files
from alert_assets_tests.oracle import reference as ref
from alert_assets_tests.pipeline import *
NOW = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
def test_it(pipeline):
    lines = generate_lines(1, 3000, now=NOW)
    t=time.time()
    for n,part in enumerate((lines[:2000], lines[2000:])):
        d = pipeline.landing/str(n)
        write_files(part, d, random.Random(1), 4, .5)
        for f in (pipeline.ingest, pipeline.refresh_silver, pipeline.refresh_gold, pipeline.ingest, pipeline.refresh_silver):
            t=time.time(); r=f(); print(f.__name__, time.time()-t, r)
    ev, q, blank = ref.judge_all(lines, datetime.now(timezone.utc), 5)
    t=time.time()
    s = ref.silver(ev, pipeline.settings); g = ref.gold(ev, s, pipeline.settings)
    print("oracle", time.time()-t, len(ev), len(q), blank, len(s), len(g))
    print(pipeline.versions())
    got = pipeline.by_key(SILVER_ALERTS)
    print(len(got), sum(got.get(k)!=v for k,v in s.items()))
    got = pipeline.by_key(GOLD_INCIDENTS)
    bad=[(k,v) for k,v in g.items() if got.get(k)!=v]
    print(len(got), len(bad))
    for k,v in bad[:5]:
        print({c:(v[c],got[k].get(c)) for c in v if got.get(k,{}).get(c)!=v[c]})
