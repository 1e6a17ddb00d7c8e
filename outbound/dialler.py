"""Hands waiting attempts to the carrier: one at a time over all workers, at most one a second, within what the dial
policy allows at that moment. And finds out about those of which the carrier's answer was not heard.

Only one worker is at it at a time (calls.one_at_a_time), and each run hands over one call at most, so that no worker is
held up: who has handed one over asks for the next run a second later, and beat asks every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from calls import dial_policy, dialing
from calls.carriers import twilio_dialling, twilio_rest
from calls.carriers.answers import CarrierUnreachable
from calls.carriers.twilio_dialling import Declined, Outcome, OutcomeUnknown, Placed
from calls.dial_policy import Refused
from calls.models import CallLeg, CallLog
from calls.one_at_a_time import only_one
from outbound import services
from outbound.models import OCCUPY_A_LINE, OutboundCall, OutboundState

logger = logging.getLogger(__name__)

PACE = timedelta(seconds=1)  # Twilio's default for one account; it queues what is more (protocols, twilio A7)
RING_SECONDS = 40
TOO_MUCH = timedelta(seconds=5)
LOOK_AGAIN = timedelta(seconds=3)  # for a line that is free again
OUTSIDE_HOURS = timedelta(minutes=10)
GIVE_UP_WAITING = timedelta(days=1)
SUBMISSION_LOST = timedelta(seconds=45)  # above a task's hard time limit: whoever was at it is dead
# Twilio's lists are eventually consistent. Its first callback, which carries our token, comes within a second or two.
NOT_THERE = timedelta(minutes=2)
MAX_SUBMISSIONS = 2
MAX_UNKNOWN = 3  # then the carrier is not to be relied on, and gets no further calls until it has been asked
MAX_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did. `next_in`: when there is another call to be handed over, in seconds; None: nothing waits."""

    submitted: bool = False
    next_in: float | None = None


def run(clock: Callable[[], datetime]) -> Run:
    """Look for one call to hand over. `clock` is the database's: it is looked at again once this is the only one at
    work, and when the carrier has answered, since either may have taken a while. Raise django.db.Error."""
    if not twilio_rest.is_available():
        _refuse_all(clock())
        return Run()
    with only_one("dialler", clock()) as alone:
        if not alone:
            return Run()
        now, last = clock(), services.last_submission()
        if last is not None and now - last < PACE:
            return Run()
        unknown = OutboundCall.objects.filter(state=OutboundState.UNKNOWN).count()
        call = _next(now) if unknown < MAX_UNKNOWN else None
        if call is None:
            return Run()
        submit(call, clock)
    return Run(submitted=True, next_in=PACE.total_seconds())


def _refuse_all(now: datetime) -> None:
    for call in OutboundCall.objects.filter(state=OutboundState.WAITING, due_at__lte=now)[:MAX_LOOKED_AT]:
        services.refuse(call, "no_carrier", now)


def _next(now: datetime) -> OutboundCall | None:
    """The next attempt that may be dialled now. Those that may not are refused, or wait on."""
    taken = OutboundCall.objects.filter(state__in=sorted(OCCUPY_A_LINE)).count()
    if taken >= settings.OUTBOUND_CALLS_AT_ONCE:
        return None
    waiting = OutboundCall.objects.filter(state=OutboundState.WAITING, due_at__lte=now).select_related(
        "business", "agent__business"
    )
    for call in waiting.order_by("due_at", "id")[:MAX_LOOKED_AT]:
        if _may_go(call, now):
            return call
    return None


def _may_go(call: OutboundCall, now: datetime) -> bool:
    """Ask the policy once more: since it was asked for, somebody may have said not to be called."""
    if now - call.asked_at > GIVE_UP_WAITING and call.reason:
        services.refuse(call, call.reason, now)
        return False
    verdict = dialing.check(call.business_id, call.to_number, now)
    reason = verdict.code if isinstance(verdict, Refused) else services.unfit(call.agent)
    if reason:
        services.refuse(call, reason, now)
        return False
    assert isinstance(verdict, dial_policy.Allowed)
    rules = dialing.rules_of(call.business_id)
    zones = dialing.zones_for(verdict.country, call.business, rules.home_country)
    if not dial_policy.is_time_to_call(zones, rules, now):
        services.wait_until(call, now + OUTSIDE_HOURS, "calling_hours", now)
        return False
    if services.occupied_lines(call.business) >= rules.max_at_once:
        services.wait_until(call, now + LOOK_AGAIN, "lines_busy", now)
        return False
    return True


def submit(call: OutboundCall, clock: Callable[[], datetime]) -> None:
    """Hand one attempt over, and write down what the carrier said."""
    max_seconds = dialing.rules_of(call.business_id).max_call_seconds
    if not services.begin_submission(call, clock()):
        return
    outcome = twilio_dialling.place(
        to=call.to_number,
        from_number=call.from_number,
        token=call.token,
        ring_seconds=RING_SECONDS,
        max_seconds=max_seconds,
    )
    now = clock()
    services.answer_heard(call, now)
    note_outcome(call, outcome, now)


def note_outcome(call: OutboundCall, outcome: Outcome, now: datetime) -> None:
    match outcome:
        case Placed(call_sid=call_sid):
            services.placed(call.token, call_sid, "initiated", now)
        case Declined(code=code, come_again=True):
            services.wait_until(call, now + TOO_MUCH, f"carrier_{code}", now)
        case Declined(code=code):
            services.refuse(call, f"carrier_{code}", now)
        case OutcomeUnknown(reason=reason):
            services.outcome_unknown(call, reason[:40], now)
            logger.warning("unknown whether a call was placed", extra={"outbound": call.pk, "reason": reason})


def reconcile(now: datetime) -> int:
    """Find out about the attempts of which the carrier's answer was not heard; return how many are still unknown, or 0
    while another process is at it: over a slow API this takes longer than until beat asks for it again."""
    lost, unknown = _lost(now), OutboundCall.objects.filter(state=OutboundState.UNKNOWN)
    if not (lost.exists() or unknown.exists()):
        return 0
    with only_one("outcomes", now) as alone:
        return _find_out(now) if alone else 0


def _lost(now: datetime) -> QuerySet[OutboundCall]:
    """Whoever handed these over has died at it."""
    return OutboundCall.objects.filter(state=OutboundState.SUBMITTING, submitted_at__lt=now - SUBMISSION_LOST)


def _find_out(now: datetime) -> int:
    for call in _lost(now):
        services.outcome_unknown(call, "worker_lost", now)
    left = 0
    for call in OutboundCall.objects.filter(state=OutboundState.UNKNOWN).order_by("submitted_at")[:MAX_LOOKED_AT]:
        try:
            left += not _found_out(call, now)
        except CarrierUnreachable as error:
            logger.warning("the carrier could not be asked what became of a call", extra={"error": str(error)})
            return left + 1
    return left


def _found_out(call: OutboundCall, now: datetime) -> bool:
    assert call.submitted_at is not None
    # A little before: the clocks of two machines. Whole seconds are all that Twilio tells.
    found = twilio_dialling.calls_to(call.to_number, call.from_number, call.submitted_at - timedelta(seconds=5))
    claimed = set(
        OutboundCall.objects.filter(call_sid__in=[one.call_sid for one in found]).values_list("call_sid", flat=True)
    )
    claimed |= set(
        CallLog.objects.filter(call_sid__in=[one.call_sid for one in found]).values_list("call_sid", flat=True)
    )
    claimed |= set(
        CallLeg.objects.filter(leg_sid__in=[one.call_sid for one in found]).values_list("leg_sid", flat=True)
    )
    ours = [one for one in found if one.call_sid not in claimed]
    if ours:
        services.placed(call.token, ours[0].call_sid, ours[0].status, now)
        return True
    if now - call.submitted_at < NOT_THERE:
        return False
    if call.submissions < MAX_SUBMISSIONS:
        services.wait_until(call, now, "not_placed", now)
    else:
        services.refuse(call, "not_placed", now)
    return True
