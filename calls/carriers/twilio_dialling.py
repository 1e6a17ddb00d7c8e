"""Twilio's REST API where it makes calls, changes them, and lists those to one number. For workers, and for threads
that nobody waits for.

https://www.twilio.com/docs/voice/api/call-resource
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException, TwilioRestException

from calls.carriers import twilio, twilio_rest
from calls.carriers.answers import CarrierCall, CarrierUnreachable
from calls.threads import BoundedPool, PoolBusy

DEADLINE_SECONDS = 8.0
STATUS_EVENTS = ("initiated", "ringing", "answered", "completed")

_pool = BoundedPool("twilio-dial", threads=4, queued=4)


@dataclass(frozen=True, slots=True)
class Placed:
    call_sid: str


@dataclass(frozen=True, slots=True)
class Declined:
    """There is no call. `code` is Twilio's; `come_again`: it was only too much at once."""

    code: int
    come_again: bool = False


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """There may be a call, or not. `reason` is a short code."""

    reason: str


Outcome = Placed | Declined | OutcomeUnknown


def place(*, to: str, from_number: str, token: str, ring_seconds: int, max_seconds: int) -> Outcome:
    """Ask for one call, whose addresses carry `token`. Never raises for what the network or Twilio does.

    Machine detection is asynchronous, so that a person who answers hears the agent at once.
    """
    parameters = {
        "to": to,
        "from_": from_number,
        "url": _address("voice", token),
        "method": "POST",
        "status_callback": _address("status", token),
        "status_callback_method": "POST",
        "status_callback_event": list(STATUS_EVENTS),
        "timeout": ring_seconds,
        "time_limit": max_seconds,
        "machine_detection": "DetectMessageEnd",
        "async_amd": "true",
        "async_amd_status_callback": _address("machine", token),
        "async_amd_status_callback_method": "POST",
    }
    return _placed(parameters)


def place_leg(
    *, to: str, from_number: str, about: Mapping[str, object], ring_seconds: int, max_seconds: int
) -> Outcome:
    """Ask for a call to a colleague, who is told then what it is about. `about` says which leg of which call it is, in
    each address; it holds nothing of the caller's. Never raises for what the network or Twilio does."""
    return _placed(
        {
            "to": to,
            "from_": from_number,
            "url": twilio.address_of("transfer-briefing", about),
            "method": "POST",
            "status_callback": twilio.address_of("leg-status", about),
            "status_callback_method": "POST",
            "status_callback_event": list(STATUS_EVENTS),
            "timeout": ring_seconds,
            "time_limit": max_seconds,
        }
    )


def _placed(parameters: dict[str, Any]) -> Outcome:
    try:
        return _pool.run(lambda: _create(parameters), DEADLINE_SECONDS + 1)
    except PoolBusy:
        return Declined(0, come_again=True)  # not even begun
    except TimeoutError:
        return OutcomeUnknown("timeout")


def _create(parameters: dict[str, Any]) -> Outcome:
    try:
        call = twilio_rest.client(DEADLINE_SECONDS).calls.create(**parameters)
    except TwilioRestException as error:
        if error.status == 429:
            return Declined(error.code or 429, come_again=True)
        if 400 <= error.status < 500:
            return Declined(error.code or error.status)
        return OutcomeUnknown(str(error.status))
    except requests.ConnectTimeout:
        return Declined(0, come_again=True)  # it was not sent
    except (TwilioException, requests.RequestException, ValueError) as error:
        return OutcomeUnknown(type(error).__name__)
    return Placed(str(call.sid)) if twilio.is_call_sid(str(call.sid)) else OutcomeUnknown("no CallSid")


def calls_to(to: str, from_number: str, since: datetime) -> list[CarrierCall]:
    """The calls that we placed to this number after `since`, as far as Twilio shows them yet, the oldest first. Raise
    CarrierUnreachable."""
    failure = ""
    try:
        return _pool.run(lambda: _list(to, from_number, since), DEADLINE_SECONDS + 1)
    except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError) as error:
        failure = type(error).__name__
    raise CarrierUnreachable(failure)  # outside the handler: Twilio's errors quote its answers


def _list(to: str, from_number: str, since: datetime) -> list[CarrierCall]:
    # Not filtered by start_time: a call that is still queued has none.
    page = twilio_rest.client(DEADLINE_SECONDS).calls.page(to=to, from_=from_number, page_size=100)
    found = [(call.date_created, twilio_rest.read(call)) for call in page]
    ours = [(at, call) for at, call in found if call.direction == "outbound-api" and at is not None and at >= since]
    return [call for _, call in sorted(ours, key=lambda pair: pair[0])]


def say_to_machine_and_hang_up(call_sid: str, text: str, language: str) -> bool:
    """Take a live call away from its agent: say `text`, if there is any, and hang up. Return whether Twilio took it: a
    call that is over already is not changed. Raise CarrierUnreachable."""
    document = twilio.say_and_hang_up(text, language) if text else twilio.hang_up()
    failure = ""
    try:
        return _pool.run(lambda: _update(call_sid, document), DEADLINE_SECONDS + 1)
    except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError) as error:
        failure = type(error).__name__
    raise CarrierUnreachable(failure)


def _update(call_sid: str, document: str) -> bool:
    try:
        twilio_rest.client(DEADLINE_SECONDS).calls(call_sid).update(twiml=document)
    except TwilioRestException as error:
        if error.status in {400, 404}:
            return False
        raise
    return True


def end(call_sid: str) -> bool:
    """End a call, ringing or answered. Return whether Twilio took it, or has no such call any more. Never raises."""
    try:
        return _pool.run(lambda: _end(call_sid), DEADLINE_SECONDS + 1)
    except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError):
        return False


def _end(call_sid: str) -> bool:
    try:
        twilio_rest.client(DEADLINE_SECONDS).calls(call_sid).update(status="completed")
    except TwilioRestException as error:
        return bool(error.status in {400, 404})
    return True


def delete_queue(queue_sid: str) -> bool:
    """Delete an empty queue: they stay for ever otherwise. Return whether it is gone. Never raises."""
    try:
        return _pool.run(lambda: _delete_queue(queue_sid), DEADLINE_SECONDS + 1)
    except (TwilioException, requests.RequestException, TimeoutError, PoolBusy, ValueError):
        return False


def _delete_queue(queue_sid: str) -> bool:
    try:
        return bool(twilio_rest.client(DEADLINE_SECONDS).queues(queue_sid).delete())
    except TwilioRestException as error:
        return bool(error.status == 404)


def _address(what: str, token: str) -> str:
    return twilio.with_retries(f"{settings.PUBLIC_URL}/twilio/outbound/{what}/?o={token}")
