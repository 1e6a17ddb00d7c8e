"""What the carrier asks over HTTP: a call comes in, its stream has ended, its status has changed.

Signed POSTs only; none of them waits for the broker, and for the database only up to a deadline. The signature check
comes first: whatever is not Twilio's gets 403 and leaves no row.
"""

from __future__ import annotations

import logging
import time
from email.utils import parsedate_to_datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from businesses.models import RecordingMode, WhenBusy, WhenClosed
from calls import (
    admission,
    answering,
    consents,
    holding,
    recorder,
    resuming,
    switchboard,
    voicemail,
)
from calls.answering import Aftermath, Answer, LookupFailed
from calls.carriers import twilio
from calls.models import TERMINAL_STATUSES, CallStatus, EndedReason, RecordingConsent
from calls.phrases import phrase
from calls.signed import from_carrier, twiml

logger = logging.getLogger(__name__)

# Twilio waits 15 s and drops the call then. After a stream has ended the caller hears silence while this is awaited.
ANSWER_DEADLINE_SECONDS = 2.0
ENDING_DEADLINE_SECONDS = 0.3

HOLD_SECONDS = 10

_ENDED_NORMALLY = frozenset(
    {EndedReason.CALLER_HUNG_UP, EndedReason.AGENT_ENDED, EndedReason.CALLER_SILENT, EndedReason.MAX_DURATION}
)


@from_carrier
def voice(request: HttpRequest, call_sid: str) -> HttpResponse:
    """A call comes in: connect it to our media stream, or say politely why not.

    Asked again for one call (Twilio retries, and marks it with I-Twilio-Idempotency-Token) the answer is as good as the
    first, with a ticket of its own; the fact is the same, and the call has one row.
    """
    return answer_call(request, call_sid)


def answer_call(request: HttpRequest, call_sid: str, consent: str = "") -> HttpResponse:
    """`consent`: what the caller answered to the question whether the call may be recorded; empty: not asked yet;
    "asked": the answer was not understood."""
    dialled = request.POST.get("To", "")
    try:
        answer = answering.answer(call_sid, dialled, ANSWER_DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("call not answered: no rows", extra={"call_sid": call_sid, "error": str(error)})
        return twiml(twilio.say_and_hang_up(phrase("unavailable", "en")))
    if answer.refusal == "call_is_over":
        return twiml(twilio.hang_up())
    if answer.agent is None:
        logger.warning("call not answered", extra={"call_sid": call_sid, "reason": answer.refusal})
        return twiml(twilio.say_and_hang_up(phrase("not_answered", answer.language), answer.language))
    agent = answer.agent
    if answer.when_closed is not None:
        return _closed(request, call_sid, answer)
    # A caller who was asked had been let through then: to ask again would take the one try of a model that rests.
    if not consent and not switchboard.may_try(agent.model, time.monotonic()):
        return _without_model(request, call_sid, answer)
    refusal = _refusal(call_sid, answer)
    if refusal:
        return _no_room(request, call_sid, answer, refusal)
    switchboard.expect(agent)
    if answer.recording == RecordingMode.ASK and consent in ("", RecordingConsent.ASKED):
        _record_ringing(request, call_sid, agent.business_id, agent.version_id, RecordingConsent.ASKED.value)
        return consents.ask(answer.language, again=bool(consent))
    recorded = consents.recorded(agent.business_id, answer.recording, consent, answer.language)
    ticket, token = resuming.ticket_for(request, call_sid, agent, 0)
    consent = recorded.consent if recorded is not None else consent
    _record_ringing(request, call_sid, agent.business_id, agent.version_id, consent)
    return twiml(twilio.answer_with_stream(call_sid=call_sid, ticket=ticket, token=token, recorded=recorded))


@from_carrier
def consent(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The caller was asked whether the call may be recorded: go on with it, whatever the answer."""
    return answer_call(request, call_sid, consents.given(request).value)


def _record_ringing(
    request: HttpRequest, call_sid: str, business_id: int, agent_version_id: int | None, consent: str = ""
) -> None:
    recorder.get_recorder().create_call_log(
        call_sid=call_sid,
        account_sid=request.POST["AccountSid"],
        business_id=business_id,
        agent_version_id=agent_version_id,
        from_number=request.POST.get("From", ""),
        to_number=request.POST.get("To", ""),
        direction="inbound",
        status=CallStatus.RINGING.value,
        recording_consent=consent,
    )


def _refusal(call_sid: str, answer: Answer) -> str:
    """Why there is no room for the call, or "" when it has taken its place. A call that was turned away stays so: the
    carrier may be following that answer when it asks a second time."""
    assert answer.agent is not None
    if answer.was_turned_away:
        return EndedReason.TURNED_AWAY
    return switchboard.admit(
        call_sid,
        answer.agent.business_id,
        time.monotonic(),
        max_calls=answer.max_calls,
        live_calls=answer.live_calls,
    )


def _no_room(request: HttpRequest, call_sid: str, answer: Answer, refusal: str) -> HttpResponse:
    """Hold the caller, put the caller through to the forwarding number, or say that all lines are busy.

    A call on hold has a row without an agent, so that it does not occupy a line. One turned away also has its ending;
    its last status comes from the carrier, when the caller has been put through or has heard the sentence.
    """
    assert answer.agent is not None
    business_id, held = answer.agent.business_id, resuming.times_held(request)
    if held == 0:
        _record_ringing(request, call_sid, business_id, None)
    come_again = f"{settings.PUBLIC_URL}{request.path}?{consents.kept(request)}held={held + 1}"
    outcome, document = WhenBusy.TELL, ""
    if refusal == admission.DRAINING and held < resuming.MAX_MOVES:
        outcome = WhenBusy.HOLD
        document = twilio.hold_and_come_again(come_again, resuming.MOVE_SECONDS)
    elif answer.when_busy == WhenBusy.HOLD and held < resuming.MAX_HOLDS and refusal != EndedReason.TURNED_AWAY:
        outcome = WhenBusy.HOLD
        text = phrase("hold", answer.language)
        document = twilio.hold_and_come_again(come_again, HOLD_SECONDS, text, answer.language)
    elif answer.when_busy != WhenBusy.TELL and answer.forwarding_number:
        outcome = WhenBusy.FORWARD
        document = resuming.forward(call_sid, business_id, answer.forwarding_number)
    else:
        document = twilio.say_and_hang_up(phrase("all_busy", answer.language), answer.language)
    if outcome != WhenBusy.HOLD:
        _record_unanswered(call_sid, business_id, EndedReason.TURNED_AWAY)
    logger.warning(
        "no room for a call",
        extra={"call_sid": call_sid, "reason": refusal, "outcome": outcome.value, "held": held},
    )
    return twiml(document)


def _closed(request: HttpRequest, call_sid: str, answer: Answer) -> HttpResponse:
    """It is outside the opening hours, and callers are put through to somebody then, or may leave a message: no agent,
    and no line taken."""
    assert answer.agent is not None
    business_id, takes_message = answer.agent.business_id, answer.when_closed == WhenClosed.MESSAGE
    _record_ringing(request, call_sid, business_id, None, RecordingConsent.VOICEMAIL.value if takes_message else "")
    _record_unanswered(call_sid, business_id, EndedReason.CLOSED)
    if takes_message:
        return voicemail.ask(business_id, "closed_message", answer.language)
    return twiml(resuming.forward(call_sid, business_id, answer.forwarding_number))


def _without_model(request: HttpRequest, call_sid: str, answer: Answer) -> HttpResponse:
    """The speech model has failed call after call: put the caller through to a person at once, or take a message."""
    assert answer.agent is not None
    business_id, number = answer.agent.business_id, answer.forwarding_number
    _record_ringing(request, call_sid, business_id, None, "" if number else RecordingConsent.VOICEMAIL.value)
    refused = switchboard.is_refused(answer.agent.model)
    _record_unanswered(call_sid, business_id, EndedReason.MODEL_REFUSED if refused else EndedReason.MODEL_FAILED)
    logger.error("call not given to a model that fails", extra={"call_sid": call_sid, "forwarded": bool(number)})
    if number:
        return twiml(resuming.forward(call_sid, business_id, number))
    return voicemail.ask(business_id, "leave_message", answer.language)


def _record_unanswered(call_sid: str, business_id: int, reason: EndedReason) -> None:
    """No agent takes this call; its last status comes from the carrier, after the transfer or the sentence."""
    recorder.get_recorder().finalize_call_log(
        call_sid=call_sid,
        business_id=business_id,
        status=CallStatus.IN_PROGRESS.value,
        duration_seconds=0,
        transcript="",
        ended_reason=reason.value,
    )


@from_carrier
def stream_ended(request: HttpRequest, call_sid: str) -> HttpResponse:
    """A media stream is over and the caller may still be there: what now?

    Only a call known to have ended as it should is hung up. How it ended is known by this process, by the cache or by
    the row; when none has heard of it, its process was killed. A caller who was cut off is connected anew, here, twice
    at most; after that, or when it is of no use, put through to a person or told.
    """
    reached = request.POST.get("CallStatus", "")
    if reached in TERMINAL_STATUSES:
        resuming.record_end(request, call_sid, reached)
        return twiml(twilio.hang_up())
    stand = resuming.stand_of(request)
    number, held = stand.number, stand.held
    reason = switchboard.ended_reason(call_sid, number) or answering.ending_told(
        call_sid, number, ENDING_DEADLINE_SECONDS
    )
    if reason in _ENDED_NORMALLY:
        return twiml(twilio.hang_up())
    try:
        aftermath = answering.aftermath(call_sid, request.POST.get("To", ""), resuming.DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("aftermath of a call unknown", extra={"call_sid": call_sid, "error": str(error), "held": held})
        if held < resuming.MAX_MOVES:  # the database may be back in a moment, and knows who this caller was talking to
            return resuming.come_again(request)
        aftermath = Aftermath()
    reason = reason or aftermath.ended_reason
    if reason in _ENDED_NORMALLY or (aftermath.is_over and not reason):
        return twiml(twilio.hang_up())
    if reason == EndedReason.TRANSFERRED and not aftermath.is_over:
        return resuming.put_through(request, call_sid, aftermath)
    resumed = resuming.resumed(request, call_sid, reason, aftermath)
    return resumed or resuming.handed_to_a_person(request, call_sid, reason, aftermath)


@from_carrier
def status(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The carrier says how far a call is, in any order. 503: come again, it could not be told whose call it is."""
    reached = request.POST.get("CallStatus", "")
    if reached not in CallStatus.values:
        return HttpResponse("Unknown CallStatus\n", status=400, content_type="text/plain")
    if reached in TERMINAL_STATUSES:
        switchboard.call_over(call_sid)
        holding.caller_gone(call_sid)
    numbers = [request.POST.get("To", ""), request.POST.get("From", "")]
    try:
        business_id = answering.business_of(call_sid, numbers, ANSWER_DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("status of a call not stored", extra={"call_sid": call_sid, "error": str(error)})
        return HttpResponse("Try again\n", status=503, content_type="text/plain")
    if business_id is None:
        logger.warning("status of an unknown call", extra={"call_sid": call_sid})
        return HttpResponse(status=204)
    recorder.get_recorder().apply_call_status(
        call_sid=call_sid,
        business_id=business_id,
        status=reached,
        sequence_number=number_of(request.POST.get("SequenceNumber", "")) or 0,
        duration_seconds=number_of(request.POST.get("CallDuration", "")),
        occurred_at=utc_of(request.POST.get("Timestamp", "")),
    )
    return HttpResponse(status=204)


def number_of(value: str) -> int | None:
    """A count as Twilio writes it; None when it is none."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def utc_of(rfc_2822: str) -> str:
    """Twilio's Timestamp as ISO 8601; empty when it is none, and then the time of arrival counts."""
    try:
        return parsedate_to_datetime(rfc_2822).isoformat()
    except (ValueError, TypeError):
        return ""
