"""The only writers of what happened: one idempotent function for each fact, in any order, any number of times.

Every function locks the call's row (a stub is made by whichever fact comes first), merges by rules that do not depend
on the order, and returns True; or it refuses the fact, keeps it as a RefusedFact, changes nothing else and returns
False. The merge rules, fact by fact, are those of reliability 3.1:

- what identifies a call is filled where it is empty, and never replaced;
- `started_at` is the earliest time heard of, `ended_at` the latest;
- the owner of a call is the process that opened its latest stream;
- `status` goes up the ranks queued, initiated, ringing, in-progress, terminal; the first terminal one stays, unless it
  was the reaper's guess: any true one replaces that, with its times, and a guess never replaces anything;
- how the call ended is whatever its own end says; until that has come, what the reaper says;
- the carrier's duration counts more than ours;
- a turn is replaced by a higher revision only, the use of a tool, a leg and a recording by a further state only, a
  message by nothing;
- a call that ended to be put through, and reached nobody, ended as its last leg tells;
- what is counted of a call, tokens and cost are added up over what its streams told;
- the transcript of a finished call is always its turns rendered, so that the two cannot differ.

Database errors are raised: whoever calls (a task, the recorder) tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.utils import timezone

from calls import facts, merging, parts, refusals, streams
from calls.facts import BadFact
from calls.locked_calls import check_agent, is_alone, locked_call, put_messages, put_tool_uses, put_turns, settle
from calls.models import (
    TERMINAL_STATUSES,
    Direction,
    EndSource,
    RecordingConsent,
    RefusedFact,
)


def create_call_log(
    call_sid: str,
    business_id: int,
    from_number: str,
    to_number: str,
    direction: str,
    stream_sid: str = "",
    *,
    status: str = "in-progress",
    account_sid: str = "",
    agent_version_id: int | None = None,
    occurred_at: str = "",
    owner_boot_id: str = "",
    stream_number: int = 0,
    recording_consent: str = "",
) -> bool:
    """A call is there: the carrier's webhook says so first (ringing), each stream's start again (in-progress), with the
    boot id of the process that carries it from then on. `stream_number`: 0, counting up when the call is resumed.
    `recording_consent`: how the caller knows of the recording that begins, or what was answered."""
    arguments = dict(locals())

    def apply() -> None:
        reached = facts.status(status)
        number = facts.stream_number(stream_number)
        seen_at = facts.moment("occurred_at", occurred_at) or timezone.now()
        identity = {
            "from_number": facts.short(from_number, 255),
            "to_number": facts.short(to_number, 255),
            "stream_sid": facts.short(stream_sid, 64),
            "account_sid": facts.short(account_sid, 64),
        }
        told = facts.short(recording_consent, 10)
        with locked_call(call_sid, business_id) as call:
            merging.fill_empty(call, identity)
            merging.consent(call, told)
            # A stub says inbound because a row has to say something: only the other word tells anything.
            if facts.direction(direction) == Direction.OUTBOUND:
                call.direction = Direction.OUTBOUND
            if agent_version_id is not None and call.agent_version_id is None:
                check_agent(agent_version_id, business_id)
                call.agent_version_id = agent_version_id
            merging.own(call, facts.short(owner_boot_id, 32), seen_at)
            merging.started(call, seen_at)
            merging.outlive_guess(call, reached, seen_at)
            merging.advance(call, reached)
            if number > call.last_stream:
                call.last_stream = number
            if call.streams:
                settle(call)

    return _applied("create_call_log", arguments, apply)


def save_conversation_turn(
    call_sid: str,
    business_id: int,
    user_text: str,
    bot_reply: str,
    turn_index: int,
    *,
    revision: int = 0,
    heard_text: str = "",
    generated_ms: int = 0,
    heard_ms: int = 0,
    interrupted: bool = False,
    started_at: str = "",
    ended_at: str = "",
    reply_ms: int | None = None,
    reply_heard_ms: int | None = None,
) -> bool:
    """One exchange is final, or, with a higher revision, known better than before."""
    arguments = dict(locals())

    def apply() -> None:
        turn = facts.turn(arguments)
        if is_alone() and parts.put_turn_of_living_call(call_sid, business_id, turn):
            return
        with locked_call(call_sid, business_id) as call:
            merging.started(call, turn.started_at)
            call.last_stream = max(call.last_stream, streams.stream_of(turn.turn_index))
            if put_turns(call, [turn]):
                settle(call)

    return _applied("save_conversation_turn", arguments, apply)


def save_tool_use(
    call_sid: str,
    business_id: int,
    tool_call_id: str,
    name: str,
    *,
    arguments: str = "",
    output: str = "",
    state: str = "started",
    started_at: str = "",
    ended_at: str = "",
) -> bool:
    """The agent uses a tool (calls.models.ToolState): said when it starts, and again when it has ended. Each fact says
    all that is known by then. `arguments` and `output` are the texts that the speech model wrote and was given."""
    given = dict(locals())

    def apply() -> None:
        use = facts.tool_use(given)
        with locked_call(call_sid, business_id) as call:
            merging.started(call, use.started_at)
            put_tool_uses(call, [use])
            refusals.heed(call, [use])

    return _applied("save_tool_use", given, apply)


def save_message(
    call_sid: str,
    business_id: int,
    key: str,
    text: str,
    *,
    caller_name: str = "",
    callback_number: str = "",
    taken_at: str = "",
) -> bool:
    """The caller left a message. `key` tells it from others of the call: the tool_call_id of the tool that took it."""
    arguments = dict(locals())

    def apply() -> None:
        message = facts.message(arguments)
        with locked_call(call_sid, business_id) as call:
            merging.started(call, message.taken_at)
            put_messages(call, [message])

    return _applied("save_message", arguments, apply)


def save_leg(
    call_sid: str,
    business_id: int,
    key: str,
    state: str,
    *,
    kind: str = "",
    target_name: str = "",
    number: str = "",
    leg_sid: str = "",
    reason: str = "",
    briefing: str = "",
    asked_at: str = "",
    answered_at: str = "",
    ended_at: str = "",
    duration_seconds: int | None = None,
) -> bool:
    """Somebody else is called for the caller (calls.models.LegState), or was refused to be. Each fact says what its
    side knows of it. `key` tells it from others of the call: the tool_call_id of the tool that asked for it."""
    arguments = dict(locals())

    def apply() -> None:
        leg = facts.leg(arguments)
        with locked_call(call_sid, business_id) as call:
            merging.started(call, leg.asked_at)
            parts.put_leg(call, leg)
            settle(call)

    return _applied("save_leg", arguments, apply)


def save_recording(
    call_sid: str,
    business_id: int,
    recording_sid: str,
    state: str,
    *,
    channels: int = 1,
    started_at: str = "",
    duration_seconds: int | None = None,
    consent: str = "",
) -> bool:
    """The carrier records the call, or has recorded it. `state`: a RecordingState; it goes up the ranks only.
    `consent`: how the caller knows of it; the first that is told of a call stays. "voicemail": it is a message that was
    spoken after the tone."""
    arguments = dict(locals())

    def apply() -> None:
        sid = facts.key("recording_sid", recording_sid)
        reached = facts.recording_state(state)
        began_at = facts.moment("started_at", started_at)
        length = facts.measured("duration_seconds", duration_seconds)
        tracks = facts.count("channels", channels)
        with locked_call(call_sid, business_id) as call:
            merging.consent(call, facts.short(consent, 10))
            row = parts.put_recording(call, sid, reached, tracks, began_at, length)
            if consent == RecordingConsent.VOICEMAIL:
                parts.put_spoken_message(call, row)

    return _applied("save_recording", arguments, apply)


def finalize_call_log(
    call_sid: str,
    business_id: int,
    status: str,
    duration_seconds: int,
    transcript: str,
    recording_url: str = "",
    *,
    ended_reason: str = "",
    turns: Sequence[Mapping[str, Any]] = (),
    ended_at: str = "",
    model_session_id: str = "",
    interruptions: int = 0,
    stream_number: int = 0,
    model: str = "",
    counters: Mapping[str, int] | None = None,
    usage: Mapping[str, int] | None = None,
    tool_uses: Sequence[Mapping[str, Any]] = (),
    messages: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """A stream of the call is over, and the call with it unless `status` says in-progress: then another stream, or the
    carrier, or the reaper, will tell its end.

    `turns`, `tool_uses` and `messages` are all of the stream, each as the arguments of save_conversation_turn,
    save_tool_use or save_message: whatever was lost on the way is repaired here. Without turns the transcript is kept
    as given until turns that equal it have come. `counters` is what the engine counted, `usage` the tokens
    (costs.USAGE) that `model`, the stream's speech model, told of. What the last of the streams says of how it ended is
    how the call ended; everything that is counted is added up.
    """
    arguments = dict(locals())

    def apply() -> None:
        end = facts.end(arguments)
        with locked_call(call_sid, business_id) as call:
            merging.stream_ended(call, end)
            put_turns(call, end.turns)
            put_tool_uses(call, end.tool_uses)
            refusals.heed(call, end.tool_uses)
            put_messages(call, end.messages)
            settle(call)
        if turns and transcript and not facts.transcript_equals(transcript, turns):
            _keep("finalize_call_log", arguments, "applied, but its transcript does not equal its turns")

    return _applied("finalize_call_log", arguments, apply)


def apply_call_status(
    call_sid: str,
    business_id: int,
    status: str,
    *,
    sequence_number: int,
    duration_seconds: int | None = None,
    occurred_at: str = "",
) -> bool:
    """The carrier says how far the call is. `sequence_number` is the carrier's count of what it said; the rank of the
    status decides alone, since callbacks come in any order. `duration_seconds` is the carrier's own."""
    arguments = dict(locals())

    def apply() -> None:
        reached = facts.status(status)
        facts.index("sequence_number", sequence_number)
        happened_at = facts.moment("occurred_at", occurred_at)
        length = None if duration_seconds is None else facts.count("duration_seconds", duration_seconds)
        with locked_call(call_sid, business_id) as call:
            advanced = merging.advance(call, reached)
            if reached in TERMINAL_STATUSES:
                merging.ended(call, happened_at)
            else:
                merging.started(call, happened_at)
            merging.carrier_counted(call, length)
            if advanced:
                settle(call)

    return _applied("apply_call_status", arguments, apply)


def take_away(call_sid: str, business_id: int, *, ended_reason: str, answered_by: str = "") -> bool:
    """The call was taken away from its agent while it went on, for `ended_reason`; `answered_by` is what machine
    detection said. Either may be empty; what is known already stays."""
    arguments = dict(locals())

    def apply() -> None:
        reason = facts.ended_reason(ended_reason)
        with locked_call(call_sid, business_id) as call:
            merging.fill_empty(call, {"taken_away": reason, "answered_by": facts.short(answered_by, 20)})
            settle(call)

    return _applied("take_away", arguments, apply)


def reap_call_log(
    call_sid: str,
    business_id: int,
    status: str,
    *,
    source: str,
    ended_reason: str = "",
    ended_at: str = "",
    duration_seconds: int | None = None,
) -> bool:
    """Nobody living carries the call, and its own end has not been heard of: end it with the turns that are here.

    `source` is an EndSource. By a guess `duration_seconds` is ours, else the carrier's own. What the call itself says
    later replaces `ended_reason` and the transcript, and the whole of a guess. The call counts as complete only when it
    never had a stream, so that there was nothing to lose.
    """
    arguments = dict(locals())

    def apply() -> None:
        reached = facts.status(status)
        told_by = facts.end_source(source)
        over_at = facts.moment("ended_at", ended_at)
        length = None if duration_seconds is None else facts.count("duration_seconds", duration_seconds)
        reason = facts.ended_reason(ended_reason)
        if reached not in TERMINAL_STATUSES:
            raise BadFact("a call is reaped with its last status only")
        with locked_call(call_sid, business_id) as call:
            is_guess = told_by == EndSource.GUESS
            if not is_guess or call.status not in TERMINAL_STATUSES:
                merging.advance(call, reached, told_by)
                merging.ended(call, over_at)
                if is_guess and call.carrier_duration_seconds is None:
                    call.duration_seconds = length
            if not is_guess:
                merging.carrier_counted(call, length)
            if not merging.is_finalized(call):
                call.ended_reason = call.ended_reason or reason
                call.reaped_at = call.reaped_at or timezone.now()
            settle(call)

    return _applied("reap_call_log", arguments, apply)


def _applied(kind: str, arguments: dict[str, Any], apply: Callable[[], None]) -> bool:
    try:
        facts.call_identity(arguments["call_sid"], arguments["business_id"])
        apply()
    except BadFact as refusal:
        _keep(kind, arguments, refusal.reason)
        return False
    return True


def _keep(kind: str, arguments: dict[str, Any], reason: str) -> None:
    """For a person to see, once however often it is delivered."""
    payload = facts.plain(arguments)
    claimed = payload["business_id"]
    RefusedFact.objects.bulk_create(
        [
            RefusedFact(
                kind=kind,
                call_sid=str(payload["call_sid"])[:64],
                claimed_business_id=claimed if isinstance(claimed, int) else None,
                reason=reason,
                payload=payload,
                fingerprint=facts.fingerprint(kind, reason, payload),
            )
        ],
        ignore_conflicts=True,
    )
