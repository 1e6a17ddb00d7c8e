"""A plain message after the tone, where nobody answers: the business is closed, or the speech model is down and there
is nobody to forward to.

Twilio says of the recording what it says of any (calls.recording_views); the message is made of that
(calls.parts.put_spoken_message), the file is fetched as any other, and analysis writes down what was said.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from calls import recorder
from calls.carriers import twilio
from calls.models import TERMINAL_STATUSES, CallStatus, RecordingConsent
from calls.phrases import phrase
from calls.signed import from_carrier, twiml

MAX_SECONDS = 180
SILENCE_SECONDS = 5
END_KEY = "#"


def ask(business_id: int, sentence: str, language: str) -> HttpResponse:
    """`sentence`: which of calls.phrases says why, and asks for a message."""
    tone = twilio.Tone(
        business_id=business_id,
        before=phrase(sentence, language),
        if_empty=phrase("nothing_said", language),
        language=language,
        after=f"{settings.PUBLIC_URL}/twilio/message-left/?language={language.partition('-')[0].lower()}",
        max_seconds=MAX_SECONDS,
        silence_seconds=SILENCE_SECONDS,
        end_key=END_KEY,
    )
    return twiml(twilio.take_message(tone))


def take_over(request: HttpRequest, call_sid: str, business_id: int, language: str) -> HttpResponse:
    """The caller was with an agent before: that a message is asked for also has to stand on the call's row."""
    recorder.get_recorder().create_call_log(
        call_sid=call_sid,
        business_id=business_id,
        from_number=request.POST.get("From", ""),
        to_number=request.POST.get("To", ""),
        direction="inbound",
        status=CallStatus.IN_PROGRESS.value,
        recording_consent=RecordingConsent.VOICEMAIL.value,
    )
    return ask(business_id, "leave_message", language)


@from_carrier
def message_left(request: HttpRequest, call_sid: str) -> HttpResponse:
    """The caller has spoken a message, and may still be there: say thanks. Needs no rows, so nothing can be down."""
    if request.POST.get("CallStatus", "") in TERMINAL_STATUSES:
        return twiml(twilio.hang_up())
    language = request.GET.get("language", "en")
    return twiml(twilio.say_and_hang_up(phrase("message_kept", language), language))
