"""What is asked for, and what becomes of it: the only writer of OutboundCall. What is said in a call, and how it ended,
is in its CallLog, which calls.services writes.

An attempt has its row before the carrier is asked. Whatever is said twice changes nothing: the idempotency key of who
asks, the token in the addresses that the carrier is given, and states that only go forward see to that.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from businesses.models import Agent, Business, PhoneNumber
from businesses.phone_numbers import LONGEST, normalized
from calls import dialing
from calls import services as calls_services
from calls.dial_policy import Refused
from calls.models import CallLog, CallStatus, Direction, EndedReason
from outbound import states
from outbound.models import MESSAGE_CHARACTERS, OCCUPY_A_LINE, OutboundCall, OutboundState

logger = logging.getLogger(__name__)

_NOT_PLACED_YET = (OutboundState.WAITING, OutboundState.SUBMITTING, OutboundState.UNKNOWN)


class CannotPlace(Exception):
    """The request makes no sense, and no row is kept of it. The message is for whoever asked."""


def place_call(
    *,
    agent: Agent,
    to: str,
    key: str,
    now: datetime,
    from_number: str = "",
    message: str = "",
    tries_again: bool = True,
    asked_by_id: int | None = None,
) -> OutboundCall:
    """Ask for one call by `agent`; return its row. Refused by the dial policy it is there too, with the reason.

    `key` names the wish within the business: asking again with it returns the first attempt's row and places nothing.
    `from_number`: one of the business's own; empty: the agent's, else its first. `message` is left on a machine.
    Raise CannotPlace.
    """
    business = agent.business
    key, message = key.strip(), message.strip()
    if not key or len(key) > 100:
        raise CannotPlace("A key of 1 to 100 characters is needed.")
    if len(message) > MESSAGE_CHARACTERS:
        raise CannotPlace(f"The message for machines is longer than {MESSAGE_CHARACTERS} characters.")
    known = OutboundCall.objects.filter(business=business, key=key).order_by("attempt").first()
    if known is not None:
        return known
    from_number = _own_number(agent, from_number)
    verdict = dialing.check(business.pk, to, now)
    reason = verdict.code if isinstance(verdict, Refused) else unfit(agent)
    rules = dialing.rules_of(business.pk)
    row = OutboundCall(
        business=business,
        agent=agent,
        to_number=normalized(to, rules.home_country) or to.strip()[:LONGEST],
        from_number=from_number,
        key=key,
        state=OutboundState.REFUSED if reason else OutboundState.WAITING,
        reason=reason,
        message=message,
        tries_again=tries_again,
        due_at=now,
        ended_at=now if reason else None,
        asked_by_id=asked_by_id,
        asked_at=now,
    )
    OutboundCall.objects.bulk_create([row], ignore_conflicts=True)  # of two who ask at once, one makes it
    return OutboundCall.objects.get(business=business, key=key, attempt=1)


def unfit(agent: Agent) -> str:
    """Why this agent cannot call anybody, as a short code; empty when it can."""
    if not agent.business.is_active:
        return "inactive_business"
    return "" if agent.published_version() is not None else "not_published"


def _own_number(agent: Agent, wanted: str) -> str:
    numbers = PhoneNumber.objects.filter(business=agent.business, is_active=True)
    if wanted:
        if not numbers.filter(number=wanted).exists():
            raise CannotPlace("Calls are placed from a number of the same business.")
        return wanted
    number = numbers.filter(agent=agent).first() or numbers.first()
    if number is None:
        raise CannotPlace("The business has no number to call from.")
    return number.number


def occupied_lines(business: Business) -> int:
    """Calls that were placed for the business and are not known to be over."""
    return OutboundCall.objects.filter(business=business, state__in=sorted(OCCUPY_A_LINE)).count()


def last_submission() -> datetime | None:
    """When the carrier was last busy with a call of ours that was handed to it: asked, or answering."""
    row = OutboundCall.objects.filter(submitted_at__isnull=False).order_by("-submitted_at")
    moments = row.values_list("submitted_at", "answered_at").first() or ()
    return max((moment for moment in moments if moment is not None), default=None)


def begin_submission(call: OutboundCall, now: datetime) -> bool:
    """From now on the carrier may have the call. Return False when somebody else was faster."""
    changed = _as_seen(call, OutboundState.WAITING).update(
        state=OutboundState.SUBMITTING, reason="", submitted_at=now, submissions=call.submissions + 1, updated_at=now
    )
    if changed == 1:
        call.submissions += 1
    return changed == 1


def answer_heard(call: OutboundCall, now: datetime) -> None:
    """The carrier has answered, or is no longer waited for."""
    _as_seen(call).update(answered_at=now)


def wait_until(call: OutboundCall, moment: datetime, reason: str, now: datetime) -> None:
    """Back in the line, from the carrier or for another reason: nothing was placed."""
    _as_seen(call, *_NOT_PLACED_YET).update(state=OutboundState.WAITING, due_at=moment, reason=reason, updated_at=now)


def refuse(call: OutboundCall, reason: str, now: datetime) -> None:
    """No call was placed, and none will be for this row."""
    _as_seen(call, *_NOT_PLACED_YET).update(state=OutboundState.REFUSED, reason=reason, ended_at=now, updated_at=now)


def outcome_unknown(call: OutboundCall, reason: str, now: datetime) -> None:
    _as_seen(call, OutboundState.SUBMITTING).update(state=OutboundState.UNKNOWN, reason=reason, updated_at=now)


def _as_seen(call: OutboundCall, *before: OutboundState) -> QuerySet[OutboundCall]:
    """The row, if it is in one of these states and was not handed over again since it was read: what was found out
    about an earlier submission says nothing of the one under way, which would be placed twice."""
    rows = OutboundCall.objects.filter(pk=call.pk, submissions=call.submissions)
    return rows.filter(state__in=before) if before else rows


def placed(token: str, call_sid: str, status: str, now: datetime, *, answered_by: str = "") -> OutboundCall | None:
    """The carrier says of the attempt with this token that it is its call `call_sid`, and how far that is.

    Return the row; None when no attempt has the token, or when it is another call already: then the carrier was asked
    twice after all, and this second call must not be talked in.
    """
    with transaction.atomic():
        call = (
            OutboundCall.objects.select_for_update(of=("self",)).select_related("business").filter(token=token).first()
        )
        if call is None:
            return None
        if call.call_sid not in {None, call_sid}:
            logger.error("one outbound call was placed twice", extra={"call_sid": call_sid, "outbound": call.pk})
            return None
        is_new = call.call_sid is None
        call.call_sid = call_sid
        reached = states.from_carrier(status)
        if call.state in {OutboundState.WAITING, OutboundState.REFUSED}:  # it was taken for not placed, and is
            call.state, call.ended_at = OutboundState.QUEUED, None
        if reached is not None and states.goes_on(call.state, reached):
            call.state, call.reason = reached, ""
            if reached in states.ENDED:
                call.ended_at = now
        elif call.state in {OutboundState.SUBMITTING, OutboundState.UNKNOWN}:
            call.state, call.reason = OutboundState.QUEUED, ""
        if answered_by and not call.answered_by:
            call.answered_by = answered_by[:20]
        call.save()
        if is_new:
            _log_call(call, call_sid)
        if reached in states.NOT_REACHED:
            _try_again(call, now)
    return call


def _log_call(call: OutboundCall, call_sid: str) -> None:
    """The call has its row in the log from now on, which the caps are counted over."""
    version = call.agent.published_version()
    calls_services.create_call_log(
        call_sid=call_sid,
        business_id=call.business_id,
        from_number=call.from_number,
        to_number=call.to_number,
        direction=Direction.OUTBOUND.value,
        status=CallStatus.QUEUED.value,
        agent_version_id=version.pk if version is not None else None,
    )


def _try_again(call: OutboundCall, now: datetime) -> None:
    """The next attempt, if there is to be one. Whether it may still be dialled then is asked when it is due."""
    pause = states.pause_before_next(call.state, call.attempt)
    if pause is None or not call.tries_again or call.attempt >= dialing.rules_of(call.business_id).max_attempts:
        return
    following = OutboundCall(
        business_id=call.business_id,
        agent_id=call.agent_id,
        to_number=call.to_number,
        from_number=call.from_number,
        key=call.key,
        attempt=call.attempt + 1,
        message=call.message,
        due_at=now + pause,
        reason=call.state,
        asked_by_id=call.asked_by_id,
        asked_at=now,
    )
    OutboundCall.objects.bulk_create([following], ignore_conflicts=True)


def cancel(call: OutboundCall, now: datetime) -> bool:
    """Take back what still waits. Return False when it is too late."""
    changed = OutboundCall.objects.filter(pk=call.pk, state=OutboundState.WAITING).update(
        state=OutboundState.CANCELED, reason="taken_back", ended_at=now, updated_at=now
    )
    return changed == 1


def message_begun(call: OutboundCall, now: datetime) -> bool:
    """A machine listens now. Return whether it is ours to act on, which it is once."""
    changed = OutboundCall.objects.filter(pk=call.pk, message_left_at=None).update(message_left_at=now, updated_at=now)
    return changed == 1


def message_not_left(call: OutboundCall, now: datetime) -> None:
    """The carrier could not be reached (it may be tried again while the machine listens), or nothing was to be said."""
    OutboundCall.objects.filter(pk=call.pk).update(message_left_at=None, updated_at=now)


def ended_by_machine(call: OutboundCall, *, left_message: bool) -> None:
    """Say in the log how the call ended: the stream that was cut off for it knows nothing of machines."""
    calls_services.take_away(
        call_sid=call.call_sid or "",
        business_id=call.business_id,
        ended_reason=(EndedReason.LEFT_MESSAGE if left_message else EndedReason.MACHINE).value,
        answered_by=call.answered_by,
    )


def keep_answered_by(call: OutboundCall) -> None:
    """The verdict of machine detection, for the call's own page."""
    calls_services.take_away(
        call_sid=call.call_sid or "", business_id=call.business_id, ended_reason="", answered_by=call.answered_by
    )


def follow_log(now: datetime) -> int:
    """Ended calls whose last callback was lost, by what the log has learnt since. Return how many."""
    open_rows = OutboundCall.objects.filter(state__in=sorted(OCCUPY_A_LINE), call_sid__isnull=False).values_list(
        "token", "call_sid"
    )
    by_sid = {sid: token for token, sid in open_rows if sid is not None}
    ended = CallLog.objects.filter(call_sid__in=by_sid, status__in=[s.value for s in states.ENDED])
    count = 0
    for call_sid, status in ended.order_by().values_list("call_sid", "status"):
        placed(by_sid[call_sid], call_sid, status, now)
        count += 1
    return count
