"""What a JSON schema may be in strict mode (OpenAI's guide to Structured Outputs): a subset, and stricter than JSON
Schema itself. A request with another one is refused with 400."""

from __future__ import annotations

from typing import Any

from simulators.model.oracle import Refused, refuse

PARAM = "text.format.schema"
MAX_DEPTH, MAX_PROPERTIES, MAX_ENUM = 10, 5000, 1000
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
KEYWORDS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "description", "title",
    "$ref", "$defs", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "minItems", "maxItems",
})  # fmt: skip


class Walk:
    """One schema, looked through once. Raises Refused."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._properties = self._enum_values = 0

    def root(self, schema: Any) -> None:
        if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
            raise self._refused((), "schema must be a JSON Schema of 'type: \"object\"'")
        self._any(schema, (), 1)

    def _refused(self, place: tuple[str, ...], what: str) -> Refused:
        context = f"In context={place!r}, {what}"
        return refuse("invalid_json_schema", f"Invalid schema for response_format '{self._name}': {context}.", PARAM)

    def _any(self, schema: Any, place: tuple[str, ...], depth: int) -> None:
        if not isinstance(schema, dict):
            raise self._refused(place, "schema must be an object")
        if depth > MAX_DEPTH:
            raise self._refused(place, f"nesting exceeds {MAX_DEPTH} levels")
        if unknown := set(schema) - KEYWORDS:
            raise self._refused(place, f"'{min(unknown)}' is not permitted")
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not kinds and not {"anyOf", "$ref", "enum", "const"} & set(schema):
            raise self._refused(place, "schema must have a 'type' key")
        if bad := [kind for kind in kinds if kind not in TYPES]:
            raise self._refused(place, f"{bad[0]!r} is not valid under any of the given schemas")
        self._enum(schema, place)
        if "object" in kinds:
            self._object(schema, place, depth)
        if "array" in kinds:
            if "items" not in schema:
                raise self._refused(place, "array schema missing items")
            self._any(schema["items"], (*place, "items"), depth + 1)
        for number, branch in enumerate(schema.get("anyOf", ())):
            self._any(branch, (*place, "anyOf", str(number)), depth + 1)
        for name, definition in schema.get("$defs", {}).items():
            self._any(definition, (*place, "$defs", name), depth + 1)

    def _enum(self, schema: dict[str, Any], place: tuple[str, ...]) -> None:
        values = schema.get("enum")
        if values is None:
            return
        if not isinstance(values, list) or not values:
            raise self._refused(place, "enum must be a list with values")
        self._enum_values += len(values)
        if self._enum_values > MAX_ENUM:
            raise self._refused(place, f"more than {MAX_ENUM} enum values")

    def _object(self, schema: dict[str, Any], place: tuple[str, ...], depth: int) -> None:
        if schema.get("additionalProperties") is not False:
            raise self._refused(place, "'additionalProperties' is required to be supplied and to be false")
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            raise self._refused(place, "object schema missing properties")
        required = schema.get("required")
        if not isinstance(required, list) or set(required) != set(properties):
            missing = sorted(set(properties) ^ set(required if isinstance(required, list) else []))
            raise self._refused(
                place,
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing or extra: {', '.join(missing) or 'required'}",
            )
        self._properties += len(properties)
        if self._properties > MAX_PROPERTIES:
            raise self._refused(place, f"more than {MAX_PROPERTIES} properties")
        for name, schema_of in properties.items():
            self._any(schema_of, (*place, "properties", name), depth + 1)


def check(name: str, schema: Any) -> None:
    """Raise Refused when the schema is not one that strict mode takes."""
    Walk(name).root(schema)
