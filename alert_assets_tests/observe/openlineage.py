"""OpenLineage's schema of a run event, as JSON Schema, from the models of its client.

OpenLineage generates these from the schemas that it publishes, and each names the one it was made of. What an optional
field may be is what is published: left out, and not null. What nobody published is refused.
"""

from __future__ import annotations

import re
import types
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attr
from jsonschema import Draft202012Validator, FormatChecker
from openlineage.client import event_v2, facet_v2

Schema = dict[str, Any]

#: The model of each facet that is sent.
FACETS = {
    "parent": facet_v2.parent_run.ParentRunFacet,
    "errorMessage": facet_v2.error_message_run.ErrorMessageRunFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "columnLineage": facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
    "dataQualityAssertions": facet_v2.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
}
_SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}
#: What the published schemas say beyond the type, by field: the models check it by code.
_FORMATS = {
    "eventTime": "date-time",
    "runId": "uuid",
    **dict.fromkeys(("producer", "_producer", "schemaURL", "_schemaURL"), "uri"),
}
_WORDS = {
    ("Transformation", "type"): ["DIRECT", "INDIRECT"],
    ("JobTypeJobFacet", "processingType"): ["BATCH", "STREAMING", "SERVICE"],
}

_formats = FormatChecker(formats=())


@_formats.checks("date-time")
def _is_time(value: object) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", str(value)))


@_formats.checks("uri")
def _is_uri(value: object) -> bool:
    """With a scheme, of the characters that a URI may have; a URN names what it is of."""
    is_uri = re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[\w.~:/?#\[\]@!$&'()*+,;=%-]+", str(value), re.ASCII)
    return bool(is_uri) and (not str(value).startswith("urn:") or str(value).count(":") > 1)


@_formats.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return str(UUID(str(value))) == value


def _schema(of: Any) -> Schema:
    """The schema of a type in a model."""
    if of in _SIMPLE:
        return _SIMPLE[of]
    origin, inner = get_origin(of), get_args(of)
    if origin in (Union, types.UnionType):
        (only,) = (one for one in inner if one is not type(None))
        return _schema(only)
    if origin is list:
        return {"type": "array", "items": _schema(inner[0])}
    if origin is dict:
        # A facet has the model that its name says, wherever it is.
        is_facets = inner[1] is not Any and str(inner[1]).endswith("Facet'>")
        known = {"properties": {name: {"$ref": f"#/$defs/{name}"} for name in FACETS}, "additionalProperties": False}
        return {"type": "object", **(known if is_facets else {"additionalProperties": _schema(inner[1])})}
    if isinstance(of, type) and issubclass(of, Enum):
        return {"enum": [one.value for one in of]}
    return {"$ref": f"#/$defs/{_key(of)}"}


def _key(model: type) -> str:
    return f"{model.__module__}.{model.__name__}"


def _object(model: type) -> Schema:
    hints = get_type_hints(model)
    properties = {}
    for one in attr.fields(model):
        found = dict(_schema(hints[one.name]))
        if one.name in _FORMATS:
            found["format"] = _FORMATS[one.name]
        if words := _WORDS.get((model.__name__, one.name)):
            found["enum"] = words
        if one.name in ("schemaURL", "_schemaURL"):
            found["const"] = model._get_schema()  # type: ignore[attr-defined]
        properties[one.name] = found
    always = {"schemaURL", "_schemaURL", "producer", "_producer"} & properties.keys()
    required = sorted(always | {one.name for one in attr.fields(model) if one.default is attr.NOTHING})
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _models(model: type, found: dict[str, type]) -> dict[str, type]:
    """A model and those in it."""
    if _key(model) not in found:
        found[_key(model)] = model
        todo = list(get_type_hints(model).values())
        while todo:
            one = todo.pop()
            todo += get_args(one)
            if attr.has(one):
                _models(one, found)
    return found


def _whole() -> Schema:
    found: dict[str, type] = {}
    for model in (event_v2.RunEvent, *FACETS.values()):
        _models(model, found)
    facets = {name: {"$ref": f"#/$defs/{_key(model)}"} for name, model in FACETS.items()}
    defs = {**{name: _object(model) for name, model in found.items()}, **facets}
    return {"$ref": f"#/$defs/{_key(event_v2.RunEvent)}", "$defs": defs}


VALIDATOR = Draft202012Validator(_whole(), format_checker=_formats)
