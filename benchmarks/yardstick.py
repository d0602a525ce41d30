"""DuckDB over the same landing files to the same rows: what the machine can do.

Every line is judged by the event contract and typed; valid ones become bronze, the others are set aside with their
number. Alerts are collapsed to silver's rows, and each gets the hour before it: deployments, errors by code,
metrics, prior alerts, evidence count. All four tables are written as Parquet with zstd.

It does less than the pipeline where that is not the subject: no reasons why a line broke, nothing adapted, no unknown
fields kept, no labels, messages and links of alerts, no text of the incident and its top messages, no Delta log, no
increments, no checks, and one process without Dagster.

    python -m benchmarks.yardstick LANDING OUT
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import duckdb

_COLUMNS = {
    **dict.fromkeys(("event_id", "event_type", "application_id", "host", "timestamp", "source"), "VARCHAR"),
    "labels": "MAP(VARCHAR, VARCHAR)",
    **dict.fromkeys(("alert_id", "alert_type", "severity", "status"), "VARCHAR"),
    **dict.fromkeys(("current_value", "threshold", "cpu_percent", "memory_percent", "error_rate"), "DOUBLE"),
    "metrics": "MAP(VARCHAR, DOUBLE)",
    **dict.fromkeys(("log_level", "error_code", "message", "deployment_id", "version", "change_type"), "VARCHAR"),
}
_TEXTS = [name for name, kind in _COLUMNS.items() if kind == "VARCHAR"]
_NUMBERS = [name for name, kind in _COLUMNS.items() if kind == "DOUBLE"]

#: DuckDB casts a number to text and text to a number. A line that may hold one of them is looked at field by field.
_SUSPECT = "|".join(
    [
        rf'"(?:{"|".join(_TEXTS)})"\s*:\s*[^"\sn]',
        rf'"(?:{"|".join(_NUMBERS)})"\s*:\s*[^-0-9\sn]',
        r'"(?:labels|metrics)"\s*:\s*[^{\sn]',
    ]
)
_RFC_3339 = r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})"


def _lines(landing: Path) -> str:
    """Every line as text."""
    return f"""
        SELECT raw FROM read_csv('{landing}/*.jsonl', columns = {{'raw': 'VARCHAR'}}, header = false, delim = '\x1e',
            quote = '', escape = '', auto_detect = false, max_line_size = 10000000, null_padding = false)
        WHERE trim(raw) <> ''
    """


def _judged(landing: Path) -> str:
    """Every line: `event` (the contract's fields as they came), `is_valid`, and `raw` where it is not."""
    structure = json.dumps({name: "VARCHAR" if name == "timestamp" else kind for name, kind in _COLUMNS.items()})
    kinds = {
        **dict.fromkeys(_TEXTS, "'VARCHAR', 'NULL'"),
        **dict.fromkeys(_NUMBERS, "'DOUBLE', 'BIGINT', 'UBIGINT', 'NULL'"),
        **dict.fromkeys(("labels", "metrics"), "'OBJECT', 'NULL'"),
    }
    right_type = " AND ".join(f"coalesce(json_type(text, '$.{n}'), 'NULL') IN ({kind})" for n, kind in kinds.items())

    def given(name: str) -> str:
        return f"coalesce(trim(event.{name}), '') <> ''"

    def one_of(name: str, *values: str) -> str:
        return f"coalesce(upper(event.{name}) IN ({', '.join(repr(value) for value in values)}), true)"

    rules = [
        "event IS NOT NULL",
        f"CASE WHEN regexp_matches(text, '{_SUSPECT}') THEN {right_type} ELSE true END",
        *(given(name) for name in ("event_id", "event_type", "application_id")),
        "event.event_type IN ('alert', 'log', 'metric', 'deployment')",
        f"regexp_full_match(event.timestamp, '{_RFC_3339}')",
        "moment BETWEEN TIMESTAMPTZ '2000-01-01' AND TIMESTAMPTZ '2100-12-31 23:59:59.999999'",
        "moment <= now() + INTERVAL 5 MINUTE",
        f"(event.event_type <> 'alert' OR ({given('alert_type')} AND {given('severity')}))",
        one_of("severity", "CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"),
        one_of("status", "FIRING", "RESOLVED"),
        f"(event.event_type <> 'log' OR {given('log_level')})",
        one_of("log_level", "TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL"),
        f"(event.event_type <> 'deployment' OR ({given('deployment_id')} AND {given('version')}))",
        *(f"coalesce(isfinite(event.{name}), true)" for name in _NUMBERS),
        "coalesce(event.cpu_percent >= 0, true)",
        "coalesce(event.memory_percent >= 0, true)",
        "coalesce(event.error_rate BETWEEN 0 AND 1, true)",
        "(event.event_type <> 'metric' OR coalesce(event.cpu_percent, event.memory_percent, event.error_rate) IS NOT "
        "NULL OR coalesce(cardinality(event.metrics) > 0, false))",
    ]
    # Without MATERIALIZED every rule would parse the line again.
    return f"""
        WITH lines AS MATERIALIZED (
            SELECT raw, CASE WHEN json_valid(raw) THEN raw END AS text FROM ({_lines(landing)})
        ),
        parsed AS MATERIALIZED (SELECT raw, text, from_json(text, '{structure}') AS event FROM lines),
        timed AS MATERIALIZED (SELECT *, try_cast(upper(event.timestamp) AS TIMESTAMPTZ) AS moment FROM parsed),
        told AS MATERIALIZED (SELECT event, moment, raw, coalesce({" AND ".join(rules)}, false) AS is_valid FROM timed)
        SELECT event, moment, is_valid, CASE WHEN NOT is_valid THEN raw END AS raw FROM told
    """


_BRONZE = """
    SELECT event.event_id, event.event_type, event.application_id, event.host,
        moment AS timestamp, event.source, event.labels,
        CASE WHEN event.event_type = 'alert' THEN coalesce(event.alert_id, event.event_id) ELSE event.alert_id END
            AS alert_id,
        event.alert_type, upper(event.severity) AS severity,
        CASE WHEN event.event_type = 'alert' THEN lower(coalesce(event.status, 'firing')) ELSE lower(event.status) END
            AS status,
        event.current_value, event.threshold, event.cpu_percent, event.memory_percent, event.error_rate, event.metrics,
        CASE upper(event.log_level) WHEN 'WARNING' THEN 'WARN' ELSE upper(event.log_level) END AS log_level,
        event.error_code, event.message, event.deployment_id, event.version, event.change_type
    FROM judged WHERE is_valid
"""

_SILVER = """
    WITH events AS (
        SELECT sha256(concat_ws(chr(31), application_id, coalesce(host, ''), alert_type)) AS fingerprint,
            time_bucket(INTERVAL 5 MINUTE, timestamp) AS window_start, timestamp, event_id, count(*) AS deliveries,
            min((status, severity, alert_id, application_id, host, alert_type, current_value, threshold)) AS c
        FROM bronze WHERE event_type = 'alert' GROUP BY ALL
    ), named AS (
        SELECT * EXCLUDE c, c[1] AS status, c[2] AS severity, c[3] AS alert_id, c[4] AS application_id, c[5] AS host,
            c[6] AS alert_type, c[7] AS current_value, c[8] AS threshold, (timestamp, event_id) AS nth
        FROM events
    )
    SELECT fingerprint, window_start, window_start + INTERVAL 5 MINUTE AS window_end,
        arg_min(application_id, nth) AS application_id, arg_min(host, nth) AS host,
        arg_min(alert_type, nth) AS alert_type,
        list_extract(['INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL'],
            max(list_position(['INFO', 'LOW', 'MEDIUM', 'HIGH', 'CRITICAL'], severity))) AS severity,
        arg_min(alert_id, nth) FILTER (status = 'firing') AS alert_id,
        arg_min(current_value, nth) FILTER (status = 'firing') AS current_value,
        arg_min(threshold, nth) FILTER (status = 'firing') AS threshold,
        max(current_value) FILTER (status = 'firing') AS max_value,
        min(timestamp) FILTER (status = 'firing') AS first_seen_timestamp,
        max(timestamp) FILTER (status = 'firing') AS last_seen_timestamp,
        count(*) FILTER (status = 'firing') AS alert_count,
        sum(deliveries) - count(*) AS duplicate_count,
        list(timestamp) FILTER (status = 'resolved') AS resolutions
    FROM named GROUP BY fingerprint, window_start
"""

_GOLD = """
    WITH looking AS (
        SELECT fingerprint, window_start, application_id, alert_id AS own_alert_id, first_seen_timestamp AS until,
            unnest([epoch_us(first_seen_timestamp) // 3600000000 - 1, epoch_us(first_seen_timestamp) // 3600000000])
                AS bucket
        FROM silver WHERE alert_count > 0
    ), once AS (
        SELECT application_id, event_id, timestamp, epoch_us(timestamp) // 3600000000 AS bucket,
            any_value(event_type) AS event_type, any_value(status) AS status, any_value(alert_id) AS alert_id,
            any_value(CASE WHEN event_type = 'log' AND log_level IN ('ERROR', 'FATAL') THEN error_code END) AS code,
            any_value(CASE WHEN event_type = 'deployment' THEN {'timestamp': timestamp, 'deployment_id': deployment_id,
                'version': version, 'change_type': change_type} END) AS deployment,
            any_value(CASE WHEN event_type = 'metric' THEN cpu_percent END) AS cpu,
            any_value(CASE WHEN event_type = 'metric' THEN memory_percent END) AS memory,
            any_value(CASE WHEN event_type = 'metric' THEN error_rate END) AS error_rate
        FROM bronze GROUP BY application_id, event_id, timestamp
    ), evidence AS (
        SELECT l.fingerprint, l.window_start, count(*) AS evidence_count,
            list_sort(list(deployment) FILTER (event_type = 'deployment')) AS correlated_deployments,
            histogram(code) AS error_summary, max(cpu) AS cpu_max, avg(cpu) AS cpu_avg, max(memory) AS memory_max,
            max(error_rate) AS error_rate_max,
            count(*) FILTER (event_type = 'alert' AND status = 'firing' AND alert_id <> own_alert_id)
                AS prior_alert_count
        FROM looking l JOIN once e ON e.application_id = l.application_id AND e.bucket = l.bucket
            AND e.timestamp BETWEEN l.until - INTERVAL 60 MINUTE AND l.until
        GROUP BY l.fingerprint, l.window_start
    )
    SELECT s.* EXCLUDE resolutions,
        CASE WHEN list_max(s.resolutions) >= s.last_seen_timestamp THEN list_max(s.resolutions) END AS resolved_at,
        e.* EXCLUDE (fingerprint, window_start)
    FROM silver s LEFT JOIN evidence e USING (fingerprint, window_start)
    WHERE s.alert_count > 0
"""

_FIGURES = """
    SELECT (SELECT count(*) FROM '{out}/bronze.parquet'), (SELECT count(*) FROM '{out}/quarantine.parquet'),
        s.*, g.*
    FROM (SELECT count(*), sum(alert_count), sum(duplicate_count) FROM '{out}/silver.parquet') s,
        (SELECT count(*), sum(evidence_count), sum(prior_alert_count) FROM '{out}/gold.parquet') g
"""
_FIGURE_NAMES = (
    *("bronze_rows", "quarantine_rows", "silver_rows", "alert_count", "duplicate_count"),
    *("gold_rows", "evidence_count", "prior_alert_count"),
)


def landing_to_gold(landing: Path, out: Path) -> dict[str, dict[str, float]]:
    """Write the four tables under `out`.

    Returns:
        `phases`: seconds of each; `figures`: rows and sums, by the names of `Site.figures`.
    """
    out.mkdir(parents=True, exist_ok=True)
    db = duckdb.connect(config={"threads": os.cpu_count() or 1, "preserve_insertion_order": False})
    db.execute("SET TimeZone = 'UTC'")
    db.execute(f"SET temp_directory = '{out}/spill'")
    phases: dict[str, float] = {}
    begin = time.monotonic()

    def write(name: str, query: str) -> None:
        db.execute(f"COPY ({query}) TO '{out}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd)")

    def done(phase: str) -> None:
        nonlocal begin
        phases[phase], begin = time.monotonic() - begin, time.monotonic()

    db.execute(f"CREATE TEMP TABLE judged AS {_judged(landing)}")
    write("bronze", _BRONZE)
    write("quarantine", "SELECT raw FROM judged WHERE NOT is_valid")
    db.execute("DROP TABLE judged")
    db.execute(f"CREATE VIEW bronze AS SELECT * FROM '{out}/bronze.parquet'")
    done("bronze")
    write("silver", _SILVER)
    db.execute(f"CREATE VIEW silver AS SELECT * FROM '{out}/silver.parquet'")
    done("silver")
    write("gold", _GOLD)
    done("gold")
    row = db.execute(_FIGURES.format(out=out)).fetchone()
    assert row is not None
    figures = {name: int(value or 0) for name, value in zip(_FIGURE_NAMES, row, strict=True)}
    return {"phases": phases, "figures": {name: float(value) for name, value in figures.items()}}


if __name__ == "__main__":
    print(json.dumps(landing_to_gold(Path(sys.argv[1]), Path(sys.argv[2]))))
