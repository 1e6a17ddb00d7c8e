"""How facts about a call change its row, by rules that do not depend on their order (calls.services lists them).

For calls.services, which holds the row locked, and saves what has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from calls import costs, legs, streams
from calls.facts import End
from calls.models import (
    TERMINAL_STATUSES,
    CallLog,
    CallStatus,
    ConversationTurn,
    EndedReason,
    EndSource,
    LegState,
    RecordingConsent,
)
from calls.transcripts import render

_RANK = {CallStatus.QUEUED: 0, CallStatus.INITIATED: 1, CallStatus.RINGING: 2, CallStatus.IN_PROGRESS: 3}
_TERMINAL_RANK = 4
_TOLD = ("call_id", "turn_index", "user_text", "bot_reply", "heard_text", "interrupted")


def fill_empty(call: CallLog, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        if value and not getattr(call, name):
            setattr(call, name, value)


def consent(call: CallLog, told: str) -> None:
    """The first that is told stays; that the caller was only asked makes way for the answer."""
    if told and call.recording_consent in ("", RecordingConsent.ASKED):
        call.recording_consent = told


def started(call: CallLog, at: datetime | None) -> None:
    if at is not None and (call.started_at is None or at < call.started_at):
        call.started_at = at


def ended(call: CallLog, at: datetime | None) -> None:
    """Without a time the end is now, but only the first time it is heard of."""
    if at is None and call.ended_at is None:
        at = timezone.now()
    if at is not None and (call.ended_at is None or at > call.ended_at):
        call.ended_at = at


def advance(call: CallLog, reached: CallStatus, source: str = "") -> bool:
    """Return whether the call went on. A guessed end makes way for a true one, with the times that were guessed."""
    corrected = reached in TERMINAL_STATUSES and call.end_source == EndSource.GUESS and source != EndSource.GUESS
    forward = corrected or _RANK.get(reached, _TERMINAL_RANK) > _RANK.get(CallStatus(call.status), _TERMINAL_RANK)
    if corrected:
        call.ended_at = None
        call.duration_seconds = call.carrier_duration_seconds
    if forward:
        call.status = reached
        if reached in TERMINAL_STATUSES:
            call.end_source = source
    return forward


def outlive_guess(call: CallLog, reached: CallStatus, at: datetime) -> None:
    """A call that the reaper took for ended, and of which a stream opened after that, is not over."""
    guessed = call.end_source == EndSource.GUESS and call.ended_at is not None and at > call.ended_at
    if guessed and reached == CallStatus.IN_PROGRESS:
        call.status, call.end_source = CallStatus.QUEUED, ""
        call.ended_at, call.duration_seconds = None, call.carrier_duration_seconds
        forget_reaper(call)


def own(call: CallLog, boot_id: str, at: datetime) -> None:
    """The latest stream's process; the ids decide between two of the same moment, so that the order does not."""
    if boot_id and (call.owner_since is None or (at, boot_id) > (call.owner_since, call.owner_boot_id)):
        call.owner_boot_id, call.owner_since = boot_id, at


def carrier_counted(call: CallLog, seconds: int | None) -> None:
    if seconds is not None:
        call.carrier_duration_seconds = max(seconds, call.carrier_duration_seconds or 0)
        call.duration_seconds = call.carrier_duration_seconds


def is_finalized(call: CallLog) -> bool:
    """Whether the call's own end has come, as far as its row can tell."""
    return call.reaped_at is None and streams.reported(call.streams, call.last_stream) is not None


def forget_reaper(call: CallLog) -> None:
    """The call's own end has come: how it ended and what was said in it is no longer the reaper's to say."""
    if call.reaped_at is not None:
        call.reaped_at = None
        call.ended_reason = call.transcript = ""


def stream_ended(call: CallLog, end: End) -> None:
    """A stream is over, and the call with it if its status says so."""
    if end.stream_number >= call.last_stream:
        forget_reaper(call)
        call.last_stream = end.stream_number
    advance(call, end.status)
    if end.status in TERMINAL_STATUSES:
        ended(call, end.ended_at)
    fill_empty(call, {"recording_url": end.recording_url})
    number = str(end.stream_number)
    call.streams = {**call.streams, number: streams.merged(call.streams.get(number), end.report)}
    for at in end.moments():
        started(call, at)
    if not end.knows_turns:
        call.transcript = max(end.transcript, call.transcript, key=lambda text: (len(text), text))


def add_up(call: CallLog) -> None:
    """What was counted in all streams, and what it cost by the price of the day on which the call began."""
    reports = list(call.streams.values())
    call.counters = streams.added(reports, "counters")
    call.usage = streams.added(reports, "usage")
    day = (call.started_at or timezone.now()).date()
    call.cost = costs.of_streams(reports, _transcription_model(call), day, settings.SPEECH_PRICES)


def _transcription_model(call: CallLog) -> str:
    """A published version never changes: what it names wrote down what the caller said."""
    if not any(name in call.usage for name in costs.TRANSCRIPTION):
        return ""  # and spares a query
    named = call.agent_version.transcription_model if call.agent_version is not None else ""
    return named or settings.OPENAI_TRANSCRIPTION_MODEL


def turns_of(calls: Sequence[CallLog]) -> dict[int, list[dict[str, Any]]]:
    """What `settle` has to know of the turns of each call, by its key."""
    found: dict[int, list[dict[str, Any]]] = {call.pk: [] for call in calls}
    for turn in ConversationTurn.objects.filter(call__in=list(found)).order_by("call_id", "turn_index").values(*_TOLD):
        found[turn["call_id"]].append(turn)
    return found


def settle(call: CallLog, turns: Sequence[Mapping[str, Any]]) -> None:
    """Once a stream has ended: what the row says of the call's end, its transcript out of its turns, all of them by
    turn_index, and whether all of it is here."""
    if call.reaped_at is None:
        _take_from_streams(call)
        if not call.streams:
            return
    indices = [turn["turn_index"] for turn in turns]
    rendered = render(turns)
    if call.reaped_at is not None:  # how many turns there were is not known
        call.transcript = rendered
        whole = not turns and not call.stream_sid
    elif any(report["turns"] is None for report in call.streams.values()):
        whole = rendered == call.transcript  # finalized without turns: the text itself says when they are all here
    else:
        call.transcript = rendered
        told = {int(number): report["turns"] for number, report in call.streams.items()}
        # A stream that died with its process reported nothing: nobody knows what was said in its last seconds.
        whole = all(number in told for number in range(call.last_stream + 1)) and streams.counts(indices) == {
            number: count for number, count in told.items() if count
        }
    first_places = {int(number): report.get("first") or 0 for number, report in call.streams.items()}
    call.is_complete = whole and streams.has_no_gap(indices, first_places) and call.status in TERMINAL_STATUSES


def _take_from_streams(call: CallLog) -> None:
    """What the row says of the call's end, out of what its streams said of theirs."""
    reports = [call.streams[number] for number in sorted(call.streams, key=int)]
    last = streams.reported(call.streams, call.last_stream)
    call.ended_reason = call.taken_away or (last["ended_reason"] if last is not None else "")
    if call.ended_reason == EndedReason.TRANSFERRED:
        call.ended_reason = _put_through(call)
    counts = [report["turns"] for report in reports]
    all_told = len(reports) == call.last_stream + 1 and None not in counts
    call.expected_turns = sum(counts) if all_told else None
    call.interruptions = sum(report["interruptions"] for report in reports)
    sessions = [report["model_session_id"] for report in reports if report["model_session_id"]]
    call.model_session_id = sessions[-1] if sessions else ""
    if call.carrier_duration_seconds is None and reports:
        call.duration_seconds = sum(report["seconds"] for report in reports)
    if last is not None:
        call.owner_boot_id = ""  # nobody carries it any more, until there is another stream: the reaper may look at it


def _put_through(call: CallLog) -> EndedReason:
    """How a call ended whose last stream was closed to put the caller through, as far as its last leg tells. One that
    reached nobody, while the caller was there, is followed by another stream, which tells the end."""
    state = call.legs.order_by(F("asked_at").desc(nulls_last=True), "-pk").values_list("state", flat=True).first()
    if state == LegState.CANCELED:
        return EndedReason.CALLER_HUNG_UP
    return EndedReason.NEVER_CONNECTED if state in legs.UNREACHED else EndedReason.TRANSFERRED
