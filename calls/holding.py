"""A caller on hold while a colleague is called, told what it is about, and asked.

The caller waits in a queue of the carrier's that is this leg's alone, and the carrier asks for what is heard there anew
every few seconds (calls.transfer_views.hold): so whatever is lost, a process, a job, a callback or the colleague's call
itself, the caller is back with the agent when the colleague's call is known to be over, or when the time is up that the
address says. The colleague is called through the carrier's API, by a thread of this process, once the leg has its row;
the row is claimed, so that a webhook which is sent again calls nobody twice.

That a leg is over is remembered here, told to the other processes by the cache, and in the row; any one will do. A
colleague's call that calls back when nobody waits for it any more is ended.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from typing import TypeVar

from calls import answering, recorder
from calls.answering import LookupFailed
from calls.carriers import twilio_dialling, twilio_rest
from calls.carriers.twilio_dialling import Declined, OutcomeUnknown, Placed
from calls.models import LegState
from calls.threads import BoundedPool, PoolBusy
from calls.transfers import LegToDial

Value = TypeVar("Value")

logger = logging.getLogger(__name__)

CLAIM_SECONDS = 2.0  # the caller hears silence meanwhile
LOOK_SECONDS = 0.5
# From the answer to the key: half a minute of briefing, ten seconds for a key, what the carrier says, and its own five.
ASKED_SECONDS = 75
LONGEST_CALL_SECONDS = 4 * 3600  # that the carrier takes
_SHARED_SECONDS = 3600
_REMEMBERED = 1000

_calls = BoundedPool("call-colleague", threads=4, queued=64)
_ends = BoundedPool("call-colleague-off", threads=4, queued=256)

_lock = threading.Lock()
_over: OrderedDict[str, None] = OrderedDict()  # names of legs that are over, or that nobody waits for any more
_held: OrderedDict[str, tuple[int, str]] = OrderedDict()  # by CallSid: business and leg
_sids: OrderedDict[str, str] = OrderedDict()  # by the name of the leg: the colleague's call


def name_of(call_sid: str, key: str) -> str:
    """Of a leg's queue, 64 characters at most. Nothing of anybody is in it."""
    return "hold-" + hashlib.sha256(f"{call_sid}/{key}".encode()).hexdigest()[:48]


def begin(call_sid: str, leg: LegToDial, from_number: str) -> int | None:
    """Have the colleague called, unless that has been done; return until when the caller may be held (seconds since
    1970), or None: the colleague is not called, since there is no row that says so."""
    try:
        is_ours = answering.claim_leg(call_sid, leg, CLAIM_SECONDS)
    except LookupFailed as error:
        logger.error("a colleague is not called: no row", extra={"call_sid": call_sid, "error": str(error)})
        _save(call_sid, leg.business_id, leg.key, LegState.FAILED, reason="not_placed")
        return None
    _remember(_held, call_sid, (leg.business_id, leg.key))
    if is_ours:
        try:
            _calls.submit(lambda: _call(call_sid, leg, from_number))
        except PoolBusy:
            _not_called(call_sid, leg, "busy")
    return int(time.time()) + leg.ring_seconds + ASKED_SECONDS


def _call(call_sid: str, leg: LegToDial, from_number: str) -> None:
    if not twilio_rest.is_available():
        _not_called(call_sid, leg, "no_carrier")
        return
    outcome = twilio_dialling.place_leg(
        to=leg.number,
        from_number=from_number,
        about={"business": leg.business_id, "leg": leg.key, "call": call_sid, "seconds": leg.max_seconds},
        ring_seconds=leg.ring_seconds,
        max_seconds=min(leg.max_seconds + ASKED_SECONDS, LONGEST_CALL_SECONDS),
    )
    match outcome:
        case Placed(call_sid=leg_sid):
            note_sid(call_sid, leg.key, leg_sid)
            _save(call_sid, leg.business_id, leg.key, LegState.ASKED, leg_sid=leg_sid)
            if is_known_to_be_over(call_sid, leg.key):  # the caller did not wait for it
                _end(call_sid, leg.business_id, leg.key)
        case Declined(code=code):
            _not_called(call_sid, leg, f"carrier_{code}")
        case OutcomeUnknown(reason=reason):  # if there is a call after all, it is ended when it calls back
            _not_called(call_sid, leg, reason)


def _not_called(call_sid: str, leg: LegToDial, why: str) -> None:
    logger.error("a colleague could not be called", extra={"call_sid": call_sid, "reason": why})
    _save(call_sid, leg.business_id, leg.key, LegState.FAILED, reason="not_placed")
    note_over(call_sid, leg.key)


def _save(call_sid: str, business_id: int, key: str, state: LegState, *, leg_sid: str = "", reason: str = "") -> None:
    recorder.get_recorder().save_leg(
        call_sid=call_sid, business_id=business_id, key=key, state=state.value, leg_sid=leg_sid, reason=reason
    )


# --- Whether there is still somebody to wait for ----------------------------------------------------------------


def note_over(call_sid: str, key: str) -> None:
    """The colleague will not take the call, or nobody waits for them any more."""
    name = name_of(call_sid, key)
    _remember(_over, name, None)
    answering.share(f"over:{name}", "1", _SHARED_SECONDS)


def is_known_to_be_over(call_sid: str, key: str) -> bool:
    """As far as this process knows."""
    with _lock:
        return name_of(call_sid, key) in _over


def is_over(call_sid: str, business_id: int, key: str) -> bool:
    """As far as this process, the cache or the row knows; False when none of them does."""
    if is_known_to_be_over(call_sid, key):
        return True
    if answering.shared(f"over:{name_of(call_sid, key)}", LOOK_SECONDS):
        return True
    try:
        return answering.known_leg(call_sid, business_id, key, LOOK_SECONDS).is_over
    except LookupFailed as error:
        logger.warning("unknown whether a colleague is gone", extra={"call_sid": call_sid, "error": str(error)})
        return False


# --- The end ----------------------------------------------------------------------------------------------------


def note_sid(call_sid: str, key: str, leg_sid: str) -> None:
    _remember(_sids, name_of(call_sid, key), leg_sid)


def caller_gone(call_sid: str) -> None:
    """The carrier says that this call is over. Should the caller have been on hold, nobody waits any more."""
    with _lock:
        held = _held.pop(call_sid, None)
    if held is not None:
        call_off(call_sid, *held)


def parted(call_sid: str) -> None:
    """The caller is not on hold any more, and has no need of anything to be called off."""
    with _lock:
        _held.pop(call_sid, None)


def call_off(call_sid: str, business_id: int, key: str) -> None:
    """Nobody waits any more: end the colleague's call, if there is one. Returns at once."""
    note_over(call_sid, key)
    parted(call_sid)
    try:
        _ends.submit(lambda: _end(call_sid, business_id, key))
    except PoolBusy:
        logger.error("a colleague's call is not ended", extra={"call_sid": call_sid, "error": "busy"})


def _end(call_sid: str, business_id: int, key: str) -> None:
    """Not known yet which call it is, it is ended when it calls back."""
    with _lock:
        leg_sid = _sids.get(name_of(call_sid, key), "")
    if not leg_sid:
        try:
            leg_sid = answering.known_leg(call_sid, business_id, key, CLAIM_SECONDS).leg_sid
        except LookupFailed:
            return
    if leg_sid and twilio_rest.is_available() and not twilio_dialling.end(leg_sid):
        logger.error("a colleague's call is not ended", extra={"call_sid": call_sid, "error": "carrier"})


def delete_queue(queue_sid: str) -> None:
    """The caller has left it. Returns at once; an empty queue that stays does no harm."""
    if queue_sid and twilio_rest.is_available():
        try:
            _ends.submit(lambda: _delete_queue(queue_sid))
        except PoolBusy:
            logger.warning("a queue is left behind", extra={"queue": queue_sid})


def _delete_queue(queue_sid: str) -> None:
    if not twilio_dialling.delete_queue(queue_sid):
        logger.warning("a queue is left behind", extra={"queue": queue_sid})


def _remember(known: OrderedDict[str, Value], name: str, value: Value) -> None:
    with _lock:
        known[name] = value
        known.move_to_end(name)
        while len(known) > _REMEMBERED:
            known.popitem(last=False)


def forget() -> None:
    """For tests, where CallSids come back."""
    with _lock:
        for known in (_over, _held, _sids):
            known.clear()
