"""The caller types digits that nobody may have (a card number, a PIN). The model gets a handle in place of them; only
an HTTP tool whose parameter is declared for it ("format": "secret") is sent the digits (media.tools.secrets)."""

from __future__ import annotations

from typing import Any

from media.secure_line import LineBusy, StillRecorded
from media.tools.arguments import clean
from media.tools.base import ToolContext, ToolFailed, ToolRefused

DESCRIPTION = (
    "Have the caller type digits that nobody may hear or read, such as a card number or a PIN, on the keypad of the "
    "phone. Use it instead of asking for them, and never let such digits be spoken: the recording is paused first, "
    "and then the caller hears the sentence that you give. You get a name for the digits, such as secret-1: pass that "
    "name to the tool that needs them."
)
ASK_CHARACTERS = 300

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ask": {
            "type": "string",
            "description": "What the caller is told, in their language: which digits to type on the keypad, and to "
            "press the hash key at the end. The star key begins anew.",
        },
    },
    "required": ["ask"],
    "additionalProperties": False,
}
TIMEOUT_SECONDS = 120.0


async def run(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    ask = clean(arguments["ask"], ASK_CHARACTERS)
    if not ask:
        raise ToolRefused("nothing_to_ask", "Say in “ask” what the caller is to type.")
    if context.line is None:
        raise ToolRefused("no_line")
    try:
        async with context.line.unrecorded():
            given = await context.line.typed(context.tool_call_id, ask)
    except LineBusy:
        raise ToolRefused("asked_already", "The caller is typing already. Wait for what they type.") from None
    except StillRecorded:
        raise ToolFailed(
            "still_recorded",
            "The recording of this call could not be paused, so the caller must not type or say these digits now. "
            "Apologise, and offer another way, or to try again in a moment.",
        ) from None
    if not given.handle:
        raise ToolFailed("nothing_typed", "The caller has typed nothing. Ask whether they want to try again.")
    return {"ok": True, "digits": given.handle, "count": given.count}
