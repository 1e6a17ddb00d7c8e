"""`<Play>` of a file: fetched once and kept, as Twilio does, and as long as its header says
(twilio.com/docs/voice/twiml/play)."""

import struct
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

AUDIO = frozenset(
    {"audio/mpeg", "audio/wav", "audio/wave", "audio/x-wav", "audio/aiff", "audio/x-aifc", "audio/x-aiff"}
    | {"audio/x-gsm", "audio/gsm", "audio/ulaw"}
)
UNKNOWN_SECONDS = 1.0  # of keys, and of what is no WAV file


async def length_of(call: "Call", document: Document, verb: Verb) -> float:
    """How long the file is, in seconds; what Twilio would not play becomes a complaint."""
    if not verb.text:
        return UNKNOWN_SECONDS
    url = urljoin(document.url, verb.text)
    if url not in call.played:
        answer = await call.request("play", "GET", url, {})
        if not answer.ok:
            call.error(11200, f"file to play answered {answer.status or answer.error}", fault=True)
        elif answer.content_type.partition(";")[0].strip().lower() not in AUDIO:
            call.error(12300, f"Content-Type of a file to play: {answer.content_type}", fault=True)
        call.played[url] = _seconds(answer.body) if answer.ok else 0.0
    return call.played[url]


def _seconds(body: bytes) -> float:
    """Of a WAV file, by its header."""
    if body[:4] != b"RIFF" or body[8:12] != b"WAVE":
        return UNKNOWN_SECONDS
    rate, at = 0, 12
    while at + 8 <= len(body):
        name, size = body[at : at + 4], struct.unpack_from("<I", body, at + 4)[0]
        if name == b"fmt ":
            rate = struct.unpack_from("<I", body, at + 16)[0]
        if name == b"data" and rate:
            return float(size / rate)
        at += 8 + size + size % 2
    return UNKNOWN_SECONDS
