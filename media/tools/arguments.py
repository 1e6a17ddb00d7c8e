"""What a model wrote as a tool's arguments, made into what the tool expects, or into a sentence on what is wrong.

Of JSON schema this knows what flat objects need: `required`, and of each property `type`, `enum`, `minimum`, `maximum`
and `maxLength`. What is inside an array or an object is passed on as it is.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from media.tools.base import ToolRefused

MAX_CHARACTERS = 20_000  # of the JSON text; what somebody says in a call is far shorter
MAX_VALUE_CHARACTERS = 4_000

_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def parse(text: str) -> dict[str, Any]:
    """Return the object that `text` is in JSON; nothing at all is an empty one. Raise ToolRefused."""
    if len(text) > MAX_CHARACTERS:
        raise ToolRefused("arguments_are_too_long", f"Arguments may have {MAX_CHARACTERS} characters.")
    try:
        parsed = json.loads(text or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ToolRefused("arguments_are_not_json") from None  # whose text would quote them
    if not isinstance(parsed, dict):
        raise ToolRefused("arguments_are_not_an_object")
    return parsed


def fitting(schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that `schema` names; models add others of their own accord, and null for what they do not
    know. Raise ToolRefused, with a sentence for the model, if one is missing or of another type."""
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    found = {
        name: arguments[name]
        for name, expected in properties.items()
        if name in arguments and not (arguments[name] is None and "null" not in _types(expected))
    }
    for name in required:
        if name not in found:
            raise ToolRefused("argument_missing", f"The argument “{name}” is required.")
    for name, value in found.items():
        _check(name, value, properties[name])
    return {name: _whole(value, _types(properties[name])) for name, value in found.items()}


def clean(text: str, longest: int) -> str:
    """Return `text` as any database can hold it, without characters that are none (NUL, half a surrogate pair), and at
    most `longest` of them."""
    kept = (" " if character.isspace() and character != "\n" else character for character in text)
    return "".join(character for character in kept if character.isprintable() or character == "\n").strip()[:longest]


def _check(name: str, value: Any, expected: dict[str, Any]) -> None:
    types = _types(expected)
    if types and not any(_is(value, kind) for kind in types):
        raise ToolRefused("argument_has_wrong_type", f"The argument “{name}” must be {_in_words(types)}.")
    if "enum" in expected and value not in expected["enum"]:
        choices = ", ".join(str(choice) for choice in expected["enum"])
        raise ToolRefused("argument_is_no_choice", f"The argument “{name}” must be one of: {choices}.")
    if isinstance(value, int | float) and not _in_range(value, expected):
        low, high = expected.get("minimum", "any"), expected.get("maximum", "any")
        raise ToolRefused("argument_out_of_range", f"The argument “{name}” must be from {low} to {high}.")
    if isinstance(value, str) and len(value) > (longest := _longest(expected)):
        raise ToolRefused("argument_is_too_long", f"The argument “{name}” may have {longest} characters.")


def _types(expected: Any) -> list[str]:
    kind = expected.get("type", []) if isinstance(expected, dict) else []
    return [kind] if isinstance(kind, str) else list(kind)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):  # which Python counts among the numbers
        return kind == "boolean"
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        case "number":
            return isinstance(value, int | float)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
        case _:
            return False


def _whole(value: Any, types: list[str]) -> Any:
    """3.0 is a whole number in JSON schema; what is sent says 3."""
    return int(value) if isinstance(value, float) and "integer" in types and value.is_integer() else value


def _in_range(value: float, expected: dict[str, Any]) -> bool:
    low, high = expected.get("minimum"), expected.get("maximum")
    return not (isinstance(low, int | float) and value < low) and not (isinstance(high, int | float) and value > high)


def _in_words(types: list[str]) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in types)


def _longest(expected: dict[str, Any]) -> int:
    longest = expected.get("maxLength", MAX_VALUE_CHARACTERS)
    return min(longest, MAX_VALUE_CHARACTERS) if isinstance(longest, int) else MAX_VALUE_CHARACTERS


def _no_number(_name: str) -> NoReturn:
    raise ValueError("JSON has no such number")  # NaN, Infinity: Python alone reads and writes them
