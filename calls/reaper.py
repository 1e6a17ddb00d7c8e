"""No call stays unfinished: finds those that nobody living carries, learns what became of them, and ends their record.

1. A call without an end is suspect when its web process has not beaten for 30 s, when no stream was ever opened for it
   within 50 s, or when it goes on for longer than any call may. So is one of which only the carrier said that it
   ended. Suspects are marked; only a later sweep acts, so that a database that was away for a while has no healthy
   call reaped: the heartbeats come first (calls.heartbeats).
2. The journals that dead processes left on this machine are replayed: they know best.
3. The carrier is asked. Over: the record ends with its status, times and duration. Going on: nobody here carries it, so
   it is left to the carrier's next request (stream-ended), and asked about again. Unknown there: it never connected. No
   answer: again after 15, 30, 60 s ... 15 min, and after a day the reaper decides.
4. Without a carrier to ask (the simulated one) the reaper decides when 40 s have passed.

What it writes may be wrong about how a call ended; services.reap_call_log has whatever comes later correct it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from django.conf import settings
from django.db.models import F, Max, OuterRef, Q, QuerySet, Subquery

from calls import services
from calls.carriers import twilio_rest
from calls.carriers.answers import Answer, CarrierCall, NoSuchCall, Unreachable
from calls.models import (
    LIVE_STATUSES,
    TERMINAL_STATUSES,
    CallLog,
    CallStatus,
    EndedReason,
    EndSource,
    RecordingConsent,
    SuspectCall,
    WebProcess,
)
from calls.one_at_a_time import only_one

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 15.0
OWNER_SILENT = timedelta(seconds=30)
# With the two sweeps that follow: an end within the promised 90 s. A caller may be on hold for longer: of such a call
# the carrier says that it goes on, and what is guessed without a carrier gives way to the stream that follows.
NEVER_OWNED = timedelta(seconds=50)
UNHEARD_ENDING = timedelta(minutes=2)
LONGEST_CALL = timedelta(hours=4)  # Twilio's own limit
SECOND_LOOK = timedelta(seconds=12)  # longer than a heartbeat's pause, shorter than the sweeps'
OUR_OWN_CLOCK = timedelta(seconds=40)
STILL_GOING_ON = timedelta(seconds=60)
GIVE_UP_ASKING = timedelta(hours=24)
FORGET_PROCESS = timedelta(days=1)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=15)
MAX_AT_ONCE = 5000
ASKING_SECONDS = 10.0  # of one sweep, whose task has a time limit


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A call as the reaper sees it. `owner_seen_at` is None when its process left in good order or never beat."""

    call_sid: str
    business_id: int
    status: str
    began_at: datetime
    ended_at: datetime | None = None
    has_stream: bool = False
    was_asked: bool = False  # whether it may be recorded, and no answer came
    last_words_at: datetime | None = None
    owner_since: datetime | None = None
    owner_seen_at: datetime | None = None
    suspect_since: datetime | None = None
    next_look_at: datetime | None = None
    tries: int = 0

    @property
    def is_over(self) -> bool:
        """Its status is terminal; only its own end has not been heard of."""
        return self.status in TERMINAL_STATUSES

    @property
    def last_sign(self) -> datetime:
        signs = (self.owner_since, self.owner_seen_at, self.last_words_at)
        return max((sign for sign in signs if sign is not None), default=self.began_at)


class Step(Enum):
    LEAVE = auto()
    CLEAR = auto()  # it was suspect, and is not any more
    MARK = auto()
    LOOK = auto()


@dataclass(frozen=True, slots=True)
class End:
    """How a call's record is to be ended: the arguments of services.reap_call_log."""

    status: str
    source: str
    ended_reason: str
    ended_at: datetime | None
    duration_seconds: int | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again then. `answer` is what the carrier said, as a short code."""

    until: datetime
    answer: str


@dataclass(slots=True)
class Sweep:
    """What a sweep did, in calls. `busy`: another was at work."""

    marked: int = 0
    cleared: int = 0
    ended: int = 0
    waiting: int = 0
    busy: bool = False


def next_step(call: Unfinished, now: datetime) -> Step:
    """Pure: what a sweep does about this call."""
    if not _is_abandoned(call, now):
        return Step.CLEAR if call.suspect_since is not None else Step.LEAVE
    if call.suspect_since is None:
        return Step.MARK
    due = call.next_look_at is None or now >= call.next_look_at
    return Step.LOOK if due else Step.LEAVE


def _is_abandoned(call: Unfinished, now: datetime) -> bool:
    if call.is_over and call.ended_at is not None and now - call.ended_at <= UNHEARD_ENDING:
        return False
    if now - call.began_at > LONGEST_CALL:
        return True
    if call.owner_since is None:
        return now - call.began_at > NEVER_OWNED
    return now - max(call.owner_since, call.owner_seen_at or call.owner_since) > OWNER_SILENT


def conclude(call: Unfinished, answer: Answer | None, now: datetime) -> End | Wait:
    """Pure: what follows from the carrier's answer; None when there is no carrier to ask."""
    match answer:
        case _ if call.is_over:
            return End(call.status, EndSource.CARRIER, _reason(call), call.ended_at, None)
        case None:
            decide_at = call.last_sign + OUR_OWN_CLOCK
            return _guess(call) if now >= decide_at else Wait(decide_at, "")
        case CarrierCall(status=status) if status in TERMINAL_STATUSES:
            ended_at = answer.ended_at or call.last_sign
            return End(status, EndSource.CARRIER, _reason(call), ended_at, answer.duration_seconds)
        case CarrierCall(status=status):
            return Wait(now + STILL_GOING_ON, status)
        case NoSuchCall():
            return End(CallStatus.FAILED, EndSource.GUESS, _reason(call), call.last_sign, 0)
        case Unreachable(reason=reason):
            if now - call.began_at > GIVE_UP_ASKING:
                return _guess(call)
            return Wait(now + min(_FIRST_PAUSE * 2 ** min(call.tries, 10), _LONGEST_PAUSE), reason)


def _guess(call: Unfinished) -> End:
    if not call.has_stream:
        return End(CallStatus.FAILED, EndSource.GUESS, _reason(call), call.last_sign, 0)
    seconds = max(0, round((call.last_sign - call.began_at).total_seconds()))
    return End(CallStatus.COMPLETED, EndSource.GUESS, _reason(call), call.last_sign, seconds)


def _reason(call: Unfinished) -> str:
    if call.has_stream:
        return EndedReason.STREAM_LOST
    # At the question nothing of ours can be lost: silence is an answer, too.
    return EndedReason.CALLER_HUNG_UP if call.was_asked else EndedReason.NEVER_CONNECTED


def replay_journals() -> None:
    """What dead processes left on this machine. Files of the living, and of other machines, are left alone."""
    from calls.journal import replay

    replay.replay(Path(settings.JOURNAL_DIR), together=replay.write_together)


def sweep(
    now: datetime,
    *,
    replay: Callable[[], None] = replay_journals,
    ask: Callable[[str], Answer] | None = None,
    seconds: float = ASKING_SECONDS,
) -> Sweep:
    """Look at every unfinished call once. `now` is the database's clock. `ask`: instead of the carrier's REST API.

    Raise django.db.Error; the next sweep goes on from there.
    """
    if ask is None and twilio_rest.is_available():
        ask = twilio_rest.fetch
    report = Sweep()
    with only_one("reaper", now) as alone:
        if not alone:
            report.busy = True
            return report
        if _mark(now, report):
            replay()
            _end_what_is_due(now, ask, time.monotonic() + seconds, report)
        WebProcess.objects.filter(seen_at__lt=now - FORGET_PROCESS).delete()
    if report.ended:
        logger.warning("ended calls that nobody carried", extra={"calls": report.ended, "waiting": report.waiting})
    return report


def _mark(now: datetime, report: Sweep) -> bool:
    """Mark new suspects, and clear those that came back to life. Return whether any is due for a look."""
    steps = [(call, next_step(call, now)) for call in _unfinished(now)]
    marked = [call.call_sid for call, step in steps if step is Step.MARK]
    cleared = [call.call_sid for call, step in steps if step is Step.CLEAR]
    SuspectCall.objects.bulk_create(
        [
            SuspectCall(call_id=pk, since=now, next_look_at=now + SECOND_LOOK)
            for pk in CallLog.objects.filter(call_sid__in=marked).values_list("pk", flat=True)
        ],
        ignore_conflicts=True,
    )
    SuspectCall.objects.filter(call__call_sid__in=cleared).delete()
    # Those that have got their end by themselves in the meantime are not among the unfinished any more.
    SuspectCall.objects.exclude(_IS_UNFINISHED).delete()
    report.marked, report.cleared = len(marked), len(cleared)
    return any(step is Step.LOOK for _, step in steps)


def _end_what_is_due(now: datetime, ask: Callable[[str], Answer] | None, give_up_at: float, report: Sweep) -> None:
    carrier_is_well = True
    for call in _unfinished(now):  # again: the journals may have ended some
        if next_step(call, now) is not Step.LOOK:
            continue
        answer: Answer | None = None
        if ask is not None and not call.is_over:
            # One that does not answer would be waited for again and again: the others keep their turn.
            if not carrier_is_well or time.monotonic() >= give_up_at:
                report.waiting += 1
                continue
            answer = ask(call.call_sid)
            carrier_is_well = not isinstance(answer, Unreachable)
        match conclude(call, answer, now):
            case Wait() as wait:
                SuspectCall.objects.filter(call__call_sid=call.call_sid).update(
                    next_look_at=wait.until, tries=F("tries") + 1, answer=wait.answer[:40]
                )
                logger.warning(
                    "a call that nobody carries has no end yet",
                    extra={"call_sid": call.call_sid, "carrier": wait.answer},
                )
                report.waiting += 1
            case End() as end:
                _end(call, end)
                report.ended += 1


def _end(call: Unfinished, end: End) -> None:
    services.reap_call_log(
        call_sid=call.call_sid,
        business_id=call.business_id,
        status=end.status,
        source=end.source,
        ended_reason=end.ended_reason,
        ended_at=end.ended_at.isoformat() if end.ended_at else "",
        duration_seconds=end.duration_seconds,
    )
    SuspectCall.objects.filter(call__call_sid=call.call_sid).delete()
    logger.warning(
        "ended a call that nobody carried",
        extra={"call_sid": call.call_sid, "status": end.status, "source": end.source},
    )


# Of a suspect's call: no end, or an end that only the carrier told of. The indexes of CallLog are made for these two.
_IS_UNFINISHED = Q(call__status__in=sorted(LIVE_STATUSES)) | Q(
    call__ended_reason="", call__expected_turns__isnull=True, call__transcript=""
)


def _unfinished(now: datetime) -> Iterator[Unfinished]:
    no_end = CallLog.objects.filter(status__in=sorted(LIVE_STATUSES))
    # The status is terminal, and nothing is known of the call's own end.
    no_ending = CallLog.objects.filter(
        ended_reason="", expected_turns__isnull=True, transcript="", ended_at__lt=now - UNHEARD_ENDING
    ).filter(status__in=sorted(TERMINAL_STATUSES))
    for rows in (no_end.order_by("created_at"), no_ending.order_by("ended_at")):
        yield from _read(rows)


def _read(calls: QuerySet[CallLog]) -> Iterator[Unfinished]:
    owner = WebProcess.objects.filter(boot_id=OuterRef("owner_boot_id")).values("seen_at")
    # Due ones first would need a join for the order; the oldest are those that have waited longest.
    rows = calls.annotate(owner_seen_at=Subquery(owner[:1]), last_words_at=Max("turns__ended_at")).values(
        *("call_sid", "business_id", "status", "stream_sid", "started_at", "created_at", "ended_at"),
        *("owner_since", "owner_seen_at", "last_words_at", "recording_consent"),
        *("suspicion__since", "suspicion__next_look_at", "suspicion__tries"),
    )
    for row in rows[:MAX_AT_ONCE]:
        yield Unfinished(
            call_sid=row["call_sid"],
            business_id=row["business_id"],
            status=row["status"],
            began_at=row["started_at"] or row["created_at"],
            ended_at=row["ended_at"],
            has_stream=bool(row["stream_sid"]) or row["last_words_at"] is not None,
            was_asked=row["recording_consent"] == RecordingConsent.ASKED,
            last_words_at=row["last_words_at"],
            owner_since=row["owner_since"],
            owner_seen_at=row["owner_seen_at"],
            suspect_since=row["suspicion__since"],
            next_look_at=row["suspicion__next_look_at"],
            tries=row["suspicion__tries"] or 0,
        )
