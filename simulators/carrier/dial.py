"""`<Dial>`: somebody else is called, perhaps briefed, and joined to the caller (twilio.com/docs/voice/twiml/dial and
/number). Of several numbers the first one is called."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from simulators.carrier.account import new_sid
from simulators.carrier.gather import action_of
from simulators.carrier.ledger import LegRecord
from simulators.carrier.settings import Colleague
from simulators.carrier.twiml import Document, Verb

if TYPE_CHECKING:
    from simulators.carrier.call import Call

MAX_DOCUMENTS = 10
WORD_SECONDS = 0.35
DEFAULT_TIMEOUT, DEFAULT_TIME_LIMIT = 30, 14_400
STATUS_OF_EVENT = {"initiated": "initiated", "ringing": "ringing", "answered": "in-progress"}


class Leg:
    """The call to somebody else. `run` is cancelled when the caller hangs up; then `give_up` ends it."""

    def __init__(self, call: "Call", document: Document, verb: Verb) -> None:
        self._call, self._document = call, document
        numbers = [child for child in verb.children if child.name == "Number"]
        self._noun = numbers[0] if numbers else Verb("Number", {}, verb.text or _first_text(verb))
        self._timeout = _seconds(verb, "timeout", DEFAULT_TIMEOUT)
        self._time_limit = _seconds(verb, "timeLimit", DEFAULT_TIME_LIMIT)
        self._sequence = 0
        self._answered_at = 0.0
        self.record = LegRecord(
            call_sid=new_sid("CA"),
            number=self._noun.text,
            caller_id=verb.get("callerId") or call.ledger.from_number,
            timeout=self._timeout,
            time_limit=self._time_limit,
        )
        call.ledger.legs.append(self.record)
        call.account.add_call(
            "outbound-dial",
            self.record.caller_id,
            self.record.number,
            self.record.call_sid,
            parent_sid=call.ledger.call_sid,
        )

    @property
    def _colleague(self) -> Colleague:
        settings = self._call.settings
        return settings.colleagues.get(self.record.number, settings.colleague)

    async def run(self) -> None:
        """Ring, brief, join, until somebody hangs up or nobody answers."""
        colleague = self._colleague
        self._call.tell(f"TwiML: Dial, and the colleague {colleague.does}")
        self._event("initiated")
        self._event("ringing")
        answers = colleague.does == "answers" and colleague.rings < self._timeout
        busy = colleague.does in {"busy", "failed"}
        await self._sleep(colleague.rings if answers or busy else self._timeout)
        if not answers:
            self._end(colleague.does if busy else "no-answer")
            return
        self._answered_at = asyncio.get_running_loop().time()
        self._event("answered")
        if await self._is_joined(colleague):
            self.record.bridged = True
            self._call.tell("the colleague and the caller are joined")
            await self._sleep(min(colleague.talks, self._time_limit))
        self._end("completed")

    def give_up(self) -> None:
        """The caller has hung up."""
        if not self.record.status:
            self._end("completed" if self._answered_at else "canceled")

    def params(self) -> dict[str, str]:
        """What the `action` of the `<Dial>` is told."""
        record = self.record
        told = {
            "DialCallStatus": record.status,
            "DialCallSid": record.call_sid,
            "DialBridged": "true" if record.bridged else "false",
        }
        if record.status == "completed":
            told["DialCallDuration"] = str(record.duration_seconds)
        return told

    async def _is_joined(self, colleague: Colleague) -> bool:
        """What the number's `url` says is run at the colleague's end first; the two are joined when it has ended, and
        not if it hangs up."""
        if not self._noun.get("url"):
            return True
        url = urljoin(self._document.url, self._noun.get("url"))
        document = await self._fetch("whisper", self._noun.get("method", "POST"), url)
        for _ in range(MAX_DOCUMENTS):
            if document is None:
                return False
            following = await self._follow(document, colleague)
            if isinstance(following, bool):
                return following
            document = await self._fetch(*following)
        self._call.ledger.complain(0, "the TwiML of a leg goes round in circles", url)
        return False

    async def _follow(
        self, document: Document, colleague: Colleague
    ) -> bool | tuple[str, str, str] | tuple[str, str, str, Mapping[str, str]]:
        """Whether the colleague is to be joined, or what is to be asked next."""
        for verb in document.verbs:
            match verb.name:
                case "Say" | "Play" | "Pause":
                    await self._hear(verb)
                case "Gather":
                    for child in verb.children:
                        await self._hear(child)
                    if colleague.hangs_up:
                        return False
                    action = action_of(document, verb)
                    if keys := colleague.keys[: int(verb.get("numDigits", "99"))]:
                        self.record.pressed += keys
                        self._call.tell(f"the colleague presses {keys}")
                        return "gather", verb.get("method", "POST"), action, {"Digits": keys}
                    await self._sleep(float(verb.get("timeout", "5")))
                    if verb.get("actionOnEmptyResult") == "true":
                        return "gather", verb.get("method", "POST"), action, {"Digits": ""}
                case "Redirect":
                    return "redirect", verb.get("method", "POST"), urljoin(document.url, verb.text)
                case "Hangup":
                    return False
                case _:
                    self._call.ledger.complain(0, "not allowed in the TwiML of a Number's url", verb.name)
        return True

    async def _hear(self, verb: Verb) -> None:
        if verb.name == "Say":
            self.record.said.append(verb.text)
            self._call.tell(f"the colleague hears: {verb.text[:60]}")
        await self._sleep(
            WORD_SECONDS * len(verb.text.split()) if verb.name == "Say" else float(verb.get("length", "1"))
        )

    async def _fetch(self, kind: str, method: str, url: str, more: Mapping[str, str] | None = None) -> Document | None:
        answer = await self._call.request(kind, method, url, self._of_leg("in-progress") | dict(more or {}))
        return self._call.read(answer, kind)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._call.settings.time_scale)

    def _end(self, status: str) -> None:
        record = self.record
        record.status = status
        if self._answered_at:
            record.duration_seconds = round(asyncio.get_running_loop().time() - self._answered_at)
        self._call.account.set_status(record.call_sid, status)
        self._call.tell(f"the leg is over: {status}, {'joined' if record.bridged else 'not joined'}")
        self._callback("completed", status, {"CallDuration": str(record.duration_seconds)})

    def _event(self, name: str) -> None:
        self._call.account.set_status(self.record.call_sid, STATUS_OF_EVENT[name])
        self._callback(name, STATUS_OF_EVENT[name], {})

    def _callback(self, event: str, status: str, more: Mapping[str, str]) -> None:
        noun = self._noun
        if not noun.get("statusCallback") or event not in noun.get("statusCallbackEvent", "completed").split():
            return
        params = self._of_leg(status) | {
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
            **more,
        }
        self._sequence += 1
        url = urljoin(self._document.url, noun.get("statusCallback"))
        self._call.status_callbacks.keep(self._send(noun.get("statusCallbackMethod", "POST"), url, params))

    async def _send(self, method: str, url: str, params: Mapping[str, str]) -> None:
        answer = await self._call.request("leg-status", method, url, params)
        if not answer.ok:
            self._call.error(11200, f"callback of a leg answered {answer.status or answer.error}", fault=True)

    def _of_leg(self, status: str) -> dict[str, str]:
        """What every webhook of this leg carries: it is a call of its own."""
        return self._call.params(status) | {
            "CallSid": self.record.call_sid,
            "ParentCallSid": self._call.ledger.call_sid,
            "Direction": "outbound-dial",
            "From": self.record.caller_id,
            "Caller": self.record.caller_id,
            "To": self.record.number,
            "Called": self.record.number,
        }


def _seconds(verb: Verb, attribute: str, default: int) -> int:
    """What is no number was complained of when the document was read."""
    value = verb.get(attribute)
    return int(value) if value.isdigit() else default


def _first_text(verb: Verb) -> str:
    return next((child.text for child in verb.children), "")
