"""Compares the carrier's list of calls with ours: the second ledger, for what no webhook of ours ever heard of.

A call to or from a number of ours that the carrier had and we have not (this server was away, say, and the number's
fallback answered) gets a row, so that a person sees that somebody called. Everything of it is the carrier's word.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from businesses.models import PhoneNumber
from calls import services
from calls.carriers.answers import CarrierCall
from calls.models import TERMINAL_STATUSES, CallLeg, CallLog, EndedReason, EndSource

logger = logging.getLogger(__name__)

LOOK_BACK = timedelta(hours=36)  # a day, and room for a run that was late
SETTLING = timedelta(minutes=15)  # younger ones may still be on their way through journal and queue
_AT_ONCE = 500  # an old SQLite takes 999 parameters


@dataclass(slots=True)
class Comparison:
    known: int = 0
    created: int = 0
    not_ours: int = 0  # no number of ours, a leg of another call, or not over yet


def reconcile(carrier_calls: Iterable[CarrierCall], now: datetime) -> Comparison:
    """Create what is missing. Raise django.db.Error and what `carrier_calls` raises; what was done stays done."""
    result = Comparison()
    rest = iter(carrier_calls)
    while some := list(islice(rest, _AT_ONCE)):
        known = set(
            CallLog.objects.filter(call_sid__in=[call.call_sid for call in some]).values_list("call_sid", flat=True)
        )
        # Colleagues whom we called for a caller are legs of that call, and no calls of their own.
        known |= set(
            CallLeg.objects.filter(leg_sid__in=[call.call_sid for call in some]).values_list("leg_sid", flat=True)
        )
        ours = {call.call_sid: _our_number(call) for call in some if call.call_sid not in known}
        numbers = PhoneNumber.objects.filter(number__in=set(ours.values())).values_list("number", "business_id")
        businesses = dict(numbers)
        result.known += len(known)
        for call in some:
            if call.call_sid in known:
                continue
            business_id = businesses.get(ours[call.call_sid])
            if business_id is None or not _is_to_be_kept(call, now):
                result.not_ours += 1
            else:
                _create(call, business_id)
                result.created += 1
    if result.created:
        logger.error("the carrier had calls that were not recorded", extra={"calls": result.created})
    return result


def _our_number(call: CarrierCall) -> str:
    return call.from_number if call.direction.startswith("outbound") else call.to_number


def _is_to_be_kept(call: CarrierCall, now: datetime) -> bool:
    last = call.ended_at or call.started_at
    return not call.is_leg and call.status in TERMINAL_STATUSES and last is not None and now - last > SETTLING


def _create(call: CarrierCall, business_id: int) -> None:
    at = call.started_at or call.ended_at
    services.create_call_log(
        call_sid=call.call_sid,
        business_id=business_id,
        from_number=call.from_number,
        to_number=call.to_number,
        direction=call.direction,
        status="queued",
        occurred_at=at.isoformat() if at else "",
    )
    services.reap_call_log(
        call_sid=call.call_sid,
        business_id=business_id,
        status=call.status,
        source=EndSource.RECONCILED,
        ended_reason=EndedReason.NEVER_CONNECTED,
        ended_at=call.ended_at.isoformat() if call.ended_at else "",
        duration_seconds=call.duration_seconds,
    )
    logger.error("a call that only the carrier knew was recorded", extra={"call_sid": call.call_sid})
