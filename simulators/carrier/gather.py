"""`<Gather>`: the caller is asked for keys (twilio.com/docs/voice/twiml/gather). Speech is not understood here."""

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

WORD_SECONDS = 0.35


async def keys_pressed(call: "Call", verb: Verb) -> str | None:
    """What the caller presses once the question was heard; None when nothing came in time."""
    if "dtmf" not in verb.get("input", "dtmf").split():
        call.ledger.complain(0, "this carrier hears keys only", f"Gather input={verb.get('input')}")
    for child in verb.children:
        if child.name == "Say":
            call.ledger.said.append(child.text)
            call.tell(f"TwiML: Say {child.text[:60]}")
        await _sleep(
            call, WORD_SECONDS * len(child.text.split()) if child.name == "Say" else float(child.get("length", "1"))
        )
    pressed = ""
    for key in call.settings.keys:
        call.tell(f"caller presses {key}")
        if key in verb.get("finishOnKey", "#"):
            return pressed
        pressed += key
        if len(pressed) == int(verb.get("numDigits", "0")):
            return pressed
    await _sleep(call, float(verb.get("timeout", "5")))
    return pressed or None


def action_of(document: Document, verb: Verb) -> str:
    """Without an `action` the document's own address is asked again."""
    return urljoin(document.url, verb.get("action") or document.url)


async def _sleep(call: "Call", seconds: float) -> None:
    await asyncio.sleep(seconds * call.settings.time_scale)
