"""Who answers a call, and what becomes of it when the agent cannot: the rows that the carrier's webhooks need.

Looked up in threads with a deadline: a caller waits, and a database that hangs must end in a sentence, not in silence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from django.core.cache import cache
from django.db import Error as DatabaseUnwell
from django.utils import timezone
from redis.exceptions import RedisError

from businesses.models import AgentVersion, Business, PhoneNumber, RecordingMode, WhenBusy, WhenClosed
from businesses.snapshots import AgentSnapshot
from calls import live_calls, transfers
from calls.live_calls import AskedTransfer
from calls.models import TERMINAL_STATUSES, CallLog, EndedReason
from calls.threads import BoundedPool, PoolBusy
from calls.transfers import Briefing, KnownLeg, LegToDial

Result = TypeVar("Result")

_pool = BoundedPool("webhook-rows", threads=8, queued=256)
_cache_pool = BoundedPool("webhook-cache", threads=4)


class LookupFailed(Exception):
    """The database did not answer in time. The message is the name of the error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dialled number leads to. `refusal` is a short code, empty when `agent` takes the call.

    The rest is for when there may be no room: `live_calls` are the CallSids that occupy the business's `max_calls`
    lines, by its rows; `was_turned_away` tells that this call was, earlier.
    """

    refusal: str = ""
    language: str = "en"
    agent: AgentSnapshot | None = None
    max_calls: int | None = None
    live_calls: frozenset[str] = frozenset()
    when_busy: WhenBusy = WhenBusy.TELL
    forwarding_number: str = ""
    was_turned_away: bool = False
    recording: RecordingMode = RecordingMode.OFF
    when_closed: WhenClosed | None = None  # it is outside the opening hours, and this is done in place of an agent


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is known of a call whose stream has ended. `ended_reason` is empty while the database has not heard it.
    `agent`: who goes on with it; the version that answered it, whatever was published since."""

    business_id: int | None = None
    is_over: bool = False
    ended_reason: str = ""
    agent: AgentSnapshot | None = None
    forwarding_number: str = ""
    language: str = "en"


def answer(call_sid: str, dialled: str, seconds: float) -> Answer:
    """Raise LookupFailed."""
    return _within(seconds, lambda: _answer(call_sid, dialled))


def aftermath(call_sid: str, dialled: str, seconds: float) -> Aftermath:
    """Raise LookupFailed."""
    return _within(seconds, lambda: _aftermath(call_sid, dialled))


def ending_told(call_sid: str, stream_number: int, seconds: float) -> str:
    """How the stream ended, if the process that had it could tell the others; else empty."""
    try:
        return _cache_pool.run(lambda: live_calls.shared_ending(call_sid, stream_number), seconds)
    except (RedisError, OSError, PoolBusy):  # TimeoutError is an OSError
        return ""


def transfer_told(call_sid: str, seconds: float) -> AskedTransfer | None:
    """Whom the call is to be put through to, if the process that had it could tell the others."""
    try:
        return _cache_pool.run(lambda: live_calls.shared_transfer(call_sid), seconds)
    except (RedisError, OSError, PoolBusy):  # TimeoutError is an OSError
        return None


def leg_to_dial(call_sid: str, numbers: list[str], asked: AskedTransfer | None, seconds: float) -> LegToDial | None:
    """None: nobody knows of a transfer. Raise LookupFailed."""

    def look_up() -> LegToDial | None:
        business_id = _business_of(call_sid, numbers)
        return None if business_id is None else transfers.to_dial(call_sid, business_id, asked, timezone.now())

    return _within(seconds, look_up)


def briefing(call_sid: str, business_id: int, key: str, seconds: float) -> Briefing:
    """What is told to a colleague before the caller is joined. Raise LookupFailed."""
    return _within(seconds, lambda: transfers.briefing(call_sid, business_id, key))


def claim_leg(call_sid: str, leg: LegToDial, seconds: float) -> bool:
    """Whether the carrier is to be asked for a call to the colleague: once. Raise LookupFailed."""
    return _within(seconds, lambda: transfers.claim(call_sid, leg, timezone.now()))


def known_leg(call_sid: str, business_id: int, key: str, seconds: float) -> KnownLeg:
    """Raise LookupFailed."""
    return _within(seconds, lambda: transfers.known_leg(call_sid, business_id, key))


def shared(name: str, seconds: float) -> str:
    """What a process has told the others under this name; empty when none has, or the cache is away."""
    try:
        return _cache_pool.run(lambda: str(cache.get(name, "")), seconds)
    except (RedisError, OSError, PoolBusy):  # TimeoutError is an OSError
        return ""


def share(name: str, value: str, seconds: int) -> None:
    """Tell the others, as soon as may be, and for so long. Nobody waits for it."""
    with contextlib.suppress(PoolBusy):
        _cache_pool.submit(lambda: cache.set(name, value, timeout=seconds))


def business_of(call_sid: str, numbers: list[str], seconds: float) -> int | None:
    """The business of a call: by its row, or by whichever of the numbers is ours. Raise LookupFailed."""
    return _within(seconds, lambda: _business_of(call_sid, numbers))


def _within(seconds: float, look_up: Callable[[], Result]) -> Result:
    try:
        return _pool.run(look_up, seconds)
    except (DatabaseUnwell, TimeoutError, PoolBusy) as error:
        raise LookupFailed(type(error).__name__) from None


def _answer(call_sid: str, dialled: str) -> Answer:
    related = ("business__closed_agent", "agent", "closed_agent")
    number = PhoneNumber.objects.select_related(*related).filter(number=dialled, is_active=True).first()
    if number is None:
        return Answer(refusal="unknown_number")
    business = number.business
    if not business.is_active:
        return Answer(refusal="inactive_business", language=business.language)
    if number.agent.business_id != business.pk:
        return Answer(refusal="foreign_agent", language=business.language)
    is_closed = not number.is_open(timezone.now())
    version = _version(number, is_closed=is_closed)
    if version is None:
        return Answer(refusal="no_published_version", language=business.language)
    status, ended_reason = _row_of(call_sid)
    if status in TERMINAL_STATUSES:
        return Answer(refusal="call_is_over", language=business.language)  # a webhook sent again long after
    forwarding_number = _forwarding_number(business)
    return Answer(
        language=business.language,
        agent=version.snapshot(),
        max_calls=business.max_calls,
        live_calls=frozenset() if business.max_calls is None else _live_calls(business),
        when_busy=WhenBusy(business.when_busy),
        forwarding_number=forwarding_number,
        recording=RecordingMode(business.recording),
        was_turned_away=ended_reason == EndedReason.TURNED_AWAY,
        when_closed=_in_place_of_an_agent(number, forwarding_number) if is_closed else None,
    )


def _version(number: PhoneNumber, *, is_closed: bool) -> AgentVersion | None:
    """Who answers at this number: outside the opening hours the agent that is named for that, if it is published."""
    agent = number.agent_when_closed() if is_closed else None
    version = agent.published_version() if agent is not None else None
    if version is None:
        agent = number.agent
        version = agent.published_version()
    if version is not None and agent is not None:
        version.agent = agent
        version.agent.business = number.business  # spares two queries
    return version


def _in_place_of_an_agent(number: PhoneNumber, forwarding_number: str) -> WhenClosed | None:
    wanted = WhenClosed(number.when_closed or number.business.when_closed)
    if wanted == WhenClosed.FORWARD and not forwarding_number:
        return None
    return None if wanted == WhenClosed.AGENT else wanted


def _row_of(call_sid: str) -> tuple[str, str]:
    """Status and ended_reason of a call that may have no row."""
    rows = CallLog.objects.filter(call_sid=call_sid)
    return rows.values_list("status", "ended_reason").first() or ("", "")


def _live_calls(business: Business) -> frozenset[str]:
    """The calls that an agent of the business has. Callers on hold, or put through to a person, have none."""
    calls = CallLog.objects.live().filter(business=business, agent_version__isnull=False)
    calls = calls.exclude(ended_reason=EndedReason.TRANSFERRED)
    return frozenset(calls.order_by().values_list("call_sid", flat=True))


def _aftermath(call_sid: str, dialled: str) -> Aftermath:
    related = ("business", "agent_version__agent__business")
    call = CallLog.objects.select_related(*related).filter(call_sid=call_sid).first()
    business, version = (call.business, call.agent_version) if call is not None else (None, None)
    if version is None:  # the row is not there yet, or only the carrier's word of the call
        number = PhoneNumber.objects.select_related("business", "agent").filter(number=dialled).first()
        if number is not None:
            business = business or number.business
            if number.business == business and number.agent.business_id == business.pk:
                version = _version(number, is_closed=not number.is_open(timezone.now()))
    if business is None:
        return Aftermath()
    return Aftermath(
        business_id=business.pk,
        is_over=call is not None and call.status in TERMINAL_STATUSES,
        ended_reason=call.ended_reason if call is not None else "",
        agent=version.snapshot() if version is not None and business.is_active else None,
        forwarding_number=_forwarding_number(business),
        language=business.language,
    )


def _forwarding_number(business: Business) -> str:
    """Empty when it is answered here: forwarding would go round in circles, at a price per minute."""
    number = business.forwarding_number
    return "" if number and PhoneNumber.objects.filter(number=number).exists() else number


def _business_of(call_sid: str, numbers: list[str]) -> int | None:
    by_call = CallLog.objects.filter(call_sid=call_sid).values_list("business_id", flat=True).first()
    if by_call is not None:
        return by_call
    return PhoneNumber.objects.filter(number__in=numbers).values_list("business_id", flat=True).first()
