"""What a fact about a call may look like: untrusted values in, clean ones out, or BadFact. Pure.

Text is clipped and freed of what PostgreSQL cannot store, counts are kept within their column; what cannot be repaired
without inventing something (a time, a status, an index) makes the whole fact bad.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from calls import costs, streams, tool_uses
from calls.legs import Leg
from calls.models import (
    CallStatus,
    Direction,
    EndedReason,
    EndSource,
    LegKind,
    LegState,
    RecordingState,
    ToolState,
)
from calls.tool_uses import ToolUse
from calls.transcripts import render

TEXT_LIMIT = 16 * 1024  # bytes of UTF-8 in one utterance (reliability 3.7)
TRANSCRIPT_LIMIT = 1024 * 1024
CUT_MARK = " [cut]"
_COUNTER = re.compile(r"[a-z0-9_]{1,60}")
_MAX_INTEGER = 2**31 - 1


class BadFact(Exception):
    """The fact is refused. `reason` is for a person to read and holds nothing of the call's content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, repr=False)
class Turn:
    """One turn, with the columns of ConversationTurn."""

    turn_index: int
    revision: int
    user_text: str
    bot_reply: str
    heard_text: str
    generated_ms: int
    heard_ms: int
    reply_ms: int | None
    reply_heard_ms: int | None
    interrupted: bool
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """What a caller wanted to be passed on, with the columns of CallMessage."""

    key: str
    caller_name: str
    callback_number: str
    text: str
    taken_at: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class End:
    """What a stream says of itself when it is over. `transcript` counts only where `knows_turns` is false. `report` is
    what the call's row keeps of the stream (CallLog.streams)."""

    stream_number: int
    status: CallStatus
    ended_at: datetime | None
    recording_url: str
    transcript: str
    knows_turns: bool
    turns: list[Turn]
    tool_uses: list[ToolUse]
    messages: list[Message]
    report: dict[str, Any]

    def moments(self) -> list[datetime | None]:
        """When its parts began."""
        turns, uses = [turn.started_at for turn in self.turns], [use.started_at for use in self.tool_uses]
        return [*turns, *uses, *(message.taken_at for message in self.messages)]


def text(value: object, limit: int = TEXT_LIMIT) -> str:
    """The string without NUL and lone surrogates, at most `limit` bytes of UTF-8, marked where it was cut."""
    if not isinstance(value, str):
        raise BadFact("a text is not a string")
    if len(value) <= limit and value.isascii() and "\x00" not in value:
        return value  # a turn of such texts takes 5.8 µs here instead of 8.3
    encoded = value.replace("\x00", "").encode("utf-8", "replace")
    if len(encoded) > limit:
        kept = encoded[: limit - len(CUT_MARK)].decode("utf-8", "ignore")
        return kept + CUT_MARK
    return encoded.decode()


def short(value: object, limit: int) -> str:
    """A name or number for a column of `limit` characters; a longer one is cut without a mark."""
    return text(value)[:limit]


def count(name: str, value: object) -> int:
    """A number of something: negative ones become 0, too large ones the column's largest."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadFact(f"{name} is not a number")
    return min(max(value, 0), _MAX_INTEGER)


def measured(name: str, value: object) -> int | None:
    """A number of something that is not always known: as `count`, or None."""
    return None if value is None else count(name, value)


def counters(value: object) -> dict[str, int]:
    """What was counted in a stream, by name. A name of no use, and what is beyond streams.MAX_COUNTERS, is left
    out: it is not worth losing the end of a call for."""
    counted = {name: number for name, number in _counts("counters", value).items() if _COUNTER.fullmatch(name)}
    return streams.bounded(counted)


def usage(value: object) -> dict[str, int]:
    """Tokens by kind (costs.KNOWN), of which there were any; other kinds are passed over."""
    return {name: number for name, number in _counts("usage", value).items() if name in costs.KNOWN and number}


def _counts(name: str, value: object) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise BadFact(f"{name} is not an object")
    return {str(key): count(f"one of {name}", number) for key, number in value.items()}


def index(name: str, value: object) -> int:
    """A number that identifies something: nothing is repaired."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
        raise BadFact(f"{name} is not a number from 0 up")
    return value


def stream_number(value: object) -> int:
    """Which stream of its call: 0 is the first. Five are the most (calls.streams); nine leaves room for more."""
    number = index("stream_number", value)
    if number > 9:
        raise BadFact("stream_number is more than a call can have")
    return number


def moment(name: str, value: object) -> datetime | None:
    """A time written as ISO 8601 (UTC where it does not say); None for an empty string."""
    if value in ("", None):
        return None
    try:
        time = datetime.fromisoformat(str(value))
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFact(f"{name} is not a time") from None


def status(value: object) -> CallStatus:
    try:
        return CallStatus(str(value))
    except ValueError:
        raise BadFact("status is not one of the carrier's words") from None


def end_source(value: object) -> EndSource:
    try:
        return EndSource(str(value))
    except ValueError:
        raise BadFact("source is not one of those that reap calls") from None


def url(value: object) -> str:
    """An address of at most 500 characters; a longer one is left out, since a cut one leads nowhere."""
    address = text(value)
    return address if len(address) <= 500 else ""


def direction(value: object) -> Direction:
    """Twilio also says outbound-api, outbound-dial, trunking-originating (protocols, twilio A1)."""
    outbound = str(value).startswith("outbound") or value == "trunking-originating"
    return Direction.OUTBOUND if outbound else Direction.INBOUND


def ended_reason(value: object) -> str:
    """One of our own words, or empty: a word of a newer release is not worth losing the end of a call for."""
    return str(value) if value in EndedReason.values else ""


def call_identity(call_sid: object, business_id: object) -> None:
    """Raise BadFact unless these can name a call and its business."""
    if not isinstance(call_sid, str) or not 0 < len(call_sid) <= 64 or not call_sid.isascii():
        raise BadFact("call_sid is not a CallSid")
    if isinstance(business_id, bool) or not isinstance(business_id, int) or not 0 < business_id < 2**63:
        raise BadFact("business_id is not an id")


def turn(fields: Mapping[str, Any]) -> Turn:
    """A turn out of the arguments of save_conversation_turn; other keys are passed over."""
    turn_index = index("turn_index", fields.get("turn_index"))
    stream_number(streams.stream_of(turn_index))
    return Turn(
        turn_index=turn_index,
        revision=index("revision", fields.get("revision", 0)),
        user_text=text(fields.get("user_text", "")),
        bot_reply=text(fields.get("bot_reply", "")),
        heard_text=text(fields.get("heard_text", "")),
        generated_ms=count("generated_ms", fields.get("generated_ms", 0)),
        heard_ms=count("heard_ms", fields.get("heard_ms", 0)),
        reply_ms=measured("reply_ms", fields.get("reply_ms")),
        reply_heard_ms=measured("reply_heard_ms", fields.get("reply_heard_ms")),
        interrupted=bool(fields.get("interrupted", False)),
        started_at=moment("started_at", fields.get("started_at", "")),
        ended_at=moment("ended_at", fields.get("ended_at", "")),
    )


def key(name: str, value: object) -> str:
    """What tells a tool's use or a message from the others of its call; the speech model made it up."""
    word = short(value, 200)
    if not word:
        raise BadFact(f"{name} is empty")
    return word


def tool_state(value: object) -> ToolState:
    try:
        return ToolState(str(value))
    except ValueError:
        raise BadFact("state is not one that the use of a tool can have") from None


def tool_use(fields: Mapping[str, Any]) -> ToolUse:
    """The use of a tool out of the arguments of save_tool_use; other keys are passed over."""
    return ToolUse(
        tool_call_id=key("tool_call_id", fields.get("tool_call_id")),
        name=short(fields.get("name", ""), 100),
        arguments=text(fields.get("arguments", "")),
        output=text(fields.get("output", "")),
        state=tool_state(fields.get("state", ToolState.STARTED)).value,
        started_at=moment("started_at", fields.get("started_at", "")),
        ended_at=moment("ended_at", fields.get("ended_at", "")),
    )


def leg(fields: Mapping[str, Any]) -> Leg:
    """A leg out of the arguments of save_leg; other keys are passed over."""
    state, kind = fields.get("state"), fields.get("kind", "")
    if state not in LegState.values:
        raise BadFact("state is not one that a leg can have")
    if kind and kind not in LegKind.values:
        raise BadFact("kind is not one that a leg can have")
    return Leg(
        key=key("key", fields.get("key")),
        kind=str(kind),
        target_name=short(fields.get("target_name", ""), 60),
        number=short(fields.get("number", ""), 16),
        leg_sid=short(fields.get("leg_sid", ""), 64),
        state=str(state),
        reason=short(fields.get("reason", ""), 40),
        briefing=text(fields.get("briefing", "")),
        asked_at=moment("asked_at", fields.get("asked_at", "")),
        answered_at=moment("answered_at", fields.get("answered_at", "")),
        ended_at=moment("ended_at", fields.get("ended_at", "")),
        duration_seconds=measured("duration_seconds", fields.get("duration_seconds")),
    )


def recording_state(value: object) -> RecordingState:
    try:
        return RecordingState(str(value))
    except ValueError:
        raise BadFact("state is not one that a recording can have") from None


def message(fields: Mapping[str, Any]) -> Message:
    """A message out of the arguments of save_message; other keys are passed over."""
    return Message(
        key=key("key", fields.get("key")),
        caller_name=short(fields.get("caller_name", ""), 200),
        callback_number=short(fields.get("callback_number", ""), 100),
        text=text(fields.get("text", "")),
        taken_at=moment("taken_at", fields.get("taken_at", "")),
    )


def end(fields: Mapping[str, Any]) -> End:
    """The end of a stream out of the arguments of finalize_call_log."""
    number = stream_number(fields["stream_number"])
    transcript = text(fields["transcript"], TRANSCRIPT_LIMIT)
    turns = all_turns(fields["turns"])
    knows_turns = bool(turns) or not transcript
    report = {
        "turns": streams.counts(turn.turn_index for turn in turns).get(number, 0) if knows_turns else None,
        "first": streams.first_place((turn.turn_index for turn in turns), number),
        "seconds": count("duration_seconds", fields["duration_seconds"]),
        "interruptions": count("interruptions", fields["interruptions"]),
        "ended_reason": ended_reason(fields["ended_reason"]),
        "model_session_id": short(fields["model_session_id"], 80),
        "model": short(fields["model"], 100),
        "counters": counters({} if fields["counters"] is None else fields["counters"]),
        "usage": usage({} if fields["usage"] is None else fields["usage"]),
    }
    return End(
        stream_number=number,
        status=status(fields["status"]),
        ended_at=moment("ended_at", fields["ended_at"]),
        recording_url=url(fields["recording_url"]),
        transcript=transcript,
        knows_turns=knows_turns,
        turns=turns,
        tool_uses=all_tool_uses(fields["tool_uses"]),
        messages=all_messages(fields["messages"]),
        report=report,
    )


def all_turns(values: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The turns of a finished call by index; of two with one index the higher revision."""
    newest: dict[int, Turn] = {}
    for value in _objects("turns", values):
        new = turn(value)
        old = newest.get(new.turn_index)
        if old is None or old.revision < new.revision:
            newest[new.turn_index] = new
    return [newest[index] for index in sorted(newest)]


def all_tool_uses(values: Sequence[Mapping[str, Any]]) -> list[ToolUse]:
    """The tools used in a finished call, each use once."""
    found: dict[str, ToolUse] = {}
    for value in _objects("tool_uses", values):
        new = tool_use(value)
        old = found.get(new.tool_call_id)
        found[new.tool_call_id] = new if old is None else tool_uses.merged(old, new)
    return list(found.values())


def all_messages(values: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages taken in a finished call, each once."""
    found: dict[str, Message] = {}
    for value in _objects("messages", values):
        new = message(value)
        found.setdefault(new.key, new)
    return list(found.values())


def _objects(name: str, values: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if not isinstance(values, list | tuple):
        raise BadFact(f"{name} is not a list")
    if not all(isinstance(value, Mapping) for value in values):
        raise BadFact(f"one of {name} is not an object")
    return values


def transcript_equals(transcript: str, turns: Sequence[Mapping[str, Any]]) -> bool:
    defaults = {"user_text": "", "bot_reply": ""}
    return transcript == render([defaults | dict(turn) for turn in turns])


def plain(value: Any) -> Any:
    """The arguments of a fact as JSON that any database takes, whatever they are."""
    match value:
        case None | bool():
            return value
        case str():
            return text(value, TRANSCRIPT_LIMIT)
        case int():
            return value if abs(value) < 2**63 else str(value)[:100]
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {text(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return f"<{type(value).__name__}>"


def fingerprint(kind: str, reason: str, payload: Any) -> str:
    """The same for every delivery of one refused fact."""
    canonical = json.dumps([kind, reason, payload], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
