"""What the carrier says of somebody who is called for a caller: how far that is, and how it ended.

The addresses carry the business and the leg, which the carrier does not know of; both are covered by the signature. A
leg's callbacks are about a call of its own, and name the caller's as its parent.
"""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest, HttpResponse

from calls import answering, recorder, resuming
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
            reason="no_key" if ended == LegState.REFUSED else "",
            leg_sid=request.POST.get("DialCallSid", ""),
            duration_seconds=number_of(request.POST.get("DialCallDuration", "")),
        )
        if reached in TERMINAL_STATUSES or ended == LegState.COMPLETED:
            over = reached if reached in TERMINAL_STATUSES else CallStatus.COMPLETED.value
            resuming.record_end(request, call_sid, over)
            return twiml(twilio.hang_up())
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
        unsaid = "" if request.GET.get("asked") else "true"  # to answer is not yet to take the call
        is_joined = request.POST.get("DialBridged", unsaid) == "true"
        return LegState.COMPLETED if is_joined else LegState.REFUSED
    return LegState.CANCELED if request.POST.get("CallStatus", "") in TERMINAL_STATUSES else ended


@from_carrier
def briefing(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The colleague has answered, and hears what it is about before the two are joined; the caller hears it ring. What
    the agent wrote is in the leg's row; without it the colleague is still asked."""
    parent, business_id, key = request.POST.get("ParentCallSid", ""), _business_of(request), _key_of(request)
    told = Briefing()
    if business_id is not None:
        try:
            told = answering.briefing(parent, business_id, key, BRIEFING_DEADLINE_SECONDS)
        except LookupFailed as error:
            logger.error("a colleague is not briefed", extra={"call_sid": parent, "error": str(error)})
    _save_leg(parent, request, state=LegState.ANSWERED, leg_sid=call_sid)
    words = [phrase("briefing", told.language), told.text, phrase("take_it", told.language)]
    about = {"business": business_id or "", "leg": key}
    return twiml(twilio.brief(" ".join(word for word in words if word), told.language, about, KEY_SECONDS))


@from_carrier
def answer(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The colleague has pressed a key, or none: only one of them takes the call."""
    pressed = request.POST.get("Digits", "")
    takes_it = pressed == TAKES_IT
    _save_leg(
        request.POST.get("ParentCallSid", ""),
        request,
        state=LegState.ACCEPTED if takes_it else LegState.REFUSED,
        reason="" if takes_it else "said_no" if pressed else "no_key",
        leg_sid=call_sid,
    )
    return twiml(twilio.join() if takes_it else twilio.hang_up())


@from_carrier
def leg_status(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The carrier says how far a leg is, in any order; `call_sid` is the leg's own."""
    state = _STATES.get(request.POST.get("CallStatus", ""))
    parent = request.POST.get("ParentCallSid", "")
    if state is None or not twilio.is_call_sid(parent):
        return HttpResponse("Unknown leg or status\n", status=400, content_type="text/plain")
    at = utc_of(request.POST.get("Timestamp", ""))
    _save_leg(
        parent,
        request,
        state=state,
        leg_sid=call_sid,
        answered_at=at if state == LegState.ANSWERED else "",
        ended_at=at if request.POST["CallStatus"] in TERMINAL_STATUSES else "",
        duration_seconds=number_of(request.POST.get("CallDuration", "")),
    )
    return HttpResponse(status=204)


def _save_leg(call_sid: str, request: HttpRequest, *, state: LegState, **facts: Any) -> None:
    """Which leg of which business is in the address; nobody else writes it."""
    business_id, key = _business_of(request), _key_of(request)
    if business_id is None or not key or not twilio.is_call_sid(call_sid):
        logger.error("a leg of no business", extra={"call_sid": call_sid, "state": state.value})
        return
    recorder.get_recorder().save_leg(call_sid=call_sid, business_id=business_id, key=key, state=state.value, **facts)


def _business_of(request: HttpRequest) -> int | None:
    return number_of(request.GET.get("business", "")) or None


def _key_of(request: HttpRequest) -> str:
    return request.GET.get("leg", "")
