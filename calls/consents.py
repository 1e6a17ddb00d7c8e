"""Whether a caller knows that the call is recorded, and what the caller says to it: asked before the agent answers.

Only a yes counts as one: any other key is a no, and so is silence. The question is put once.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from businesses.models import RecordingMode
from calls.carriers import twilio
from calls.models import RecordingConsent
from calls.phrases import phrase
from calls.signed import twiml

YES = "1"
WAIT_SECONDS = 5
_ANSWERS = (RecordingConsent.GRANTED, RecordingConsent.REFUSED, RecordingConsent.UNANSWERED)


def ask(language: str) -> HttpResponse:
    address = f"{settings.PUBLIC_URL}/twilio/consent/"
    return twiml(twilio.ask_for_a_key(address, phrase("may_record", language), language, WAIT_SECONDS))


def given(request: HttpRequest) -> str:
    """What the caller answered: now, or before being asked to hold."""
    told = request.GET.get("given", "")
    if told in _ANSWERS:
        return told
    match request.POST.get("Digits", ""):
        case "":
            return RecordingConsent.UNANSWERED.value
        case key:
            return (RecordingConsent.GRANTED if key == YES else RecordingConsent.REFUSED).value


def kept(request: HttpRequest) -> str:
    """What an address has to carry so that a caller who comes back to it is not asked again."""
    return f"given={given(request)}&" if request.path == "/twilio/consent/" else ""


def recorded(business_id: int, mode: RecordingMode, consent: str, language: str) -> twilio.Recorded | None:
    """How the call is recorded; None: it is not. `consent` is empty for a caller who was not asked."""
    if consent == RecordingConsent.GRANTED:
        return twilio.Recorded(business_id, consent)
    if mode == RecordingMode.ANNOUNCE and not consent:
        return twilio.Recorded(business_id, RecordingConsent.ANNOUNCED.value, phrase("recorded", language), language)
    return None
