"""A running recording, paused while a caller types what nobody may have, and resumed.

https://www.twilio.com/docs/voice/api/recording: "Twilio.CURRENT" stands for the recording that is running. During the
pause the recording has silence, so that its times remain those of the call. Blocking: for threads.
"""

from __future__ import annotations

import time
from enum import Enum

import requests

# Loaded with the server: by itself the client loads it at its first use, a third of a second in the middle of a call.
import twilio.rest.api.v2010.account.call.recording  # noqa: F401
from twilio.base.exceptions import TwilioException, TwilioRestException

from calls.carriers import twilio_rest

PAUSE_SECONDS = 3.0
RESUME_SECONDS = 5.0
RESUME_TRIES = 3
RESUME_WAIT_SECONDS = 1.0

_CURRENT = "Twilio.CURRENT"
_NOT_FOUND = 20404


class Paused(Enum):
    PAUSED = "paused"
    NOT_RECORDED = "not_recorded"  # there is no recording that could hear anything
    UNKNOWN = "unknown"  # it may be running, or paused


def pause(call_sid: str) -> Paused:
    """Never raises for what the network or Twilio does. The simulated carrier without an API has no recordings that
    anybody could hear."""
    if not twilio_rest.is_available():
        return Paused.NOT_RECORDED
    try:
        recording = twilio_rest.client(PAUSE_SECONDS).calls(call_sid).recordings(_CURRENT)
        status = recording.update(status="paused", pause_behavior="silence").status
    except TwilioRestException as error:
        return Paused.NOT_RECORDED if (error.status, error.code) == (404, _NOT_FOUND) else Paused.UNKNOWN
    except (TwilioException, requests.RequestException, ValueError):
        return Paused.UNKNOWN
    return Paused.PAUSED if str(getattr(status, "value", status)) == "paused" else Paused.UNKNOWN


def resume(call_sid: str) -> bool:
    """Try a few times, and return whether Twilio took it. A call that is over has nothing to resume, and is well; so
    has the simulated carrier without an API."""
    if not twilio_rest.is_available():
        return True
    for attempt in range(RESUME_TRIES):
        if attempt:
            time.sleep(RESUME_WAIT_SECONDS)
        try:
            recording = twilio_rest.client(RESUME_SECONDS).calls(call_sid).recordings(_CURRENT)
            recording.update(status="in-progress")
        except TwilioRestException as error:
            if error.status in {400, 404}:
                return True
        except (TwilioException, requests.RequestException, ValueError):
            continue
        else:
            return True
    return False
