"""The agent hangs up. The engine ends the call once the goodbye was heard; nothing is left to do here."""

from typing import Any

from media.tools.base import ToolContext

DESCRIPTION = (
    "End the phone call. Use it when the caller has said goodbye or wants nothing more. "
    "Say goodbye first; the call ends when the caller has heard it."
)

PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


async def run(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    return {"ok": True}
