"""Whether a caller knows that the call is recorded, and what the caller says to it: asked before the agent answers.

Only a yes counts as one, by the key 1 or said plainly: any other key is a no, and so is silence. Words that are no
clear answer are asked about once more, and then they are a no as well. What was said is looked at here, and not kept.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from businesses.models import RecordingMode
from calls import spoken_consent
from calls.carriers import twilio
from calls.models import RecordingConsent
from calls.phrases import phrase
from calls.signed import twiml
from calls.spoken_consent import Said

YES = "1"
WAIT_SECONDS = 5
SURE = 0.6  # of 1.0: Twilio's word for how well it understood, which has no unit; below it nothing was said
PATH = "/twilio/consent/"
_ANSWERS = (
    *(RecordingConsent.GRANTED, RecordingConsent.REFUSED, RecordingConsent.UNANSWERED, RecordingConsent.UNCLEAR),
    RecordingConsent.ASKED,
)


def ask(language: str, *, again: bool) -> HttpResponse:
    """The address carries the language of the question, which is that of the answer."""
    address = f"{settings.PUBLIC_URL}{PATH}?language={language}{'&again=1' if again else ''}"
    question = phrase("may_record_again" if again else "may_record", language)
    words = spoken_consent.hints(language)
    return twiml(twilio.ask_for_a_key(address, question, language, WAIT_SECONDS, words))


def given(request: HttpRequest) -> RecordingConsent:
    """What the caller answered: now, or before being asked to hold. ASKED: it was not understood, ask again."""
    told = request.GET.get("given", "")
    if told in _ANSWERS:
        return RecordingConsent(told)
    key, speech = request.POST.get("Digits", ""), request.POST.get("SpeechResult", "")
    if key:
        return RecordingConsent.GRANTED if key == YES else RecordingConsent.REFUSED
    if not speech:
        return RecordingConsent.UNANSWERED
    match _understood(speech, request.POST.get("Confidence", ""), request.GET.get("language", "")):
        case Said.YES:
            return RecordingConsent.GRANTED
        case Said.NO:
            return RecordingConsent.REFUSED
        case Said.UNCLEAR:
            return RecordingConsent.UNCLEAR if request.GET.get("again") else RecordingConsent.ASKED


def _understood(speech: str, confidence: str, language: str) -> Said:
    try:
        sure = float(confidence) >= SURE  # not so for "nan"
    except ValueError:
        sure = False
    return spoken_consent.consent_of(speech, language) if sure else Said.UNCLEAR


def kept(request: HttpRequest) -> str:
    """What an address has to carry so that a caller who comes back to it is not asked again."""
    return f"given={given(request).value}&" if request.path == PATH else ""


def recorded(business_id: int, mode: RecordingMode, consent: str, language: str) -> twilio.Recorded | None:
    """How the call is recorded; None: it is not. `consent` is empty for a caller who was not asked."""
    if consent == RecordingConsent.GRANTED:
        return twilio.Recorded(business_id, consent)
    if mode == RecordingMode.ANNOUNCE and not consent:
        return twilio.Recorded(business_id, RecordingConsent.ANNOUNCED.value, phrase("recorded", language), language)
    return None
