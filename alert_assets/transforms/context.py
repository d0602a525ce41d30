"""The incident as text: what an analyst reads. The shape is in docs/rules.md, incident_context_text."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts.vocabulary import SUMMARIES

#: The longest message and the longest `name=value` that are shown, in characters, and the most labels.
LONGEST_MESSAGE, LONGEST_LABEL, MOST_LABELS = 1_000, 200, 10

_SECONDS_UTC = "yyyy-MM-dd'T'HH:mm:ss'Z'"


def with_context_text(incidents: DataFrame, lookback_minutes: int) -> DataFrame:
    """Add `incident_context_text` to gold rows, made of their other columns."""
    summary = F.col("metric_summary")
    shown = {
        "current_value": F.col("current_value"),
        "threshold": F.col("threshold"),
        **{name: summary[name] for name, *_ in SUMMARIES},
    }
    # One expression for all numbers: spelled out once for each, the plan takes longer than the query.
    texts = two_decimals(F.array(*shown.values()))
    named = incidents.withColumn("_texts", texts)
    number = {name: F.col("_texts")[index] for index, name in enumerate(shown)}
    return named.withColumn("incident_context_text", _text(number, lookback_minutes)).drop("_texts")


def _text(number: dict[str, Column], lookback_minutes: int) -> Column:
    metrics = [_labelled(label[0].upper() + label[1:], number[name], unit) for name, _, label, unit in SUMMARIES]
    return F.concat_ws(
        "\n",
        F.lit("Incident Alert:"),
        F.concat_ws(" ", "alert_type", F.lit("triggered on"), "application_id", _present(F.col("host"))),
        F.concat(
            F.lit("Current value: "),
            F.coalesce(number["current_value"], F.lit("None")),
            F.lit(" Threshold: "),
            F.coalesce(number["threshold"], F.lit("None")),
        ),
        F.lit(""),
        F.lit("Recent Deployments:"),
        _lines(F.transform("correlated_deployments", _deployment_line)),
        F.lit(""),
        F.lit(f"Error Summary (last {lookback_minutes} mins):"),
        _lines(F.transform(_by_count(F.map_entries("error_summary")), _error_line)),
        F.lit(""),
        F.lit("Metric Summary:"),
        _lines(F.array_compact(F.array(*metrics))),
        F.lit(""),
        F.concat(F.lit("Prior alerts in window: "), F.col("prior_alert_count").cast("string")),
        *_where_there_is_something(),
    )


def _where_there_is_something() -> list[Column]:
    """Sections with the blank line before them; null, and so left out, where they would be empty."""
    others, message = F.col("other_alert_count"), F.substring(one_line(F.col("message")), 1, LONGEST_MESSAGE)
    labels = F.transform(F.array_sort(F.map_entries("labels")), _label_line)
    return [
        F.when(others > 0, F.concat(F.lit("\nOther alerts in window: "), others.cast("string"))),
        F.when(message != "", F.concat(F.lit("\nMessage: "), message)),
        _section("Labels:", F.slice(labels, 1, MOST_LABELS)),
        _section("Top error messages:", F.transform("top_messages", _message_line)),
    ]


def one_line(text: Column) -> Column:
    """The text with each run of blanks and line breaks as one blank, and none around it."""
    return F.trim(F.regexp_replace(text, "[ \\t\\n\\r\\x0b\\f]+", " "))


def two_decimals(values: Column) -> Column:
    """An array of doubles as texts with two decimals, rounded half to even as C and Python do.

    What is rounded is the exact binary value. A null stays null.

    Spark's own formatting rounds the shortest decimal that stands for the double, ties away from zero:
    0.125 would read 0.13. Here the fraction becomes a whole number of units of 2^-bits, with as many
    bits as the double has near its size and as leave room in a long for the factor 100. Below 2^-8
    bits are cut off, but there every value reads 0.00 or 0.01 and 0.005 is far enough away. From 2^53
    on there is no fraction, and the digits are those of the shortest decimal that stands for the double.
    """

    def take_apart(value: Column) -> Column:
        has_fraction = F.abs(value) < 2**53
        size = F.when(has_fraction, F.abs(value)).otherwise(F.lit(0.0))
        bits = F.when(size < 2**-4, 60).when(size < 2**-1, 56).otherwise(53)
        return F.struct(
            value.alias("value"), has_fraction.alias("has_fraction"), size.alias("size"), bits.alias("bits")
        )

    def count_units(part: Column) -> Column:
        whole = F.floor(part["size"])
        units = ((part["size"] - whole) * F.pow(F.lit(2.0), part["bits"])).cast("long") * 100
        hundredths = F.call_function("shiftright", units, part["bits"])
        return F.struct(
            part["value"].alias("value"),
            part["has_fraction"].alias("has_fraction"),
            whole.alias("whole"),
            hundredths.alias("hundredths"),
            (units - F.call_function("shiftleft", hundredths, part["bits"])).alias("rest"),
            F.call_function("shiftleft", F.lit(1).cast("long"), part["bits"] - 1).alias("half"),
        )

    def round_half_even(part: Column) -> Column:
        is_tie = part["rest"] == part["half"]
        up = (part["rest"] > part["half"]) | (is_tie & (part["hundredths"] % 2 == 1))
        rounded = part["hundredths"] + F.when(up, 1).otherwise(0)
        carried = (part["whole"] + F.when(rounded == 100, 1).otherwise(0)).cast("string")
        sign = F.when(part["value"] < 0, "-").otherwise("")
        text = F.concat(sign, carried, F.lit("."), F.lpad((rounded % 100).cast("string"), 2, "0"))
        without_fraction = F.when(part["value"].isNotNull(), F.format_string("%.2f", part["value"]))
        return F.when(part["has_fraction"], text).otherwise(without_fraction)

    # Each step names what the next one uses several times over; nested, they would multiply.
    return F.transform(F.transform(F.transform(values, take_apart), count_units), round_half_even)


def _present(value: Column) -> Column:
    """The text, or null when there is nothing to see."""
    return F.when(F.btrim(value, F.lit(" \t\n\r\x0b\x0c")) != "", value)


def _lines(lines: Column) -> Column:
    return F.when(F.size(lines) > 0, F.array_join(lines, "\n")).otherwise(F.lit("None"))


def _section(title: str, lines: Column) -> Column:
    return F.when(F.size(lines) > 0, F.concat(F.lit(f"\n{title}\n"), F.array_join(lines, "\n")))


def _labelled(label: str, text: Column, unit: str) -> Column:
    return F.concat(F.lit(f"  - {label}: "), text, F.lit(unit))


def _deployment_line(deployment: Column) -> Column:
    how = F.concat(F.lit(" ("), _present(deployment["change_type"]), F.lit(")"))
    at = F.date_format(deployment["timestamp"], _SECONDS_UTC)
    return F.concat(F.lit("  - "), deployment["version"], F.lit(" deployed at "), at, F.coalesce(how, F.lit("")))


def _by_count(errors: Column) -> Column:
    """Most frequent first, then by code."""
    ranked = F.transform(
        errors, lambda e: F.struct((-e["value"]).alias("order"), e["key"].alias("key"), e["value"].alias("value"))
    )
    return F.sort_array(ranked)


def _error_line(error: Column) -> Column:
    return F.concat(F.lit("  - "), error["key"], F.lit(": "), error["value"].cast("string"), F.lit(" occurrences"))


def _label_line(label: Column) -> Column:
    text = F.concat(label["key"], F.lit("="), label["value"])
    return F.concat(F.lit("  - "), F.substring(one_line(text), 1, LONGEST_LABEL))


def _message_line(top: Column) -> Column:
    return F.concat(F.lit("  - "), top["message"], F.lit(": "), top["count"].cast("string"), F.lit(" occurrences"))
