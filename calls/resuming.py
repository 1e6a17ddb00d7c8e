"""What becomes of a caller whose media stream has ended, and who may still be there: another stream, somebody else, or
a sentence. For the views that the carrier asks then; what a stream's number says is in its address.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from businesses.snapshots import AgentSnapshot
from calls import answering, holding, recorder, stream_tickets, streams, switchboard, voicemail
from calls.answering import Aftermath, LookupFailed
from calls.carriers import twilio
from calls.models import CallStatus, EndedReason, LegKind, LegState
from calls.phrases import phrase
from calls.signed import twiml

logger = logging.getLogger(__name__)

FORWARD = "forward"  # the key of a leg that no tool has asked for
DEADLINE_SECONDS = 0.5  # the caller hears silence while this is awaited

# A caller on hold asks again after each pause: about a minute in all.
MAX_HOLDS = 6
# While this process drains: until the balancer has noticed, or the next process has started.
MOVE_SECONDS, MAX_MOVES = 2, 5
_HELD = re.compile(r"[1-9]", re.ASCII)

# Not the model's failure: it would fail the next stream as well. Nobody has heard of a killed process's: "".
_RESUMABLE = frozenset({"", EndedReason.STREAM_LOST, EndedReason.NEVER_CONNECTED, EndedReason.SERVER_STOPPED})

# Neither the agent nor anybody else will talk to this caller, who may leave a message then.
_NOBODY_THERE = frozenset(
    {EndedReason.MODEL_FAILED, EndedReason.MODEL_REFUSED, EndedReason.MODEL_SILENT, EndedReason.TRANSFERRED}
)


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a call is, as the address says that the carrier asks: which stream has ended, how often the caller came
    back from somebody who was not reached, and how often a moment's patience was asked for."""

    number: int
    returned: int
    held: int

    @property
    def resumed(self) -> int:
        """How many of its streams took the place of one that was lost."""
        return self.number - self.returned


def stand_of(request: HttpRequest) -> Stand:
    """Anything but our own numbers counts as the last one there may be."""
    last = streams.MAX_RESUMPTIONS + streams.MAX_TRANSFERS
    number = _number(request, "stream", last, missing=last)
    return Stand(number, _number(request, "returned", streams.MAX_TRANSFERS, missing=0), times_held(request))


def _number(request: HttpRequest, name: str, most: int, *, missing: int) -> int:
    values = request.GET.getlist(name)
    if not values:
        return missing
    return int(values[0]) if len(values) == 1 and values[0] in map(str, range(most + 1)) else most


def times_held(request: HttpRequest) -> int:
    """How often this caller was asked to hold. Anything but our own numbers counts as often enough."""
    values = request.GET.getlist("held")
    if not values:
        return 0
    if len(values) == 1 and _HELD.fullmatch(values[0]) and int(values[0]) <= MAX_HOLDS:
        return int(values[0])
    return MAX_HOLDS


# --- Back to the agent ----------------------------------------------------------------------------------------


def resumed(request: HttpRequest, call_sid: str, reason: str, aftermath: Aftermath) -> HttpResponse | None:
    """The way to a new stream of a call that lost its last one; None when there is none, or it would be of no use."""
    stand = stand_of(request)
    if not _may_resume(reason, stand):
        return None
    return _to_the_agent(request, call_sid, aftermath, stand, came_back=False)


def back_to_the_agent(request: HttpRequest, call_sid: str, aftermath: Aftermath) -> HttpResponse:
    """Nobody was reached: the caller is with the agent again, so often; then somebody else is asked, or nobody is."""
    stand = stand_of(request)
    back = None
    if stand.returned < streams.MAX_TRANSFERS:
        back = _to_the_agent(request, call_sid, aftermath, stand, came_back=True)
    return back or handed_to_a_person(request, call_sid, EndedReason.TRANSFERRED, aftermath)


def _may_resume(reason: str, stand: Stand) -> bool:
    """Whether another stream can be expected to do better than the one that has ended."""
    if reason == EndedReason.SERVER_STOPPED and not settings.DRAIN_SECONDS:
        return False  # stopped without anybody to take over
    return reason in _RESUMABLE and stand.resumed < streams.MAX_RESUMPTIONS


def _to_the_agent(
    request: HttpRequest, call_sid: str, aftermath: Aftermath, stand: Stand, *, came_back: bool
) -> HttpResponse | None:
    agent = aftermath.agent
    if agent is None or aftermath.is_over:
        return None
    # A call in progress has its line already: it is only asked whether this process can carry it.
    refusal = switchboard.admit(call_sid, agent.business_id, time.monotonic())
    if not refusal:
        return _resume(request, call_sid, agent, stand, came_back=came_back)
    logger.warning("no room for a call", extra={"call_sid": call_sid, "reason": refusal, "held": stand.held})
    return come_again(request) if stand.held < MAX_MOVES else None


def _resume(
    request: HttpRequest, call_sid: str, agent: AgentSnapshot, stand: Stand, *, came_back: bool
) -> HttpResponse:
    """Connect the caller to a new stream of the same call. What was said is looked up when it opens (calls.doors)."""
    number, returned = stand.number + 1, stand.returned + came_back
    switchboard.expect(agent)
    ticket, token = ticket_for(request, call_sid, agent, number, came_back=came_back)
    why = "nobody was reached" if came_back else "its stream was lost"
    logger.warning("a call goes on in another stream", extra={"call_sid": call_sid, "stream": number, "reason": why})
    return twiml(
        twilio.answer_with_stream(
            call_sid=call_sid, ticket=ticket, token=token, stream_number=number, times_returned=returned
        )
    )


def ticket_for(
    request: HttpRequest, call_sid: str, agent: AgentSnapshot, number: int, *, came_back: bool = False
) -> tuple[str, str]:
    return stream_tickets.issue(
        call_sid=call_sid,
        account_sid=request.POST["AccountSid"],
        business_id=agent.business_id,
        agent_version_id=agent.version_id,
        from_number=request.POST.get("From", ""),
        to_number=request.POST.get("To", ""),
        direction=request.POST.get("Direction", "inbound"),
        stream_number=number,
        came_back=came_back,
    )


def come_again(request: HttpRequest) -> HttpResponse:
    """Let the caller wait a moment, in silence, and have the carrier ask again: by then perhaps another process."""
    asked = {name: values[0] for name, values in request.GET.lists()}
    query = urlencode({**asked, "held": times_held(request) + 1})
    return twiml(twilio.hold_and_come_again(f"{settings.PUBLIC_URL}{request.path}?{query}", MOVE_SECONDS))


# --- To somebody else -----------------------------------------------------------------------------------------


def put_through(request: HttpRequest, call_sid: str, aftermath: Aftermath) -> HttpResponse:
    """The agent has said its goodbye and asked for a colleague: dial, or go back to the agent."""
    stand = stand_of(request)
    asked = switchboard.transfer(call_sid) or answering.transfer_told(call_sid, DEADLINE_SECONDS)
    try:
        leg = answering.leg_to_dial(call_sid, _numbers(request), asked, DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.error("nobody to dial is known", extra={"call_sid": call_sid, "error": str(error), "held": stand.held})
        leg = None
    if leg is None:  # the row may be there in a moment
        return come_again(request) if stand.held < MAX_MOVES else back_to_the_agent(request, call_sid, aftermath)
    refusal = leg.refusal or ("per_call" if stand.returned >= streams.MAX_TRANSFERS else "")
    recorder.get_recorder().save_leg(
        call_sid=call_sid,
        business_id=leg.business_id,
        key=leg.key,
        kind=leg.kind,
        target_name=leg.target_name,
        number=leg.number,
        state=(LegState.REFUSED if refusal else LegState.ASKED).value,
        reason=refusal,
    )
    if refusal:
        logger.warning("a caller is not put through", extra={"call_sid": call_sid, "reason": refusal})
        return back_to_the_agent(request, call_sid, aftermath)
    about = {"business": leg.business_id, "leg": leg.key}
    so_far = {"stream": stand.number, "returned": stand.returned}
    if leg.kind == LegKind.WARM:
        until = holding.begin(call_sid, leg, _our_line(request))
        if until is None:
            return back_to_the_agent(request, call_sid, aftermath)
        queue = holding.name_of(call_sid, leg.key)
        return twiml(twilio.hold(queue=queue, about=about, stand=so_far, until=until))
    return twiml(
        twilio.put_through(
            number=leg.number,
            caller_id=_our_number(request),
            ring_seconds=leg.ring_seconds,
            max_seconds=leg.max_seconds,
            about=about,
            stand=so_far,
        )
    )


def _our_line(request: HttpRequest) -> str:
    """Our number in this call, whoever called whom."""
    return request.POST.get("From" if request.POST.get("Direction", "").startswith("outbound") else "To", "")


def _our_number(request: HttpRequest) -> str:
    """What the colleague's telephone shows where it cannot show the caller's number: Twilio takes one of ours only,
    or that of a caller who has one."""
    ours, caller = _our_line(request), request.POST.get("From", "")
    return "" if caller != ours and re.fullmatch(r"\+[1-9]\d{6,14}", caller) else ours


def forward(call_sid: str, business_id: int, number: str) -> str:
    """The document that puts the caller through to the business's own number, without an agent: a leg as one that an
    agent asks for, but for the dial policy, which is for what agents and callers choose."""
    recorder.get_recorder().save_leg(
        call_sid=call_sid,
        business_id=business_id,
        key=FORWARD,
        kind=LegKind.FORWARD.value,
        number=number,
        state=LegState.ASKED.value,
        asked_at=timezone.now().isoformat(),
    )
    return twilio.forward_to(number, {"business": business_id, "leg": FORWARD})


def handed_to_a_person(request: HttpRequest, call_sid: str, reason: str, aftermath: Aftermath) -> HttpResponse:
    number = aftermath.forwarding_number
    extra = {"call_sid": call_sid, "reason": reason or "unknown", "forwarded": bool(number)}
    logger.warning("caller was cut off", extra=extra)
    if number and aftermath.business_id is not None:
        return twiml(forward(call_sid, aftermath.business_id, number))
    if reason in _NOBODY_THERE and aftermath.business_id is not None and request.POST.get("Direction") == "inbound":
        return voicemail.take_over(request, call_sid, aftermath.business_id, aftermath.language)
    record_end(request, call_sid, CallStatus.COMPLETED.value)  # we hang up: no callback is needed to know it
    return twiml(twilio.say_and_hang_up(phrase("cut_off", aftermath.language), aftermath.language))


# --- The end --------------------------------------------------------------------------------------------------


def record_end(request: HttpRequest, call_sid: str, reached: str) -> None:
    """What is known of the end of a call without its status callback, which may be lost. Should the database not say
    in time whose call it is, the callback or the reaper will."""
    switchboard.call_over(call_sid)
    try:
        business_id = answering.business_of(call_sid, _numbers(request), DEADLINE_SECONDS)
    except LookupFailed as error:
        logger.warning("end of a call not stored yet", extra={"call_sid": call_sid, "error": str(error)})
        return
    if business_id is not None:
        recorder.get_recorder().apply_call_status(
            call_sid=call_sid, business_id=business_id, status=reached, sequence_number=0
        )


def _numbers(request: HttpRequest) -> list[str]:
    return [request.POST.get("To", ""), request.POST.get("From", "")]
