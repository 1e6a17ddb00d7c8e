"""Following a TwiML document verb by verb."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier import queues, record, twiml
from simulators.carrier.dial import Leg
from simulators.carrier.gather import action_of, answered
from simulators.carrier.handshake import StreamRefused, open_stream
from simulators.carrier.ledger import EndedBy, StreamLedger
from simulators.carrier.play import length_of
from simulators.carrier.stream import MediaStream
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

MAX_DOCUMENTS = 25
WORD_SECONDS = 0.35
REJECTED = {"busy": "busy", "rejected": "no-answer"}  # unverified: which status a rejected call ends with


@dataclass(frozen=True, slots=True)
class Over:
    """The call has ended: by whom, and what its status is (empty: completed)."""

    by: EndedBy
    detail: str
    status: str = ""


async def follow(call: "Call", document: Document) -> Over:
    """This document and those it leads to, until the call is over."""
    for _ in range(MAX_DOCUMENTS):
        outcome = await _document(call, document)
        if isinstance(outcome, Over):
            return outcome
        document = outcome
    call.ledger.complain(0, "the TwiML goes round in circles", document.url)
    return Over("error", "too many TwiML documents")


async def _document(call: "Call", document: Document) -> Document | Over:
    for verb in document.verbs:
        call.ledger.verbs.append(verb.name)
        outcome = await _verb(call, document, verb)
        if outcome is not None:
            return outcome
    return Over("agent", "end of TwiML")


async def _verb(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    """None: go on with the next verb."""
    match verb.name:
        case "Connect":
            return await _connect(call, document, verb)
        case "Redirect":
            return await _next(call, "redirect", document, verb.text, verb.get("method", "POST"))
        case "Hangup":
            return Over("agent", "Hangup")
        case "Reject":
            return Over("agent", "Reject", REJECTED.get(verb.get("reason", "rejected"), "no-answer"))
        case "Dial":
            return await _dial(call, document, verb)
        case "Start":
            await call.recordings.start(document, verb)
            return None
        case "Gather":
            return await _gather(call, document, verb)
        case "Enqueue":
            return await _enqueue(call, document, verb)
        case "Leave":
            call.ledger.complain(0, "Leave is for calls in a queue")
            return None
        case "Play":
            await _sleep(call, await length_of(call, document, verb), "Play")
            return None
        case "Say" | "Pause":
            if verb.name == "Say":
                call.ledger.said.append(verb.text)
            await _sleep(call, _seconds(verb), f"{verb.name} {verb.text[:60]}".strip())
            return None
        case "Record":
            return await _record(call, document, verb)
        case _:
            call.tell(f"{verb.name} is read but not acted on")
            return None


def _seconds(verb: Verb) -> float:
    if verb.name == "Pause":
        return float(verb.get("length", "1"))
    return WORD_SECONDS * len(verb.text.split())


async def _sleep(call: "Call", seconds: float, words: str) -> None:
    call.tell(f"TwiML: {words}")
    await asyncio.sleep(seconds * call.settings.time_scale)


async def _next(call: "Call", kind: str, document: Document, url: str, method: str) -> Document | Over:
    answer = await call.fetch(kind, method, urljoin(document.url, url))
    return answer or Over("error", f"no usable answer from {kind}")


async def _after(
    call: "Call", kind: str, document: Document, verb: Verb, more: dict[str, str]
) -> Document | Over | None:
    """The `action` of a verb; None without one: the next verb follows."""
    if not verb.get("action"):
        return None
    url = urljoin(document.url, verb.get("action"))
    call.tell("action requested")
    answer = await call.fetch(kind, verb.get("method", "POST"), url, "in-progress", more)
    return answer or Over("error", f"no usable answer from {kind}")


async def _connect(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    stream = next((child for child in verb.children if child.name == "Stream"), None)
    if stream is None:
        return None
    call.action = urljoin(document.url, verb.get("action")) if verb.get("action") else ""
    refused = await _stream(call, document, stream)
    call.action = ""
    if refused is not None:
        return refused
    return await _after(call, "action", document, verb, {})


async def _stream(call: "Call", document: Document, verb: Verb) -> Over | None:
    """One media stream from handshake to close. Over: what was refused was an attack, and ends here."""
    faults, url = call.settings.faults, twiml.stream_url(document.url, verb.get("url"))
    parameters = {child.get("name"): child.get("value") for child in verb.children}
    ledger = StreamLedger(f"MZ{call.rng.getrandbits(128):032x}", url, faults.handshake_signature, parameters)
    call.ledger.streams.append(ledger)
    if not _streamable(call, url):
        return None
    ledger.opened_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        socket = await open_stream(call.settings, url, faults.handshake_signature, faults.handshake_form)
    except StreamRefused as refused:
        ledger.handshake_status, ledger.handshake_ms = refused.status, round((loop.time() - began) * 1000, 1)
        expected = faults.handshake_signature != "right"
        call.error(refused.code, str(refused), fault=not expected or refused.status != 403)
        await _stream_status(call, document, verb, ledger, "stream-error", str(refused))
        return Over("refused", "handshake") if expected else None
    ledger.handshake_status, ledger.handshake_ms = 101, round((loop.time() - began) * 1000, 1)
    call.tell(f"stream open in {ledger.handshake_ms:.0f} ms")
    if faults.handshake_signature != "right":
        call.ledger.complain(0, f"a handshake with a {faults.handshake_signature} signature was accepted")
    stream = MediaStream(socket, call.ledger, ledger, call.environment)
    await _stream_status(call, document, verb, ledger, "stream-started")
    call.streaming = (document, verb, stream)
    call.streams.append(stream)
    call.line.connect(stream)
    replays = asyncio.create_task(_replay(call, url, ledger))
    try:
        await stream.run()  # if this is cancelled by a command, the command ends the stream in good order itself
    finally:
        await replays
    await stream_over(call)
    return None


async def stream_over(call: "Call") -> None:
    """The stream the call was in has closed: tell, and send its status callback."""
    if call.streaming is None:
        return
    document, verb, stream = call.streaming
    call.streaming = None
    call.line.disconnect()
    ledger = stream.ledger
    call.tell(f"stream closed by {ledger.closed_by}, code {ledger.close_code}")
    if ledger.closed_by == "server":
        call.error(31921, "stream closed by the server", fault=False)
    await _stream_status(call, document, verb, ledger, "stream-stopped")


def _streamable(call: "Call", url: str) -> bool:
    if not url.startswith("wss://") or "?" in url:  # the parser has complained already
        call.error(31922, "stream not opened", fault=False)
        return False
    if not call.settings.is_public(url):
        call.error(31920, "stream url is not on the public origin", fault=True)
        return False
    return True


async def _replay(call: "Call", url: str, ledger: StreamLedger) -> None:
    """The same signed handshake again while the first is open: a ticket is for one use."""
    for _ in range(call.settings.faults.replay_handshake):
        try:
            socket = await open_stream(call.settings, url, "right", call.settings.faults.handshake_form)
        except StreamRefused as refused:
            ledger.replays.append(refused.status or 0)
        else:
            ledger.replays.append(101)
            call.ledger.complain(0, "a repeated handshake was accepted")
            await socket.close()


async def _stream_status(
    call: "Call", document: Document, verb: Verb, ledger: StreamLedger, event: str, error: str = ""
) -> None:
    if not verb.get("statusCallback"):
        return
    params = {
        "AccountSid": call.ledger.account_sid,
        "CallSid": call.ledger.call_sid,
        "StreamSid": ledger.stream_sid,
        "StreamName": verb.get("name") or ledger.stream_sid,
        "StreamEvent": event,
        "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if error:
        params["StreamError"] = error
    url = urljoin(document.url, verb.get("statusCallback"))
    await call.request("stream-status", verb.get("statusCallbackMethod", "POST"), url, params)


async def _gather(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    """Without an answer the next verb follows, unless the document wants to be told of that, too."""
    told = await answered(call, verb)
    if told is None and verb.get("actionOnEmptyResult") != "true":
        return None
    method, url = verb.get("method", "POST"), action_of(document, verb)
    answer = await call.fetch("gather", method, url, "in-progress", told or {"Digits": ""})
    return answer or Over("error", "no usable answer from gather")


async def _record(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    """An empty recording is told to nobody: the next verb follows."""
    told = await record.record(call, document, verb)
    if told is None:
        return None
    method, url = verb.get("method", "POST"), record.action_of(document, verb)
    answer = await call.fetch("action", method, url, "in-progress", told)
    return answer or Over("error", "no usable answer from action")


async def _dial(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    """Somebody else is called, and joined to the caller if they answer; or a call is taken out of its queue."""
    call.action = urljoin(document.url, verb.get("action")) if verb.get("action") else ""
    if (noun := queues.queue_noun(verb)) is not None:
        told = await queues.dial_queue(call, verb, noun)
        call.action = ""
        return await _after(call, "dial", document, verb, told)
    leg = Leg(call, document, verb)
    caller_id = verb.get("callerId")
    if caller_id and caller_id not in {call.ledger.from_number, call.ledger.to_number}:
        call.ledger.complain(13214, "callerId is no number of this account, nor the caller's")
    call.dialling = leg
    await leg.run()  # cancelled, it is ended by whoever ends the call
    call.action, call.dialling = "", None
    return await _after(call, "dial", document, verb, leg.params())


async def _enqueue(call: "Call", document: Document, verb: Verb) -> Document | Over | None:
    """The caller waits; the `action` is asked when the call has left the queue, or who were joined have parted."""
    call.action = urljoin(document.url, verb.get("action")) if verb.get("action") else ""
    why = await queues.enqueue(call, document, verb)
    told = dict(queues.queue_params(call.queued))
    call.action, call.queued = "", None
    if why:
        return Over("agent" if why == "Hangup" else "error", why)
    return await _after(call, "enqueue", document, verb, told)
