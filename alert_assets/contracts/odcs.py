"""A contract as a document of the Open Data Contract Standard, version 3.1, for those who rely on the data.

The standard has no place for five things that a reader has to know, so they are custom properties: which
way the data flows (`direction`), who reads it (`consumers`), the key of rows that may come twice
(`idempotencyKey`), for which event types a field is required (`requiredFor`), and what is masked in a column's
values when they leave the lake (`masking`). Of the event contract
also how a producer's spelling is normalised and what stands in for a missing field.

Map keys and values have no properties in the standard: their types are in `physicalType` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from alert_assets.contracts.columns import Column, DeltaType, simple_string
from alert_assets.contracts.rules import odcs as rules
from alert_assets.contracts.vocabulary import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from alert_assets.contracts.catalog import Contract

API_VERSION = "v3.1.0"

#: Files of exported contracts end with it; editors know the schema by it.
SUFFIX = ".odcs.yaml"

#: How a landing line spells each Spark type; a type that is not here has its Spark name.
_WIRE_TYPES = {"timestamp": "string", "double": "number"}

#: Metadata of an input's columns that producers can use, and the custom property it becomes.
_PRODUCER_METADATA = {
    "case": "storedCase",
    "aliases": "aliases",
    "default": "default",
    "default_from": "defaultFrom",
    "default_for": "defaultFor",
}


def to_odcs(contract: Contract, location: str | None = None) -> dict[str, Any]:
    """The contract as an ODCS document.

    Args:
        location: folder or URL of the data; credentials in it are left out. A document without one has no
            servers.
    """
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": f"urn:alert-assets:contract:{contract.name}",
        "name": contract.name,
        "version": f"{contract.version}.0.0",
        "status": "active",
        "domain": "operational-telemetry",
        "dataProduct": "alert-assets",
        "description": {"purpose": contract.description},
    }
    if location is not None:
        document["servers"] = [_server(contract, location)]
    return document | {
        "schema": [_schema(contract)],
        "team": {"name": contract.owner.removeprefix("team:")},
        "slaProperties": _service_levels(contract),
        "customProperties": _custom(_contract_facts(contract)),
    }


def to_yaml(document: Mapping[str, Any]) -> str:
    """The document as YAML, the same bytes for the same contract."""
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110))


def _server(contract: Contract, location: str) -> dict[str, Any]:
    data_format = "json" if contract.direction == "input" else "delta"
    server: dict[str, Any] = {"server": "landing" if contract.direction == "input" else "lake"}
    url = urlsplit(location)
    if "://" not in location or url.scheme == "file":
        path = location if "://" not in location else url.path
        return server | {"type": "local", "path": path, "format": data_format}
    kind = {"s3": "s3", "s3a": "s3", "az": "azure", "abfs": "azure", "abfss": "azure"}.get(url.scheme, "custom")
    return server | {"type": kind, "location": _without_credentials(location), "format": data_format}


def _without_credentials(location: str) -> str:
    """The URL without user, password and query. What stands before an Azure URL's @ is the container."""
    url = urlsplit(location)
    user, at, host = url.netloc.rpartition("@")
    if url.scheme in {"abfs", "abfss"}:
        host = user.partition(":")[0] + at + host
    return urlunsplit((url.scheme, host, url.path, "", ""))


def _schema(contract: Contract) -> dict[str, Any]:
    is_input = contract.direction == "input"
    schema: dict[str, Any] = {
        "name": contract.name,
        "logicalType": "object",
        "physicalName": contract.name,
        "physicalType": "file" if is_input else "table",
        "description": contract.description,
    }
    if contract.key:
        row = "event; a redelivery repeats it" if not contract.unique_key else "row"
        schema["dataGranularityDescription"] = f"One ({', '.join(contract.key)}) is one {row}."
    schema["properties"] = [_column(contract, name, column) for name, column in contract.columns.items()]
    quality = list(_row_quality(contract))
    return schema | ({"quality": quality} if quality else {})


def _row_quality(contract: Contract) -> Iterator[dict[str, Any]]:
    if contract.key and contract.unique_key:
        yield {
            "name": "unique_key",
            "type": "library",
            "metric": "duplicateValues",
            "arguments": {"properties": list(contract.key)},
            "mustBe": 0,
            "unit": "rows",
            "dimension": "uniqueness",
        }
    if contract.direction == "input":
        yield _text("not_blank", "A required text is not blank.", "completeness")
        measured = ", ".join(contract.columns_with("measured"))
        yield _text("measurement", f"A metric event has at least one of {measured}.", "completeness")
        yield _text("future", "No timestamp is further ahead than ALERTS_MAX_FUTURE_SKEW_MINUTES.", "timeliness")
    if any(rule.kind == "finite" for rule in contract.rules):
        yield _text("finite_numbers", "No double is NaN or infinite.", "conformity")


def _text(name: str, description: str, dimension: str) -> dict[str, Any]:
    return {"name": name, "type": "text", "description": description, "dimension": dimension}


def _column(contract: Contract, name: str, column: Column) -> dict[str, Any]:
    metadata = column.metadata
    is_input = contract.direction == "input"
    entry: dict[str, Any] = {"name": name}
    if contract.unique_key and name in contract.key:
        entry |= {"primaryKey": True, "primaryKeyPosition": contract.key.index(name) + 1}
    entry |= _typed(column.type)
    if is_input:
        entry["physicalType"] = _wire_type(column.type)
    options = entry.get("logicalTypeOptions", {}) | rules.type_options(column.rules)
    if is_input and column.type == "timestamp":
        options |= {"minimum": f"{FIRST_YEAR}-01-01T00:00:00Z", "exclusiveMaximum": f"{LAST_YEAR + 1}-01-01T00:00:00Z"}
    if options:
        entry["logicalTypeOptions"] = options
    entry["required"] = not column.nullable
    if contract.unique_key and contract.key == (name,):
        entry["unique"] = True
    if column.description:
        entry["description"] = column.description
    if metadata.get("pii"):
        entry |= {"classification": "confidential", "tags": ["pii"]}
    if "examples" in metadata:
        entry["examples"] = list(metadata["examples"])
    if allowed := rules.quality(column.rules):
        entry["quality"] = allowed
    facts = _column_facts(column, is_input=is_input)
    return entry | ({"customProperties": _custom(facts)} if facts else {})


def _wire_type(delta_type: DeltaType) -> str:
    if isinstance(delta_type, str):
        return _WIRE_TYPES.get(delta_type, simple_string(delta_type))
    if delta_type["type"] == "map":
        return f"object<{_wire_type(delta_type['valueType'])}>"
    return simple_string(delta_type)


def _typed(delta_type: DeltaType) -> dict[str, Any]:
    """Logical and physical type; the fields of a struct and the items of an array with theirs."""
    physical = {"physicalType": simple_string(delta_type)}
    if not isinstance(delta_type, str):
        if delta_type["type"] == "array":
            return {"logicalType": "array"} | physical | {"items": _typed(delta_type["elementType"])}
        if delta_type["type"] == "struct":
            fields = [{"name": field["name"]} | _typed(field["type"]) for field in delta_type["fields"]]
            return {"logicalType": "object"} | physical | {"properties": fields}
        return {"logicalType": "object"} | physical
    logical, options = {
        "string": ("string", {}),
        "binary": ("string", {"format": "binary"}),
        "boolean": ("boolean", {}),
        "integer": ("integer", {"format": "i32"}),
        "long": ("integer", {"format": "i64"}),
        "double": ("number", {"format": "f64"}),
        "timestamp": ("timestamp", {"timezone": True, "defaultTimezone": "Etc/UTC"}),
    }[delta_type]
    return {"logicalType": logical} | physical | ({"logicalTypeOptions": options} if options else {})


def _column_facts(column: Column, *, is_input: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if event_types := rules.required_for(column.rules):
        facts["requiredFor"] = event_types
    if "masking" in column.metadata:
        facts["masking"] = list(column.metadata["masking"])
    if is_input:
        for name, property_ in _PRODUCER_METADATA.items():
            if name in column.metadata:
                value = column.metadata[name]
                facts[property_] = list(value) if isinstance(value, tuple) else value
    return facts


def _service_levels(contract: Contract) -> list[dict[str, Any]]:
    """Freshness, availability, and how many rows one commit brings when it brings any."""
    promised = contract.availability_percent
    available = "Share of the time in which the table can be read and is as fresh as promised."
    levels: list[tuple[str, float, str, str]] = [
        ("freshness", contract.freshness_minutes, "minutes", "Oldest the newest row may be while events keep landing."),
        *([("availability", promised, "percent", available)] if promised is not None else []),
        ("minRowsPerCommit", contract.volume.min_rows, "rows", "Fewest rows that a commit with rows brings."),
        ("maxRowsPerCommit", contract.volume.max_rows, "rows", "Most rows that a commit brings."),
    ]
    return [
        {
            "property": name,
            "value": value,
            "unit": unit,
            "element": contract.name,
            "driver": "operational",
            "description": description,
        }
        for name, value, unit, description in levels
    ]


def _contract_facts(contract: Contract) -> dict[str, Any]:
    facts: dict[str, Any] = {"direction": contract.direction, "consumers": list(contract.consumers)}
    if contract.key and not contract.unique_key:
        facts["idempotencyKey"] = list(contract.key)
    return facts


def _custom(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"property": name, "value": value} for name, value in facts.items()]
