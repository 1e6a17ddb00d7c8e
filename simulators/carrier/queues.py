"""`<Enqueue>`: a caller waits, by a document of its own, until somebody takes the call out of the queue by
`<Dial><Queue>`, or the document says `<Leave>` (twilio.com/docs/voice/twiml/enqueue, /queue, /leave). Queues stay until
they are deleted through the API."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.account import Queue
from simulators.carrier.play import length_of
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

WORD_SECONDS = 0.35
IN_A_WAIT_DOCUMENT = frozenset({"Play", "Say", "Pause", "Hangup", "Redirect", "Leave", "Gather"})
MAX_REDIRECTS = 1000  # a wait document may go on by redirects for as long as the call may last


@dataclass(eq=False, slots=True)
class Member:
    """One call in a queue. `taken`: somebody is joined to it; `over`: they have parted."""

    call: "Call"
    queue: Queue
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    waited: int | None = None
    result: str = "hangup"  # unless something else is known

    def take(self) -> None:
        self.leave("bridged")
        self.taken.set()

    def leave(self, result: str) -> None:
        """No effect on a call that has left already."""
        if self.waited is None:
            self.result, self.waited = result, self.seconds()
            self.queue.members.remove(self)

    def has_left(self) -> bool:
        return self.waited is not None

    def seconds(self) -> int:
        return round(asyncio.get_running_loop().time() - self.since)

    def params(self) -> dict[str, str]:
        """What the `action` of `<Enqueue>` is told."""
        waited = self.seconds() if self.waited is None else self.waited
        return {"QueueResult": self.result, "QueueSid": self.queue.sid, "QueueTime": str(waited)}


async def enqueue(call: "Call", document: Document, verb: Verb) -> str:
    """Wait; return "" when the call has left the queue for its `action`, else why it is over. Cancelled, the call is
    out of the queue, and parted from whoever was joined to it."""
    member = call.queued = Member(call, call.account.queue(verb.text))
    member.queue.members.append(member)
    call.tell(f"TwiML: Enqueue {verb.text}")
    waiting = asyncio.create_task(_wait(call, document, verb, member))
    taken = asyncio.create_task(member.taken.wait())
    try:
        await asyncio.wait({waiting, taken}, return_when=asyncio.FIRST_COMPLETED)
        if not member.taken.is_set():
            why = waiting.result()
            member.leave("leave" if not why else "hangup")
            return why
        waiting.cancel()
        call.tell("taken out of the queue, and joined")
        await member.over.wait()
        return ""
    finally:
        member.leave("hangup")
        member.over.set()
        for task in (waiting, taken):
            task.cancel()
        await asyncio.gather(waiting, taken, return_exceptions=True)


async def _wait(call: "Call", document: Document, verb: Verb, member: Member) -> str:
    """Follow the wait document, asked for again when it has ended, until it says `<Leave>`. Looks by itself whether the
    call has left: asyncio's `wait_for` can lose a cancellation that comes with the answer it waits for."""
    url = urljoin(document.url, verb.get("waitUrl"))
    if not verb.get("waitUrl"):  # the carrier's own music
        await asyncio.Event().wait()
    while not member.has_left():
        told = {
            "QueueSid": member.queue.sid,
            "QueueTime": str(member.seconds()),
            "QueuePosition": str(member.queue.members.index(member) + 1),
            "CurrentQueueSize": str(len(member.queue.members)),
            "AvgQueueTime": str(member.seconds()),
        }
        page = await call.fetch("wait", verb.get("waitUrlMethod", "POST"), url, more=told)
        for _ in range(MAX_REDIRECTS):
            if page is None:
                return "no usable answer from wait"
            how = await _follow(call, page)
            if how == "again":
                break
            if not isinstance(how, tuple):
                return how.removeprefix("leave")
            if member.has_left():
                return ""
            # What a redirect is told of the queue is not documented, and so it is told nothing.
            page = await call.fetch("wait", *how)
    return ""


async def _follow(call: "Call", page: Document) -> str | tuple[str, str]:
    """again, leave, why the call is over, or method and address of what comes next."""
    started = asyncio.get_running_loop().time()
    for verb in page.verbs:
        call.ledger.waited.append(verb.name)
        if verb.name not in IN_A_WAIT_DOCUMENT:
            call.ledger.complain(0, "not allowed in a wait document", verb.name)
        match verb.name:
            case "Leave":
                return "leave"
            case "Hangup":
                return "Hangup"
            case "Redirect":
                return verb.get("method", "POST"), urljoin(page.url, verb.text)
            case "Play":
                seconds = await length_of(call, page, verb)
                call.ledger.held_seconds += seconds
                await asyncio.sleep(seconds * call.settings.time_scale)
            case "Say":
                call.ledger.said.append(verb.text)
                await asyncio.sleep(WORD_SECONDS * len(verb.text.split()) * call.settings.time_scale)
            case "Pause":
                await asyncio.sleep(float(verb.get("length", "1")) * call.settings.time_scale)
            case _:
                call.tell(f"{verb.name} is read but not acted on")
    if asyncio.get_running_loop().time() - started < 0.01:
        call.ledger.complain(0, "a wait document that takes no time is asked for without end", page.url)
        await asyncio.sleep(1)
    return "again"


async def dial_queue(call: "Call", verb: Verb, noun: Verb) -> dict[str, str]:
    """Take the first call out of the queue and be joined to it; return what the `action` of `<Dial>` is told.
    Cancelled, the two are parted."""
    if noun.get("url"):
        call.tell("the url of a Queue is read but not acted on")
    queue = call.account.known_queue(noun.text)
    if queue is None:
        return {"DialCallStatus": "failed", "DialBridged": "false"}
    scale, loop = call.settings.time_scale, asyncio.get_running_loop()
    call.tell(f"TwiML: Dial, out of the queue {noun.text}")
    until = loop.time() + int(verb.get("timeout", "30")) * scale
    while not queue.members:
        if loop.time() >= until:
            return {"DialCallStatus": "no-answer", "DialBridged": "false"}
        await asyncio.sleep(0.01)
    member = queue.members[0]
    member.take()
    began = loop.time()
    call.tell("joined to the caller who waited")
    call.ledger.joined_to = member.call.ledger.call_sid
    member.call.ledger.joined_to = call.ledger.call_sid
    talks, limit = call.settings.colleague.talks, int(verb.get("timeLimit", "14400"))
    try:
        async with asyncio.timeout(min(talks, limit) * scale):
            await member.over.wait()  # the caller has hung up
    except TimeoutError:
        if talks < limit:
            call.hang_up("hangs up after the talk")
            await asyncio.Event().wait()
    finally:
        member.over.set()
    seconds = round(loop.time() - began)
    return _told(member.call.ledger.call_sid, seconds)


def _told(call_sid: str, seconds: int) -> dict[str, str]:
    return {
        "DialCallStatus": "completed",
        "DialCallSid": call_sid,
        "DialCallDuration": str(seconds),
        "DialBridged": "true",
    }


def queue_noun(verb: Verb) -> Verb | None:
    return next((child for child in verb.children if child.name == "Queue"), None)


def queue_params(member: Member | None) -> Mapping[str, str]:
    return member.params() if member is not None else {}
