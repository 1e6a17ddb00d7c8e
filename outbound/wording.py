"""What a short code of an outbound call says to a person. Pure."""

from __future__ import annotations

from calls.dial_policy import SENTENCES

_REASONS = {
    **SENTENCES,
    "inactive_business": "The business is switched off.",
    "not_published": "The agent has no published version.",
    "no_carrier": "This server has no carrier that it could ask for a call.",
    "lines_busy": "All lines for outbound calls are busy. It is tried again in a moment.",
    "calling_hours": "It is not a good time of day to call there. It is tried again later.",
    "not_placed": "The carrier did not answer, and has no such call.",
    "worker_lost": "The process that asked the carrier died. The carrier is being asked.",
    "taken_back": "Taken back before it was dialled.",
    "busy": "It was busy. This is the next attempt.",
    "no-answer": "Nobody answered. This is the next attempt.",
    "timeout": "The carrier did not answer in time. It is being asked.",
}


def reason(code: str) -> str:
    """The reason in words; a code of the carrier's with its number, to be looked up there."""
    if code.startswith("carrier_"):
        number = code.removeprefix("carrier_")
        return f"The carrier said no: https://www.twilio.com/docs/api/errors/{number}"
    return _REASONS.get(code, code)
