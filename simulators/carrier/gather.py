"""`<Gather>`: the caller is asked for keys or words (twilio.com/docs/voice/twiml/gather).

Words are what the settings say, as text: this carrier has no ear for speech of its own.
"""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.settings import Reply
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

WORD_SECONDS = 0.35
AUTO_SECONDS = 1.0  # unverified: how long a pause ends what is said with speechTimeout="auto"


async def answered(call: "Call", verb: Verb) -> dict[str, str] | None:
    """What is told of the caller's answer once the question was heard: keys if there are any, else words, each only
    where it is asked for; None when nothing came in time."""
    for child in verb.children:
        if child.name == "Say":
            call.ledger.said.append(child.text)
            call.tell(f"TwiML: Say {child.text[:60]}")
        await _sleep(
            call, WORD_SECONDS * len(child.text.split()) if child.name == "Say" else float(child.get("length", "1"))
        )
    if call.settings.hangs_up:
        call.hang_up("hangs up when asked for a key")
        await asyncio.Event().wait()
    reply, hears = next(call.replies, Reply()), verb.get("input", "dtmf").split()
    if "dtmf" in hears and reply.keys:
        pressed = _pressed(call, verb, reply.keys)
        if pressed is not None:
            return {"Digits": pressed}
    elif "speech" in hears and reply.words:
        call.tell(f"caller says {reply.words}")
        pause = verb.get("speechTimeout") or verb.get("timeout", "5")
        silence = AUTO_SECONDS if pause == "auto" else float(pause)
        await _sleep(call, WORD_SECONDS * len(reply.words.split()) + silence)
        told = {"SpeechResult": reply.words}
        return told if reply.confidence is None else told | {"Confidence": str(reply.confidence)}
    await _sleep(call, float(verb.get("timeout", "5")))
    return {"Digits": reply.keys} if "dtmf" in hears and reply.keys else None


def _pressed(call: "Call", verb: Verb, keys: str) -> str | None:
    """The keys up to the last one that is asked for; None: more are waited for."""
    pressed = ""
    for key in keys:
        call.tell(f"caller presses {key}")
        if key in verb.get("finishOnKey", "#"):
            return pressed
        pressed += key
        call.ledger.pressed += key
        if len(pressed) == int(verb.get("numDigits", "0")):
            return pressed
    return None


def action_of(document: Document, verb: Verb) -> str:
    """Without an `action` the document's own address is asked again."""
    return urljoin(document.url, verb.get("action") or document.url)


async def _sleep(call: "Call", seconds: float) -> None:
    await asyncio.sleep(seconds * call.settings.time_scale)
