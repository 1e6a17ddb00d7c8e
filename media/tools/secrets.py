"""Digits typed in secret, where they leave this server: put in for their handle, only in parameters declared for them,
and taken out again of whatever comes back. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from media.tools.base import ToolRefused

FORMAT = "secret"  # of a parameter, in its JSON schema
SHORTEST = 3  # fewer digits hide nothing, and stand in any answer
_BETWEEN = r"[\s.\-]{0,2}"  # as services write them: 4111 1111 1111 1111


def names(schema: dict[str, Any]) -> list[str]:
    """The parameters that take secret digits."""
    properties = schema.get("properties") or {}
    return [name for name, expected in properties.items() if expected.get("format") == FORMAT]


def filled(schema: dict[str, Any], arguments: dict[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """The arguments with digits in place of handles. Raise ToolRefused for anything else in such a parameter: what was
    said aloud is no secret any more."""
    found = dict(arguments)
    for name in names(schema):
        if name not in found:
            continue
        if found[name] not in secrets:
            raise ToolRefused(
                "digits_not_collected", f"Have “{name}” typed with collect_digits, and pass the name that it gives you."
            )
        found[name] = secrets[found[name]]
    return found


def hidden(text: str, secrets: Mapping[str, str]) -> str:
    """What a tool answered, with handles in place of the digits."""
    for handle, digits in secrets.items():
        if len(digits) < SHORTEST:
            continue
        text = re.sub(rf"(?<!\d){_BETWEEN.join(digits)}(?!\d)", handle, text)
    return text
