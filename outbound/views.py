"""What the carrier asks and says about calls that we placed, under /twilio/outbound/. Each address carries the token of
its attempt.

The row is looked up, and written, in threads with a deadline: whoever answered waits, and hears an apology at worst.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.db import Error as DatabaseUnwell
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from kombu.exceptions import OperationalError

from businesses.snapshots import AgentSnapshot
from calls import recorder, stream_tickets, switchboard
from calls import views as calls_views
from calls.carriers import twilio
from calls.models import CallStatus
from calls.phrases import phrase
from calls.signed import from_carrier, twiml
from calls.threads import BoundedPool, PoolBusy
from outbound import services, states, tasks
from outbound.models import OutboundCall

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 1.5
_pool = BoundedPool("outbound-rows", threads=8, queued=64)

_TOKEN = re.compile("[^0-9a-f]")

Result = TypeVar("Result")


class _RowsUnwell(Exception):
    """The database did not answer in time. The message is the name of the error."""


@from_carrier
def voice(request: HttpRequest, call_sid: str) -> HttpResponse:
    """Somebody or something has answered: connect the agent, which greets at once."""
    try:
        call, agent = _within_deadline(lambda: _answered(_token(request), call_sid))
    except _RowsUnwell as error:
        logger.error("outbound call not connected: no rows", extra={"call_sid": call_sid, "error": str(error)})
        return twiml(twilio.say_and_hang_up(phrase("unavailable", "en")))
    if call is None:
        logger.error("an outbound call that nobody asked for is hung up", extra={"call_sid": call_sid})
        return twiml(twilio.hang_up())
    language = call.business.language
    if agent is None or not switchboard.may_try(agent.model, time.monotonic()):
        logger.error("outbound call without an agent", extra={"call_sid": call_sid})
        return twiml(twilio.say_and_hang_up(phrase("unavailable", language), language))
    refusal = switchboard.admit(call_sid, agent.business_id, time.monotonic())
    if refusal:
        logger.warning("no room for a call", extra={"call_sid": call_sid, "reason": refusal})
        return _come_again(request, language)
    switchboard.expect(agent)
    ticket, token = stream_tickets.issue(
        call_sid=call_sid,
        account_sid=request.POST["AccountSid"],
        business_id=agent.business_id,
        agent_version_id=agent.version_id,
        from_number=call.from_number,
        to_number=call.to_number,
        direction="outbound",
    )
    return twiml(twilio.answer_with_stream(call_sid=call_sid, ticket=ticket, token=token))


def _answered(token: str, call_sid: str) -> tuple[OutboundCall | None, AgentSnapshot | None]:
    call = services.placed(token, call_sid, CallStatus.IN_PROGRESS.value, timezone.now())
    version = call.agent.published_version() if call is not None else None
    return call, version.snapshot() if version is not None else None


def _come_again(request: HttpRequest, language: str) -> HttpResponse:
    """A process without room asks once for another to be asked; then it apologises."""
    if request.GET.get("again"):
        return twiml(twilio.say_and_hang_up(phrase("unavailable", language), language))
    address = f"{settings.PUBLIC_URL}{request.path}?o={_token(request)}&again=1"
    return twiml(twilio.hold_and_come_again(address, 1))


@from_carrier
def status(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The carrier says how far the call is, in any order. 503: come again, it could not be stored."""
    reached = request.POST.get("CallStatus", "")
    if states.from_carrier(reached) is None:
        return HttpResponse("Unknown CallStatus\n", status=400, content_type="text/plain")
    try:
        call = _within_deadline(lambda: services.placed(_token(request), call_sid, reached, timezone.now()))
    except _RowsUnwell as error:
        logger.error("status of a call not stored", extra={"call_sid": call_sid, "error": str(error)})
        return HttpResponse("Try again\n", status=503, content_type="text/plain")
    if call is not None and reached in states.ENDED and reached != CallStatus.COMPLETED.value:
        _nobody_was_reached(call_sid, call.business_id, reached)
    return calls_views.status(request)


def _nobody_was_reached(call_sid: str, business_id: int, reached: str) -> None:
    """There was no stream, and none will come: the record is whole."""
    recorder.get_recorder().finalize_call_log(
        call_sid=call_sid, business_id=business_id, status=reached, duration_seconds=0, transcript=""
    )


@from_carrier
def machine(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The carrier's machine detection has come to a verdict. A person goes on talking, and knows nothing of it."""
    answered_by = request.POST.get("AnsweredBy", "")
    try:
        call = _within_deadline(lambda: _detected(_token(request), call_sid, answered_by))
    except _RowsUnwell as error:
        logger.error("verdict about a call not stored", extra={"call_sid": call_sid, "error": str(error)})
        return HttpResponse("Try again\n", status=503, content_type="text/plain")
    if call is not None and answered_by in states.MACHINES:
        try:
            tasks.leave_message.apply_async([call.pk], retry=False)
        except (OperationalError, OSError) as error:
            logger.error(
                "no message can be left on a machine", extra={"call_sid": call_sid, "error": type(error).__name__}
            )
            return HttpResponse("Try again\n", status=503, content_type="text/plain")
    return HttpResponse(status=204)


def _detected(token: str, call_sid: str, answered_by: str) -> OutboundCall | None:
    call = services.placed(token, call_sid, CallStatus.IN_PROGRESS.value, timezone.now(), answered_by=answered_by)
    if call is not None:
        services.keep_answered_by(call)
    return call


def _token(request: HttpRequest) -> str:
    return _TOKEN.sub("", request.GET.get("o", ""))[:32]


def _within_deadline(work: Callable[[], Result]) -> Result:
    failure = ""
    try:
        return _pool.run(work, DEADLINE_SECONDS)
    except (DatabaseUnwell, TimeoutError, PoolBusy) as error:
        failure = type(error).__name__
    raise _RowsUnwell(failure)
