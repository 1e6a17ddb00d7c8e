"""What belongs to a call in rows of its own: turns, tools used, messages, legs, recordings. Each once, however often
told.

For calls.services, which holds the call's row locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from django.db import connection
from django.db.models import Manager, Model, QuerySet
from django.utils import timezone

from calls import facts, legs, recordings, streams, tool_uses
from calls.models import (
    CallLeg,
    CallLog,
    CallMessage,
    MessageKind,
    Recording,
    RecordingState,
    TextState,
    ToolUse,
)

SHORTEST_MESSAGE_SECONDS = 2

Row = TypeVar("Row", bound=Model)

_LEG = [field.name for field in fields(legs.Leg)]
_TOOL_USE = [field.name for field in fields(tool_uses.ToolUse)]
_TURN = [field.name for field in fields(facts.Turn)]
_fields_of = attrgetter(*_TURN)  # dataclasses.astuple copies every value: thirty times as long
_COLUMNS = ", ".join(("call_id", "created_at", *_TURN))
_EXTRACTED = ", ".join(f"json_extract(value, '$.{name}')" for name in ("call_id", "created_at", *_TURN))
_PLACES = ", ".join(["%s"] * (1 + len(_TURN)))
# The same on PostgreSQL and SQLite. `created_at` stays that of the first revision.
_REPLACE_BY_HIGHER_REVISION = f"""
ON CONFLICT (call_id, turn_index) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _TURN)}
WHERE excluded.revision > calls_conversationturn.revision"""
_SEVERAL = {  # out of one text: psycopg, looking for the places of a thousand values, took a third of all the time
    "postgresql": f"SELECT {_COLUMNS} FROM json_populate_recordset(NULL::calls_conversationturn, %s)",  # noqa: S608 - names of our own columns
    "sqlite": f"SELECT {_EXTRACTED} FROM json_each(%s) WHERE true",  # noqa: S608 - names of our own columns
}
# As calls.services locks a row: who ends the call meanwhile is waited for, and then the conditions are looked at again.
_OF_LIVING_CALL = f"""
INSERT INTO calls_conversationturn ({_COLUMNS})
SELECT id, {_PLACES} FROM calls_calllog
WHERE call_sid = %s AND business_id = %s
    AND streams = '{{}}' AND reaped_at IS NULL AND started_at <= %s AND last_stream >= %s
<lock> {_REPLACE_BY_HIGHER_REVISION}"""  # noqa: S608 - names of our own columns
_LOCK = {"postgresql": "FOR NO KEY UPDATE"}  # SQLite has one writer at a time


def put_turn_of_living_call(call_sid: str, business_id: int, turn: facts.Turn) -> bool:
    """Store a turn of a call of which nothing changes by it: of its row the turn tells nothing new, and as long as no
    stream has ended there is nothing to be made out of the turns. One statement instead of six: nearly every turn is
    such a one. Return whether it was stored; if not, it may be known already, or the call's row has to be looked at."""
    now = timezone.now()
    values = _values(turn)
    conditions = [call_sid, business_id, _moment(turn.started_at or now), streams.stream_of(turn.turn_index)]
    statement = _OF_LIVING_CALL.replace("<lock>", _LOCK.get(connection.vendor, ""))
    with connection.cursor() as cursor:
        cursor.execute(statement, [_moment(now), *values, *conditions])
        return bool(cursor.rowcount > 0)


def _values(turn: facts.Turn) -> list[Any]:
    """In the order of _TURN, as the database takes them."""
    return [_moment(value) if isinstance(value, datetime) else value for value in _fields_of(turn)]


def _moment(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def put_turns(turns: Sequence[tuple[int, facts.Turn]]) -> bool:
    """Store those that are missing, or of a higher revision than the stored one, each with the key of its call. Return
    whether any was."""
    if not turns:
        return False
    now = _moment(timezone.now())
    rows = [
        {"call_id": call_id, "created_at": now, **dict(zip(_TURN, _values(turn), strict=True))}
        for call_id, turn in turns
    ]
    statement = f"INSERT INTO calls_conversationturn ({_COLUMNS}) {_SEVERAL[connection.vendor]}"
    with connection.cursor() as cursor:
        cursor.execute(statement + _REPLACE_BY_HIGHER_REVISION, [msgspec.json.encode(rows).decode()])
        return bool(cursor.rowcount > 0)


def put_tool_uses(uses: Sequence[tuple[CallLog, tool_uses.ToolUse]]) -> None:
    """Store each, merged with what is known of it. Those of one call have keys of their own."""
    if not uses:
        return
    stored = _of(ToolUse.objects, [(call, use.tool_call_id) for call, use in uses], "tool_call_id")
    known = {
        (row.pop("call_id"), row["tool_call_id"]): tool_uses.ToolUse(**row)
        for row in stored.values("call_id", *_TOOL_USE)
    }
    ToolUse.objects.bulk_create(
        ToolUse(call=call, business_id=call.business_id, **asdict(use))
        for call, use in uses
        if (call.pk, use.tool_call_id) not in known
    )
    for call, use in uses:
        old = known.get((call.pk, use.tool_call_id), use)
        if (whole := tool_uses.merged(old, use)) != old:
            call.tool_uses.filter(tool_call_id=use.tool_call_id).update(**asdict(whole))


def put_messages(messages: Sequence[tuple[CallLog, facts.Message]]) -> None:
    """Store those that are missing. A stored one stays as it is, and handled if it was."""
    if not messages:
        return
    stored = _of(CallMessage.objects, [(call, message.key) for call, message in messages], "key")
    known = set(stored.values_list("call_id", "key"))
    CallMessage.objects.bulk_create(
        CallMessage(call=call, business_id=call.business_id, **asdict(message))
        for call, message in messages
        if (call.pk, message.key) not in known
    )


def _of(rows: Manager[Row], wanted: Sequence[tuple[CallLog, str]], key: str) -> QuerySet[Row]:
    """The rows of these calls with these keys, and perhaps others of theirs."""
    calls, keys = {call.pk for call, _ in wanted}, {word for _, word in wanted}
    return rows.filter(call__in=calls, **{f"{key}__in": keys})


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
