"""Who answers a call, and what becomes of it when the agent cannot: the rows that the carrier's webhooks need.

Looked up in threads with a deadline: a caller waits, and a database that hangs must end in a sentence, not in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.db import Error as DatabaseUnwell

from businesses.models import PhoneNumber
from businesses.snapshots import AgentSnapshot
from calls.models import TERMINAL_STATUSES, CallLog
from calls.threads import BoundedPool, PoolBusy

Result = TypeVar("Result")

_pool = BoundedPool("webhook-rows", threads=8, queued=256)


class LookupFailed(Exception):
    """The database did not answer in time. The message is the name of the error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dialled number leads to. `refusal` is a short code, empty when `agent` takes the call."""

    refusal: str = ""
    language: str = "en"
    agent: AgentSnapshot | None = None


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is known of a call whose stream has ended. `ended_reason` is empty while the database has not heard it."""

    is_over: bool = False
    ended_reason: str = ""
    forwarding_number: str = ""
    language: str = "en"


def answer(call_sid: str, dialled: str, seconds: float) -> Answer:
    """Raise LookupFailed."""
    return _within(seconds, lambda: _answer(call_sid, dialled))


def aftermath(call_sid: str, dialled: str, seconds: float) -> Aftermath:
    """Raise LookupFailed."""
    return _within(seconds, lambda: _aftermath(call_sid, dialled))


def business_of(call_sid: str, numbers: list[str], seconds: float) -> int | None:
    """The business of a call: by its row, or by whichever of the numbers is ours. Raise LookupFailed."""
    return _within(seconds, lambda: _business_of(call_sid, numbers))


def _within(seconds: float, look_up: Callable[[], Result]) -> Result:
    try:
        return _pool.run(look_up, seconds)
    except (DatabaseUnwell, TimeoutError, PoolBusy) as error:
        raise LookupFailed(type(error).__name__) from None


def _answer(call_sid: str, dialled: str) -> Answer:
    number = PhoneNumber.objects.select_related("business", "agent").filter(number=dialled, is_active=True).first()
    if number is None:
        return Answer(refusal="unknown_number")
    business = number.business
    if not business.is_active:
        return Answer(refusal="inactive_business", language=business.language)
    if number.agent.business_id != business.pk:
        return Answer(refusal="foreign_agent", language=business.language)
    version = number.agent.published_version()
    if version is None:
        return Answer(refusal="no_published_version", language=business.language)
    if CallLog.objects.filter(call_sid=call_sid, status__in=TERMINAL_STATUSES).exists():
        return Answer(refusal="call_is_over", language=business.language)  # a webhook sent again long after
    version.agent = number.agent
    version.agent.business = business  # spares two queries
    return Answer(language=business.language, agent=version.snapshot())


def _aftermath(call_sid: str, dialled: str) -> Aftermath:
    call = CallLog.objects.select_related("business").filter(call_sid=call_sid).first()
    if call is not None:
        business = call.business
    else:
        number = PhoneNumber.objects.select_related("business").filter(number=dialled).first()
        if number is None:
            return Aftermath()
        business = number.business
    forwarding_number = business.forwarding_number
    # Forwarding to a number that is answered here would go round in circles, at a price per minute.
    if forwarding_number and PhoneNumber.objects.filter(number=forwarding_number).exists():
        forwarding_number = ""
    return Aftermath(
        is_over=call is not None and call.status in TERMINAL_STATUSES,
        ended_reason=call.ended_reason if call is not None else "",
        forwarding_number=forwarding_number,
        language=business.language,
    )


def _business_of(call_sid: str, numbers: list[str]) -> int | None:
    by_call = CallLog.objects.filter(call_sid=call_sid).values_list("business_id", flat=True).first()
    if by_call is not None:
        return by_call
    return PhoneNumber.objects.filter(number__in=numbers).values_list("business_id", flat=True).first()
