"""The incident as text: what an analyst reads. The shape is DESIGN §6, incident_context_text."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

_SECONDS_UTC = "yyyy-MM-dd'T'HH:mm:ss'Z'"


def context_text(lookback_minutes: int) -> Column:
    """Text of a gold row, from its columns."""
    return F.concat_ws(
        "\n",
        F.lit("Incident Alert:"),
        F.concat_ws(" ", F.concat(F.col("alert_type"), F.lit(" triggered on ")  , F.col("application_id")), _present("host")),
        F.concat(
            F.lit("Current value: "),
            _or_none(two_decimals(F.col("current_value"))),
            F.lit(" Threshold: "),
            _or_none(two_decimals(F.col("threshold"))),
        ),
        F.lit(""),
        F.lit("Recent Deployments:"),
        _lines(F.transform("correlated_deployments", _deployment_line)),
        F.lit(""),
        F.lit(f"Error Summary (last {lookback_minutes} mins):"),
        _lines(F.transform(_by_count(F.map_entries("error_summary")), _error_line)),
        F.lit(""),
        F.lit("Metric Summary:"),
        _lines(F.array_compact(F.array(*_metric_lines()))),
        F.lit(""),
        F.concat(F.lit("Prior alerts in window: "), F.col("prior_alert_count").cast("string")),
    )


def two_decimals(value: Column) -> Column:
    """A double with two decimals, rounded as C and Python do: the exact binary value, ties to even.

    Spark's own formatting rounds the shortest decimal that stands for the double, ties away from zero:
    0.125 would read 0.13. Here the fraction becomes a whole number of units of 2^-bits, with as many
    bits as the double has near its size and as leave room in a long for the factor 100. Below 2^-8
    bits are cut off, but there every value reads 0.00 or 0.01 and 0.005 is far enough away.
    """
    has_fraction = F.abs(value) < 2**53
    size = F.when(has_fraction, F.abs(value)).otherwise(F.lit(0.0))
    whole = F.floor(size)
    bits = F.when(size < 2**-4, 60).when(size < 2**-1, 56).otherwise(53)
    hundred_units = ((size - whole) * F.pow(F.lit(2.0), bits)).cast("long") * 100
    hundredths = F.call_function("shiftright", hundred_units, bits)
    rest = hundred_units - F.call_function("shiftleft", hundredths, bits)
    half = F.call_function("shiftleft", F.lit(1).cast("long"), bits - 1)
    is_odd = hundredths % 2 == 1
    rounded = hundredths + F.when((rest > half) | ((rest == half) & is_odd), 1).otherwise(0)
    carried = (whole + F.when(rounded == 100, 1).otherwise(0)).cast("string")
    sign = F.when(value < 0, "-").otherwise("")
    text = F.concat(sign, carried, F.lit("."), F.lpad((rounded % 100).cast("string"), 2, "0"))
    return F.when(has_fraction, text).when(value.isNotNull(), F.format_string("%.2f", value))


def _present(column: str) -> Column:
    """The value, or null when there is nothing to show."""
    value = F.col(column)
    return F.when(F.btrim(value, F.lit(" \t\n\r\x0b\x0c")) != "", value)


def _or_none(text: Column) -> Column:
    return F.coalesce(text, F.lit("None"))


def _lines(lines: Column) -> Column:
    return F.when(F.size(lines) > 0, F.array_join(lines, "\n")).otherwise(F.lit("None"))


def _deployment_line(deployment: Column) -> Column:
    change_type = deployment["change_type"]
    shown = F.btrim(F.coalesce(change_type, F.lit("")), F.lit(" \t\n\r\x0b\x0c")) != ""
    return F.concat(
        F.lit("  - "),
        deployment["version"],
        F.lit(" deployed at "),
        F.date_format(deployment["timestamp"], _SECONDS_UTC),
        F.when(shown, F.concat(F.lit(" ("), change_type, F.lit(")"))).otherwise(F.lit("")),
    )


def _by_count(errors: Column) -> Column:
    """Most frequent first, then by code."""
    ranked = F.transform(errors, lambda e: F.struct((-e["value"]).alias("order"), e["key"].alias("key"), e["value"].alias("value")))
    return F.sort_array(ranked)


def _error_line(error: Column) -> Column:
    return F.concat(F.lit("  - "), error["key"], F.lit(": "), error["value"].cast("string"), F.lit(" occurrences"))


def _metric_lines() -> list[Column]:
    def line(label: str, name: str, unit: str) -> Column:
        return F.concat(F.lit(f"  - {label}: "), two_decimals(F.col("metric_summary")[name]), F.lit(unit))

    return [
        line("CPU max", "cpu_max", "%"),
        line("CPU avg", "cpu_avg", "%"),
        line("Memory max", "memory_max", "%"),
        line("Error rate max", "error_rate_max", ""),
    ]
