"""The person on the line does not want to be called any more. The use of this tool is on record the moment it is done,
and puts the number onto the business's list (calls.refusals)."""

from __future__ import annotations

from typing import Any

from media.tools.base import ToolContext, ToolRefused

DESCRIPTION = (
    "Put the person you are talking to onto the do-not-call list, so that this business never calls them again. Use it "
    "at once when they ask not to be called again. Then confirm it, and say goodbye."
)

PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


async def run(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    number = context.to_number if context.is_outbound else context.from_number
    if not number.startswith("+"):
        raise ToolRefused("no_number", "Their number is not known, so it cannot be put onto the list.")
    return {"ok": True, "message": "They are on the do-not-call list now.", "number": number}
