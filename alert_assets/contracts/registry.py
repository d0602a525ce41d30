"""Ask a schema registry (Confluent's API) whether a contract is compatible with what it holds for a subject.

The contract goes there as a JSON Schema, and the registry judges by the compatibility that is set for the subject
(BACKWARD, FORWARD, FULL, ...). Nothing is registered. API:
https://docs.confluent.io/platform/current/schema-registry/develop/api.html#compatibility
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.contracts.catalog import Contract

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_TIMEOUT_SECONDS = 10.0

#: JSON's types of our columns'.
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "long": {"type": "integer"},
    "double": {"type": "number"},
    "timestamp": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "binary": {"type": "string", "contentEncoding": "base64"},
}


@dataclass(frozen=True)
class RegistryAnswer:
    """What a registry says of a contract.

    Attributes:
        version: of the subject's schema that it was compared with; None where the subject has none yet.
        is_compatible: whether the contract may follow on it.
        messages: why not, in the registry's words.
    """

    subject: str
    version: int | None
    is_compatible: bool
    messages: tuple[str, ...] = ()


def json_schema(contract: Contract) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of one row or event of a contract; other fields are allowed."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": contract.name,
        "description": contract.description,
        "type": "object",
        "properties": {
            name: {**_schema_of(column.type, nullable=column.nullable), "description": column.description}
            for name, column in contract.columns.items()
        },
        "required": [name for name, column in contract.columns.items() if not column.nullable],
    }


def _schema_of(column_type: Any, *, nullable: bool) -> dict[str, Any]:
    if isinstance(column_type, str):
        found = dict(_TYPES[column_type])
    elif column_type["type"] == "map":
        found = {"type": "object", "additionalProperties": _schema_of(column_type["valueType"], nullable=True)}
    elif column_type["type"] == "array":
        found = {"type": "array", "items": _schema_of(column_type["elementType"], nullable=True)}
    else:
        fields = {
            field["name"]: _schema_of(field["type"], nullable=field["nullable"]) for field in column_type["fields"]
        }
        found = {"type": "object", "properties": fields}
    return {**found, "type": [found["type"], "null"]} if nullable else found


def ask_registry(url: str, subject: str, contract: Contract) -> RegistryAnswer:
    """Ask the registry at `url`, which may hold a user and a password, about a contract as the next of a subject.

    Raises:
        UserError: it cannot be reached, refuses, or answers what is none.
    """
    import json

    import httpx

    address = httpx.URL(url)
    credentials = (address.username, address.password) if address.userinfo else None
    base = str(address.copy_with(userinfo=b"")).rstrip("/")
    name = quote(subject, safe="")
    body = {"schemaType": "JSON", "schema": json.dumps(json_schema(contract), sort_keys=True)}
    try:
        with httpx.Client(auth=credentials, timeout=_TIMEOUT_SECONDS, headers={"Accept": _MEDIA_TYPE}) as client:
            latest = client.get(f"{base}/subjects/{name}/versions/latest")
            if latest.status_code == httpx.codes.NOT_FOUND:
                return RegistryAnswer(subject, None, is_compatible=True)
            version = int(_answer(latest, base)["version"])
            asked = client.post(
                f"{base}/compatibility/subjects/{name}/versions/{version}?verbose=true",
                json=body,
                headers={"Content-Type": _MEDIA_TYPE},
            )
            found = _answer(asked, base)
            return RegistryAnswer(subject, version, bool(found["is_compatible"]), tuple(found.get("messages") or ()))
    except httpx.HTTPError as error:
        raise UserError(
            f"The schema registry {base} (ALERTS_SCHEMA_REGISTRY_URL) does not answer: "
            f"{str(error) or type(error).__name__}. Start it or correct the address."
        ) from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{base} (ALERTS_SCHEMA_REGISTRY_URL) answers as no schema registry does: correct the address."
        ) from None


def _answer(response: Any, base: str) -> Mapping[str, Any]:
    if response.is_success:
        answer: Mapping[str, Any] = response.json()
        return answer
    said = response.text[:300].strip() or response.reason_phrase
    raise UserError(
        f"The schema registry {base} refuses with {response.status_code}: {said}. "
        "Correct ALERTS_SCHEMA_REGISTRY_URL, which may hold user:password, or the subject."
    )
