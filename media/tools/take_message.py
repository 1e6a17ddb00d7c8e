"""The agent takes a message for somebody of the business. It is recorded the moment the model asks for it: whatever
becomes of the sentence around it, or of the call, the message is there."""

from __future__ import annotations

from typing import Any

from media.tools.arguments import clean
from media.tools.base import ToolContext, ToolRefused

DESCRIPTION = (
    "Take a message for the business, to be read by a person later. Ask for the caller's name and what it is about "
    "first. Do not promise when somebody will call back."
)

PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "The caller's name, as they said it."},
        "number": {
            "type": "string",
            "description": "The number to call back. Leave it out for the number that the caller calls from.",
        },
        "message": {"type": "string", "description": "The message, with everything that is needed to act on it."},
    },
    "required": ["message"],
    "additionalProperties": False,
}

# What Twilio gives in place of a number: a word, or that word on a keypad.
WITHHELD = frozenset(
    {"anonymous", "restricted", "blocked", "unknown", "unavailable"}
    | {"266696687", "7378742833", "2562533", "8656696", "86282452253"}
)

NAME_CHARACTERS = 100
NUMBER_CHARACTERS = 40
MESSAGE_CHARACTERS = 2_000


async def run(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    message = clean(arguments["message"], MESSAGE_CHARACTERS)
    if not message:
        raise ToolRefused("message_is_empty", "There is no message yet. Ask the caller what should be noted.")
    number = clean(arguments.get("number", ""), NUMBER_CHARACTERS) or _own(context.from_number)
    name = clean(arguments.get("name", ""), NAME_CHARACTERS)
    context.record.save_message(context.tool_call_id, name, number, message, context.now)
    noted = "The message is noted." if number else "The message is noted, without a number to call back."
    return {"ok": True, "message": noted, "call_back": number}


def _own(number: str) -> str:
    """The number (or the SIP address) that the caller calls from; nothing when it is withheld."""
    return "" if number.lower().removeprefix("+") in WITHHELD else number
