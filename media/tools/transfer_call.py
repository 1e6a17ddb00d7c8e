"""The agent puts the caller through to a colleague, by a name out of the business's list; the number is nothing that
the model could know, or choose. The dial policy is asked first. Once the agent's last words were heard the engine ends
the stream, and the carrier is told whom to dial (calls.resuming)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from businesses.snapshots import TransferOption
from calls import doors, live_calls
from calls.dial_policy import Refused
from calls.live_calls import AskedTransfer
from media.tools.arguments import clean
from media.tools.base import Tool, ToolContext, ToolFailed, ToolRefused

NAME = "transfer_call"

DESCRIPTION = (
    "Put the caller through to a colleague. Ask what it is about first, then say in one short sentence whom you are "
    "putting the caller through to. The caller is with the colleague when they have heard it; if nobody is reached, "
    "the caller comes back to you."
)

BRIEFING_CHARACTERS = 500
WARM = "warm"  # calls.models.LegKind


def tool(options: Sequence[TransferOption]) -> Tool:
    """As an agent has it whose business puts callers through to these."""
    names = [option.name for option in options]
    who = "; ".join(f"{option.name}: {option.description}" for option in options if option.description)
    return Tool(
        name=NAME,
        description=DESCRIPTION,
        parameters={
            "type": "object",
            "properties": {
                "to": {"type": "string", "enum": names, "description": who or "The colleague."},
                "reason": {
                    "type": "string",
                    "description": "For the colleague, in one or two sentences: who is calling, and what about.",
                },
            },
            "required": ["to", "reason"],
            "additionalProperties": False,
        },
        run=run,
        puts_through=True,
    )


async def run(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    option = next(option for option in context.agent.transfer_options if option.name == arguments["to"])
    briefing = clean(arguments["reason"], BRIEFING_CHARACTERS)
    leg = (context.tool_call_id, option.kind, option.name, briefing, context.now)
    try:
        verdict = await doors.may_put_through(context.call_sid, context.business_id, option.id)
    except doors.RowsAway:
        raise ToolFailed("unavailable", "Callers cannot be put through right now. Offer to take a message.") from None
    if isinstance(verdict, Refused):
        context.record.save_leg(*leg, refused_for=verdict.code)
        raise ToolRefused(verdict.code, f"{verdict.sentence} Tell the caller kindly, and ask how else you can help.")
    context.record.save_leg(*leg)
    live_calls.note_transfer(context.call_sid, AskedTransfer(context.tool_call_id, option.id))
    asked = " They hear your reason and are asked first; the caller hears music." if option.kind == WARM else ""
    return {
        "ok": True,
        "message": f"The caller is put through to {option.name} once your last words were heard.{asked} Should the "
        "caller speak up before that, they are not: answer, and use this tool again.",
    }
