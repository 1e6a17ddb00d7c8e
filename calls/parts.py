"""What belongs to a call in rows of its own: turns, tools used, messages, legs, recordings. Each once, however often
told.

For calls.services, which holds the call's row locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime

from calls import facts, legs, recordings, tool_uses
from calls.models import (
    CallLeg,
    CallLog,
    CallMessage,
    ConversationTurn,
    MessageKind,
    Recording,
    RecordingState,
    TextState,
    ToolUse,
)

SHORTEST_MESSAGE_SECONDS = 2

_LEG = [field.name for field in fields(legs.Leg)]
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


def put_leg(call: CallLog, leg: legs.Leg) -> None:
    """Store it, merged with what is known of it."""
    stored = call.legs.filter(key=leg.key).values(*_LEG).first()
    if stored is None:
        CallLeg.objects.create(call=call, business_id=call.business_id, **asdict(leg))
        return
    old = legs.Leg(**stored)
    if (whole := legs.merged(old, leg)) != old:
        call.legs.filter(key=leg.key).update(**asdict(whole))


def put_recording(
    call: CallLog,
    recording_sid: str,
    state: RecordingState,
    channels: int,
    started_at: datetime | None,
    duration_seconds: int | None,
) -> Recording:
    """Store it, or what is further on than the stored one. Raise BadFact when it belongs to another call."""
    new = Recording(call=call, business_id=call.business_id, recording_sid=recording_sid, channels=channels)
    Recording.objects.bulk_create([new], ignore_conflicts=True)  # another call's may have been there all along
    row = Recording.objects.select_for_update().get(recording_sid=recording_sid)
    if row.call_id != call.pk:
        raise facts.BadFact("the recording belongs to another call")
    if recordings.RANKS[state] > recordings.RANKS[row.state]:
        row.state = state
    row.started_at = row.started_at or started_at
    if duration_seconds is not None:
        row.duration_seconds = duration_seconds
    row.save(update_fields=["state", "started_at", "duration_seconds"])
    return row


def put_spoken_message(call: CallLog, recording: Recording) -> None:
    """Store the message that was spoken into a recording, once that is over, if there is one: a caller who hangs up at
    the tone leaves a click."""
    is_over = recordings.RANKS[recording.state] >= recordings.RANKS[RecordingState.WAITING]
    too_short = recording.duration_seconds is not None and recording.duration_seconds < SHORTEST_MESSAGE_SECONDS
    if not is_over or too_short:
        return
    message = CallMessage(
        call=call,
        business_id=call.business_id,
        key=recording.recording_sid,
        kind=MessageKind.VOICEMAIL,
        recording=recording,
        text_state=TextState.WAITING,
        taken_at=recording.started_at,
    )
    CallMessage.objects.bulk_create([message], ignore_conflicts=True)
