"""Twilio's side of a call over HTTP: is a request really Twilio's, and what it is told to do (TwiML).

The only importer of the `twilio` package. Addresses are built from settings.PUBLIC_URL and the raw path and query,
never from the request's Host or X-Forwarded headers: whoever sends the request chooses those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, Dial, Gather, Start, VoiceResponse

CALL_SID = re.compile(r"CA[0-9a-f]{32}")
ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")

# XML 1.0 has no way to write these. The builder lets them through, and Twilio drops a call whose TwiML does not parse.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

QUEUE_SECONDS = 5  # the least that <Dial> takes: who took the call knows soon that its caller has gone

# What Twilio's <Say> calls our languages (twilio.com/docs/voice/twiml/say).
_SAY_LANGUAGES = {"de": "de-DE", "en": "en-US", "es": "es-ES", "fr": "fr-FR"}


def request_is_signed(request: HttpRequest) -> bool:
    """Whether the request carries Twilio's signature over its public address and its form, by any of our tokens."""
    url = settings.PUBLIC_URL + _raw_path(request)
    query = request.META.get("QUERY_STRING", "")
    if query:
        url = f"{url}?{query}"
    return _is_signed([url], request.POST, request.headers.get("X-Twilio-Signature"))


def handshake_is_signed(raw_path: str, signature: str | None) -> bool:
    """Whether the upgrade request of a media stream is signed. `raw_path` is undecoded, without the query string.

    Which form of the address Twilio signs is not documented to the letter: with and without the trailing slash, and
    with the port written out, are all tried (protocols, twilio A8).
    """
    bare = raw_path.rstrip("/")
    origins = [stream_origin()]
    if urlsplit(origins[0]).port is None:
        origins.append(f"{origins[0]}:443")
    return _is_signed([origin + path for origin in origins for path in (bare, f"{bare}/")], {}, signature)


def stream_origin() -> str:
    """PUBLIC_URL as a websocket address. Always wss: Twilio refuses anything else (error 31922)."""
    public_url: str = settings.PUBLIC_URL
    return "wss" + public_url[public_url.index(":") :]


def is_call_sid(value: str) -> bool:
    return CALL_SID.fullmatch(value) is not None


def is_our_account(value: str) -> bool:
    """A well-formed AccountSid that is the configured one. The shape matters: the signed text has no separators."""
    return ACCOUNT_SID.fullmatch(value) is not None and value == settings.TWILIO_ACCOUNT_SID


@dataclass(frozen=True, slots=True)
class Recorded:
    """The call is recorded from here on. The caller knows it by `consent`: "announced", by the sentence `announcement`
    before; or "granted"."""

    business_id: int
    consent: str
    announcement: str = ""
    language: str = "en"


def answer_with_stream(
    *,
    call_sid: str,
    ticket: str,
    token: str,
    stream_number: int = 0,
    times_returned: int = 0,
    recorded: Recorded | None = None,
) -> str:
    """Connect the caller to our media stream. Whatever ends the stream, Twilio then asks stream-ended what comes next:
    by `action`, and by the redirect if it should ever go on to the following verb. The address says which of the call's
    streams has ended, and how often its caller has come back from a transfer, so that whoever answers knows it without
    having been told."""
    returned = f"&returned={times_returned}" if times_returned else ""
    after = with_retries(f"{settings.PUBLIC_URL}/twilio/stream-ended/?stream={stream_number}{returned}")
    connect = Connect(action=after, method="POST")
    stream = connect.stream(url=f"{stream_origin()}/media/stream/{call_sid}/{ticket}/")
    stream.parameter(name="token", value=token)
    response = VoiceResponse()
    if recorded is not None:
        if recorded.announcement:
            response.say(_for_xml(recorded.announcement), language=_say_language(recorded.language))
        response.append(_start_recording(recorded))
    response.append(connect)
    response.redirect(after, method="POST")
    return str(response)


def _start_recording(recorded: Recorded) -> Start:
    """Caller and agent on a channel each. Twilio starts it before it goes on to the next verb, and goes on with it when
    the call is resumed by another document."""
    start = Start()
    start.recording(
        channels="dual",
        track="both",
        trim="do-not-trim",
        recording_status_callback=with_retries(
            f"{settings.PUBLIC_URL}/twilio/recording/?business={recorded.business_id}&consent={recorded.consent}"
        ),
        recording_status_callback_method="POST",
        recording_status_callback_event="in-progress completed absent",
    )
    return start


def ask_for_a_key(address: str, question: str, language: str, seconds: int, words: Sequence[str] = ()) -> str:
    """Ask the caller to press a key, and send it to `address`; also that none was pressed within `seconds`. With
    `words`, which are expected then, they may say something instead: Twilio writes down what it understands."""
    # A pause of its own for speech: with "auto" the first breath ends it, and "yes, but" is a yes.
    speech = {"language": _say_language(language), "hints": ", ".join(words), "speech_timeout": 2} if words else {}
    gather = Gather(
        action=with_retries(address),
        method="POST",
        input="dtmf speech" if words else "dtmf",
        num_digits=1,
        timeout=seconds,
        action_on_empty_result=True,
        **speech,
    )
    gather.say(_for_xml(question), language=_say_language(language))
    response = VoiceResponse()
    response.append(gather)
    response.redirect(with_retries(address), method="POST")
    return str(response)


@dataclass(frozen=True, slots=True)
class Tone:
    """A message after a tone: what is said before, and after one that was empty. `after` is asked what comes next."""

    business_id: int
    before: str
    if_empty: str
    language: str
    after: str
    max_seconds: int
    silence_seconds: int
    end_key: str


def take_message(tone: Tone) -> str:
    """Let the caller speak a message. An empty recording is told to nobody: Twilio then goes on in this document."""
    language = _say_language(tone.language)
    response = VoiceResponse()
    response.say(_for_xml(tone.before), language=language)
    response.record(
        action=with_retries(tone.after),
        method="POST",
        max_length=tone.max_seconds,
        timeout=tone.silence_seconds,
        finish_on_key=tone.end_key,
        play_beep=True,
        trim="trim-silence",
        recording_status_callback=with_retries(
            f"{settings.PUBLIC_URL}/twilio/recording/?business={tone.business_id}&consent=voicemail"
        ),
        recording_status_callback_method="POST",
        recording_status_callback_event="in-progress completed absent",
    )
    response.say(_for_xml(tone.if_empty), language=language)
    response.hangup()
    return str(response)


def with_retries(address: str) -> str:
    """The address with Twilio's connection overrides: a request that met a process which was just dying is sent again,
    perhaps to another one, instead of costing the caller the call. It is not signed over."""
    overrides: str = settings.TWILIO_CONNECTION_OVERRIDES
    return f"{address}#{overrides}" if overrides else address


def say_and_hang_up(text: str, language: str = "en") -> str:
    response = VoiceResponse()
    response.say(_for_xml(text), language=_say_language(language))
    response.hangup()
    return str(response)


def hold_and_come_again(address: str, seconds: int, text: str = "", language: str = "en") -> str:
    """Say `text`, if there is any, wait, and ask `address` again. Without a text a call that was not answered yet goes
    on ringing: Twilio waits for a <Pause> that comes first before it picks up."""
    response = VoiceResponse()
    if text:
        response.say(_for_xml(text), language=_say_language(language))
    response.pause(length=seconds)
    response.redirect(with_retries(address), method="POST")
    return str(response)


def forward_to(number: str, about: Mapping[str, object]) -> str:
    """Put the caller through to `number` (E.164); the call is over when they are done. `about` says which leg it is."""
    dial = Dial(answer_on_bridge=True)
    _ring(dial, number, about)
    response = VoiceResponse()
    response.append(dial)
    return str(response)


def put_through(
    *,
    number: str,
    caller_id: str,
    ring_seconds: int,
    max_seconds: int,
    about: Mapping[str, object],
    stand: Mapping[str, object],
) -> str:
    """Put the caller through to `number` (E.164) for a while, and ask what comes next however that ends. `about` says
    which leg it is, `stand` how far the call is; both come back in the addresses. `caller_id`: empty for the caller's
    own number."""
    dial = Dial(
        action=address_of("transfer-ended", {**about, **stand}),
        method="POST",
        timeout=ring_seconds,
        time_limit=max_seconds,
        caller_id=caller_id or None,
        answer_on_bridge=True,
    )
    _ring(dial, number, about)
    response = VoiceResponse()
    response.append(dial)
    return str(response)


def _ring(dial: Dial, number: str, about: Mapping[str, object]) -> None:
    dial.number(
        _for_xml(number),
        status_callback=address_of("leg-status", about),
        status_callback_event="initiated ringing answered completed",
        status_callback_method="POST",
    )


def hold(*, queue: str, about: Mapping[str, object], stand: Mapping[str, object], until: int) -> str:
    """Let the caller wait in the queue of that name (64 characters at most) for somebody who takes the call out of it,
    and ask what comes next when they have parted, or when what is heard meanwhile says that the caller shall leave."""
    response = VoiceResponse()
    response.enqueue(
        queue,
        action=address_of("hold-ended", {**about, **stand}),
        method="POST",
        wait_url=address_of("hold", {**about, "until": until}),
        wait_url_method="POST",
    )
    return str(response)


def play_and_come_again(file: str, address: str) -> str:
    """What a caller who waits hears, and then `address` is asked again. Not left to Twilio, which asks for a wait
    document anew when it has ended, but does not say so in its documents."""
    response = VoiceResponse()
    response.play(file)
    response.redirect(with_retries(address), method="POST")
    return str(response)


def leave_the_queue() -> str:
    response = VoiceResponse()
    response.leave()
    return str(response)


def take_from_queue(queue: str, max_seconds: int, if_gone: str, language: str) -> str:
    """At the colleague's end: talk to whoever waits in the queue; say `if_gone` when nobody does, or has hung up."""
    dial = Dial(timeout=QUEUE_SECONDS, time_limit=max_seconds)
    dial.queue(queue)
    response = VoiceResponse()
    response.append(dial)
    response.say(_for_xml(if_gone), language=_say_language(language))
    response.hangup()
    return str(response)


def brief(text: str, language: str, about: Mapping[str, object], seconds: int) -> str:
    """At the colleague's end: say what it is about, and ask for a key."""
    address = f"{settings.PUBLIC_URL}/twilio/transfer-answer/?{urlencode(about)}"
    return ask_for_a_key(address, text, language, seconds)


def address_of(what: str, query: Mapping[str, object]) -> str:
    """One of our addresses for the carrier, which comes back with `query`."""
    return with_retries(f"{settings.PUBLIC_URL}/twilio/{what}/?{urlencode(query)}")


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def _is_signed(urls: list[str], params: Mapping[str, object], signature: str | None) -> bool:
    if not signature:  # the library raises TypeError on None
        return False
    validators = [RequestValidator(token) for token in settings.TWILIO_AUTH_TOKENS if token]
    return any(validator.validate(url, params, signature) for validator in validators for url in urls)


def _raw_path(request: HttpRequest) -> str:
    """The path as it stood on the wire: Django's own is decoded."""
    scope = getattr(request, "scope", None) or {}
    raw = scope.get("raw_path")
    return raw.partition(b"?")[0].decode("latin-1") if raw else request.path


def _say_language(tag: str) -> str:
    return _SAY_LANGUAGES.get(tag.partition("-")[0].lower(), "en-US")


def _for_xml(text: str) -> str:
    return _NOT_IN_XML.sub("", text)
