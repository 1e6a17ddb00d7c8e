"""What the carrier says of somebody who is called for a caller: how far that is, and how it ended; and what it asks for
a caller who is on hold meanwhile.

The addresses carry the business and the leg, which the carrier does not know of; both are covered by the signature. A
leg's callbacks are about a call of its own. The caller's is its parent, where <Dial> has placed it; where we have, the
address names it ("call").
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static

from calls import answering, holding, recorder, resuming
from calls.answering import Aftermath, LookupFailed
from calls.carriers import twilio
from calls.models import TERMINAL_STATUSES, CallStatus, LegState
from calls.phrases import phrase
from calls.signed import from_carrier, twiml
from calls.transfers import Briefing
from calls.views import number_of, utc_of

logger = logging.getLogger(__name__)

BRIEFING_DEADLINE_SECONDS = 2.0  # the colleague hears silence meanwhile
KEY_SECONDS = 10
TAKES_IT = "1"
HOLD_FILE = "calls/hold.wav"  # docs/make_hold_music.py

# The carrier's words for a leg (protocols, twilio A6, A7).
_STATES = {
    "initiated": LegState.ASKED,
    "ringing": LegState.RINGING,
    "in-progress": LegState.ANSWERED,
    "completed": LegState.COMPLETED,
    "answered": LegState.COMPLETED,  # said of <Dial> only, which is over then
    "busy": LegState.BUSY,
    "no-answer": LegState.NO_ANSWER,
    "failed": LegState.FAILED,
    "canceled": LegState.CANCELED,
}


@from_carrier
def transfer_ended(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The colleague was not reached, or has hung up, or the caller has: what now? Asked again after a pause, the
    carrier does not say any more how it ended, and there is a pause only before the way back to the agent."""
    told = request.POST.get("DialCallStatus", "")
    if told:
        reached, ended = request.POST.get("CallStatus", ""), _how_it_ended(request, told)
        _save_leg(
            call_sid,
            request,
            state=ended,
            leg_sid=request.POST.get("DialCallSid", ""),
            duration_seconds=number_of(request.POST.get("DialCallDuration", "")),
        )
        if reached in TERMINAL_STATUSES or ended == LegState.COMPLETED:
            over = reached if reached in TERMINAL_STATUSES else CallStatus.COMPLETED.value
            resuming.record_end(request, call_sid, over)
            return twiml(twilio.hang_up())
    return _back(request, call_sid)


def _back(request: HttpRequest, call_sid: str) -> HttpResponse:
    """Nobody was reached: to the agent."""
    try:
        aftermath = answering.aftermath(call_sid, request.POST.get("To", ""), resuming.DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("aftermath of a call unknown", extra={"call_sid": call_sid, "error": str(error)})
        if resuming.times_held(request) < resuming.MAX_MOVES:
            return resuming.come_again(request)
        aftermath = Aftermath()
    return resuming.back_to_the_agent(request, call_sid, aftermath)


def _how_it_ended(request: HttpRequest, told: str) -> LegState:
    """By the carrier's word. A leg that was answered and never joined to the caller was not reached; one whose caller
    has hung up was given up, whatever the carrier calls it."""
    ended = _STATES.get(told, LegState.FAILED)
    if ended == LegState.COMPLETED:
        return LegState.FAILED if request.POST.get("DialBridged") == "false" else LegState.COMPLETED
    return LegState.CANCELED if request.POST.get("CallStatus", "") in TERMINAL_STATUSES else ended


# --- A caller on hold -------------------------------------------------------------------------------------------


@from_carrier
def hold(request: HttpRequest, call_sid: str) -> HttpResponse:
    """What a caller who waits for a colleague hears next: some more music, as long as there is somebody to wait for,
    and until the time in the address at most."""
    business_id, key, until = _business_of(request), _key_of(request), request.GET.get("until", "")
    is_late = not until.isdigit() or time.time() >= int(until)
    if is_late or business_id is None or holding.is_over(call_sid, business_id, key):
        return twiml(twilio.leave_the_queue())
    again = f"{settings.PUBLIC_URL}{request.path}?{request.META['QUERY_STRING']}"
    return twiml(twilio.play_and_come_again(settings.PUBLIC_URL + static(HOLD_FILE), again))


@from_carrier
def hold_ended(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The caller waits no more: has talked to the colleague, has hung up, or was told to leave, and is with the agent
    again."""
    result, reached = request.POST.get("QueueResult", ""), request.POST.get("CallStatus", "")
    if not result and reached not in TERMINAL_STATUSES:
        return _back(request, call_sid)  # asked again after a pause, the carrier does not say it any more
    ended = _how_the_wait_ended(result, reached)
    business_id = _business_of(request)
    holding.delete_queue(request.POST.get("QueueSid", ""))
    if ended == LegState.COMPLETED or business_id is None:
        holding.parted(call_sid)
    else:
        holding.call_off(call_sid, business_id, _key_of(request))
    _save_leg(call_sid, request, state=ended)
    if ended == LegState.NO_ANSWER:
        if result != "leave":
            logger.error("a caller could not be held", extra={"call_sid": call_sid, "result": result})
        return _back(request, call_sid)
    resuming.record_end(request, call_sid, reached if reached in TERMINAL_STATUSES else CallStatus.COMPLETED.value)
    return twiml(twilio.hang_up())


def _how_the_wait_ended(result: str, reached: str) -> LegState:
    """For the leg. That it was not taken is the least that can be said of it: what is known of the colleague's own call
    counts more."""
    if result == "bridged":
        return LegState.COMPLETED
    return LegState.CANCELED if result == "hangup" or reached in TERMINAL_STATUSES else LegState.NO_ANSWER


@from_carrier
def briefing(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The colleague has answered, and hears what it is about; the caller is on hold. What the agent wrote is in the
    leg's row; without it the colleague is still asked."""
    parent, business_id, key = _parent_of(request), _business_of(request), _key_of(request)
    if business_id is None:
        logger.error("a leg of no business", extra={"call_sid": parent, "state": "answered"})
        return twiml(twilio.hang_up())
    told = Briefing()
    try:
        told = answering.briefing(parent, business_id, key, BRIEFING_DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("a colleague is not briefed", extra={"call_sid": parent, "error": str(error)})
    holding.note_sid(parent, key, call_sid)
    _save_leg(parent, request, state=LegState.ANSWERED, leg_sid=call_sid)
    if holding.is_over(parent, business_id, key):
        return _caller_gone(told.language)
    words = [phrase("briefing", told.language), told.text, phrase("take_it", told.language)]
    about = {**dict(request.GET.items()), "language": told.language}
    return twiml(twilio.brief(" ".join(word for word in words if word), told.language, about, KEY_SECONDS))


@from_carrier
def answer(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The colleague has pressed a key, or none: only one of them takes the call."""
    pressed, language = request.POST.get("Digits", ""), request.GET.get("language", "en")
    parent, business_id, key = _parent_of(request), _business_of(request), _key_of(request)
    if pressed != TAKES_IT or business_id is None:
        _save_leg(parent, request, state=LegState.REFUSED, reason="said_no" if pressed else "no_key", leg_sid=call_sid)
        holding.note_over(parent, key)
        return twiml(twilio.hang_up())
    _save_leg(parent, request, state=LegState.ACCEPTED, leg_sid=call_sid)
    if holding.is_over(parent, business_id, key):
        return _caller_gone(language)
    seconds = number_of(request.GET.get("seconds", "")) or holding.LONGEST_CALL_SECONDS
    gone = phrase("caller_gone", language)
    return twiml(twilio.take_from_queue(holding.name_of(parent, key), seconds, gone, language))


def _caller_gone(language: str) -> HttpResponse:
    return twiml(twilio.say_and_hang_up(phrase("caller_gone", language), language))


# --- Callbacks of a leg -----------------------------------------------------------------------------------------


@from_carrier
def leg_status(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The carrier says how far a leg is, in any order; `call_sid` is the leg's own."""
    reached, parent = request.POST.get("CallStatus", ""), _parent_of(request)
    state = _STATES.get(reached)
    if state is None or not twilio.is_call_sid(parent):
        return HttpResponse("Unknown leg or status\n", status=400, content_type="text/plain")
    reason = ""
    if request.GET.get("call"):
        state, reason = _of_a_colleague_asked_first(request, parent, call_sid, state)
    at = utc_of(request.POST.get("Timestamp", ""))
    _save_leg(
        parent,
        request,
        state=state,
        reason=reason,
        leg_sid=call_sid,
        answered_at=at if state == LegState.ANSWERED else "",
        ended_at=at if reached in TERMINAL_STATUSES else "",
        duration_seconds=number_of(request.POST.get("CallDuration", "")),
    )
    return HttpResponse(status=204)


def _of_a_colleague_asked_first(
    request: HttpRequest, parent: str, call_sid: str, state: LegState
) -> tuple[LegState, str]:
    """The state that this means, and why. To answer is not yet to take the call: who was joined to the caller is known
    by the caller's end (`hold_ended`), which counts more. And whoever is called off while it rings has not answered."""
    business_id, key = _business_of(request), _key_of(request)
    holding.note_sid(parent, key, call_sid)
    if request.POST["CallStatus"] in TERMINAL_STATUSES:
        holding.note_over(parent, key)
    elif business_id is not None and holding.is_known_to_be_over(parent, key):
        holding.call_off(parent, business_id, key)
    if state == LegState.COMPLETED:
        return LegState.REFUSED, "no_key"
    return (LegState.NO_ANSWER if state == LegState.CANCELED else state), ""


def _save_leg(call_sid: str, request: HttpRequest, *, state: LegState, **facts: Any) -> None:
    """Which leg of which business is in the address; nobody else writes it."""
    business_id, key = _business_of(request), _key_of(request)
    if business_id is None or not key or not twilio.is_call_sid(call_sid):
        logger.error("a leg of no business", extra={"call_sid": call_sid, "state": state.value})
        return
    recorder.get_recorder().save_leg(call_sid=call_sid, business_id=business_id, key=key, state=state.value, **facts)


def _parent_of(request: HttpRequest) -> str:
    """The caller's call."""
    return request.GET.get("call") or request.POST.get("ParentCallSid", "")


def _business_of(request: HttpRequest) -> int | None:
    return number_of(request.GET.get("business", "")) or None


def _key_of(request: HttpRequest) -> str:
    return request.GET.get("leg", "")
