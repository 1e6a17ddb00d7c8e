"""What belongs to a call in rows of its own: turns, tools used, messages. Each is stored once, however often it comes.

For calls.services, which holds the call's row locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

from calls import facts, tool_uses
from calls.models import CallLog, CallMessage, ConversationTurn, ToolUse

_TOOL_USE = [field.name for field in fields(tool_uses.ToolUse)]


def put_turns(call: CallLog, turns: Sequence[facts.Turn]) -> bool:
    """Store those that are missing, or of a higher revision than the stored one. Return whether any was."""
    known = dict(
        call.turns.filter(turn_index__in=[turn.turn_index for turn in turns]).values_list("turn_index", "revision")
    )
    missing = [turn for turn in turns if turn.turn_index not in known]
    better = [turn for turn in turns if turn.revision > known.get(turn.turn_index, turn.revision)]
    ConversationTurn.objects.bulk_create(ConversationTurn(call=call, **asdict(turn)) for turn in missing)
    for turn in better:
        call.turns.filter(turn_index=turn.turn_index).update(**asdict(turn))
    return bool(missing or better)


def put_tool_uses(call: CallLog, uses: Sequence[tool_uses.ToolUse]) -> None:
    """Store each, merged with what is known of it."""
    if not uses:
        return
    stored = call.tool_uses.filter(tool_call_id__in=[use.tool_call_id for use in uses]).values(*_TOOL_USE)
    known = {row["tool_call_id"]: tool_uses.ToolUse(**row) for row in stored}
    missing = [use for use in uses if use.tool_call_id not in known]
    ToolUse.objects.bulk_create(ToolUse(call=call, business_id=call.business_id, **asdict(use)) for use in missing)
    for use in uses:
        old = known.get(use.tool_call_id, use)
        if (whole := tool_uses.merged(old, use)) != old:
            call.tool_uses.filter(tool_call_id=use.tool_call_id).update(**asdict(whole))


def put_messages(call: CallLog, messages: Sequence[facts.Message]) -> None:
    """Store those that are missing. A stored one stays as it is, and handled if it was."""
    if not messages:
        return
    known = set(call.messages.filter(key__in=[message.key for message in messages]).values_list("key", flat=True))
    CallMessage.objects.bulk_create(
        CallMessage(call=call, business_id=call.business_id, **asdict(message))
        for message in messages
        if message.key not in known
    )
