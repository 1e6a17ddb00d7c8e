"""`<Record>`: what the caller says after the tone (twilio.com/docs/voice/twiml/record)."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.account import RecordingResource
from simulators.carrier.audio import BYTES_PER_SECOND, SILENCE
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

BEEP_SECONDS = 0.5
DEFAULT_KEYS = "1234567890*#"


async def record(call: "Call", document: Document, verb: Verb) -> dict[str, str] | None:
    """Record until the caller is silent, presses a key, hangs up or has said enough. Return what the `action` is told;
    None for an empty recording, of which it is told nothing."""
    if verb.get("playBeep", "true") == "true":
        await _sleep(call, BEEP_SECONDS)
    call.tell("the tone: the caller may speak")
    recording = _begun(call, document, verb)
    await call.recordings.begun(recording)
    message = call.settings.message
    said = b"".join(call.settings.clips(name).audio for name in message.clips)
    said = said[: int(verb.get("maxLength", "3600")) * BYTES_PER_SECOND]
    began = asyncio.get_running_loop().time()
    call.action = action_of(document, verb)
    try:
        await _sleep(call, len(said) / BYTES_PER_SECOND)
        ending = await _ending(call, verb, message.ends)
    except asyncio.CancelledError:  # the call is over: what was said so far is kept, and reported with its end
        scale = call.settings.time_scale or 1.0
        heard = round((asyncio.get_running_loop().time() - began) / scale * BYTES_PER_SECOND)
        recording.tracks = _tracks(said[:heard])
        raise
    call.action = ""
    recording.tracks = _tracks(said)
    await call.recordings.complete(recording)
    if not said:
        return None
    api = f"https://api.twilio.com/2010-04-01/Accounts/{call.ledger.account_sid}/Recordings/{recording.sid}"
    told = {"RecordingUrl": api, "RecordingSid": recording.sid, "RecordingDuration": str(recording.duration)}
    return told | ({"Digits": ending} if ending else {})


def action_of(document: Document, verb: Verb) -> str:
    """Without an `action` the document's own address is asked again."""
    return urljoin(document.url, verb.get("action") or document.url)


def _begun(call: "Call", document: Document, verb: Verb) -> RecordingResource:
    recording = call.account.add_recording(call.ledger.call_sid, 1, "RecordVerb", "inbound")
    url = verb.get("recordingStatusCallback")
    recording.callback = {
        "url": urljoin(document.url, url) if url else "",
        "method": verb.get("recordingStatusCallbackMethod", "POST"),
        "events": verb.get("recordingStatusCallbackEvent", "completed"),
    }
    return recording


async def _ending(call: "Call", verb: Verb, ends: str) -> str:
    """The key that ended it, or nothing."""
    if ends == "hang-up":
        call.hang_up("hangs up after the message")
        await asyncio.sleep(3600)
    if ends != "silence" and ends in verb.get("finishOnKey", DEFAULT_KEYS):
        call.tell(f"caller presses {ends}")
        return ends
    await _sleep(call, float(verb.get("timeout", "5")))
    return ""


def _tracks(said: bytes) -> tuple[bytes, bytes]:
    return said, SILENCE * len(said)


async def _sleep(call: "Call", seconds: float) -> None:
    await asyncio.sleep(seconds * call.settings.time_scale)
