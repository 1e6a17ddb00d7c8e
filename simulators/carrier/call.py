"""One call, from the first webhook to the last status callback."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from simulators.carrier import twiml
from simulators.carrier.account import Account
from simulators.carrier.callbacks import STATUS_OF_EVENT, StatusCallbacks
from simulators.carrier.caller import Line, Person, ScriptFailed
from simulators.carrier.dial import Leg
from simulators.carrier.ledger import CallLedger, Complaint, EndedBy
from simulators.carrier.queues import Member, queue_params
from simulators.carrier.recordings import CallRecordings
from simulators.carrier.script import Script
from simulators.carrier.settings import Settings
from simulators.carrier.stream import Environment, MediaStream
from simulators.carrier.twiml import Document, Verb
from simulators.carrier.verbs import Over, follow, stream_over
from simulators.carrier.web import Answer, WebClient

APPLICATION_ERROR = "the caller hears an application error"
GEOGRAPHY = ("City", "State", "Zip", "Country")


@dataclass(frozen=True, slots=True)
class NewDocument:
    """The call continues with other TwiML: a call update through the REST API."""

    document: Document


Command = Over | NewDocument


def short(url: str, settings: Settings) -> str:
    """A URL for the narration: its path if it is ours."""
    prefix = settings.public_url.rstrip("/")
    return url.removeprefix(prefix) if url.startswith(prefix) else url


class Call:
    """Runs with `run`. `commands` ends or redirects it from outside: the caller, the REST API, the time limit."""

    def __init__(
        self,
        settings: Settings,
        web: WebClient,
        account: Account,
        ledger: CallLedger,
        script: Script,
        tell: Callable[[str], None],
    ) -> None:
        self.settings, self.web, self.account = settings, web, account
        self.ledger, self.script = ledger, script
        self._tell_line = tell
        self.rng = Random(settings.seed if settings.seed is None else f"{settings.seed}{ledger.call_sid}")
        self.line = Line()
        self.commands: asyncio.Queue[Command] = asyncio.Queue()
        self.environment = Environment(settings.faults, self.rng, self.tell, settings.close_code)
        self.started = time.monotonic()
        self.answered = 0.0
        self.action = ""  # of the `<Connect>`, `<Dial>` or `<Enqueue>` the call is in
        self.dialling: Leg | None = None
        self.queued: Member | None = None
        self.played: dict[str, float] = {}  # the length of each file
        self.streaming: tuple[Document, Verb, MediaStream] | None = None
        self.streams: list[MediaStream] = []
        self.status_callbacks = StatusCallbacks(self)
        self.recordings = CallRecordings(self, account)
        self.replies = iter(settings.replies)

    def hang_up(self, why: str) -> None:
        """The caller goes, outside of any script."""
        self.tell(f"caller {why}")
        self.commands.put_nowait(Over("caller", why))

    def tell(self, line: str) -> None:
        """One line of the narration, with the seconds since the first webhook."""
        self._tell_line(f"{time.monotonic() - self.started:7.2f} s  {line}")

    async def run(self, first: Document | None = None) -> CallLedger:
        """The whole call; `first` is TwiML given with an outbound call instead of fetched."""
        self.ledger.started_at = _now()
        self.tell(f"call {self.ledger.call_sid} from {self.ledger.from_number} to {self.ledger.to_number}")
        self._move("initiated")
        self._move("ringing")
        if self.outbound:
            given_up = await self._ring()
            if given_up is not None:
                await self._finish(given_up)
                return self.ledger
            self._move("answered")
            self.status_callbacks.machine_detection()
        document = first or await self.fetch_first()
        if document is None or not document.usable:
            await self._finish(Over(*self._not_answered()))
            return self.ledger
        if not self.outbound:
            self._move("answered")
        person = Person(self.script, self.line, self.settings.clips, self.tell)
        acting = asyncio.create_task(self._act(person))
        limit = asyncio.get_running_loop().call_later(
            self.settings.max_call_seconds, self.commands.put_nowait, Over("limit", "longest call the carrier allows")
        )
        try:
            over = await self._talk(document)
        finally:
            limit.cancel()
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
        self._judge(person, over)
        await self._finish(over)
        return self.ledger

    async def _ring(self) -> Over | None:
        """None once somebody answers; else why nobody did. Unverified: a call that the API ends while it rings is
        canceled."""
        settings = self.settings
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.rings * settings.time_scale):
                while True:
                    order = await self.commands.get()
                    if isinstance(order, Over):
                        return Over(order.by, order.detail, "canceled")
        return None if settings.callee == "answers" else Over("line", f"callee: {settings.callee}", settings.callee)

    @property
    def outbound(self) -> bool:
        return self.ledger.direction != "inbound"

    def _move(self, event: str) -> None:
        """initiated, ringing or answered has happened."""
        self.ledger.status = STATUS_OF_EVENT[event]
        self.account.set_status(self.ledger.call_sid, self.ledger.status)
        self.status_callbacks.event(event)
        if event == "answered":
            self.answered = time.monotonic()

    def params(self, status: str) -> dict[str, str]:
        """What every webhook of this call carries."""
        ledger = self.ledger
        params = {
            "CallSid": ledger.call_sid,
            "AccountSid": ledger.account_sid,
            "ApiVersion": "2010-04-01",
            "Direction": ledger.direction,
            "CallStatus": status,
            "From": ledger.from_number,
            "Caller": ledger.from_number,
            "To": ledger.to_number,
            "Called": ledger.to_number,
        }
        for side in ("From", "Caller", "To", "Called"):
            params |= {side + part: "US" if part == "Country" else "" for part in GEOGRAPHY}
        if ledger.direction == "inbound":
            params["StirVerstat"] = "TN-Validation-Passed-A"
        return params

    async def fetch_first(self) -> Document | None:
        """The voice webhook, twice at once if that is the fault; None when there is no usable answer."""
        settings, faults = self.settings, self.settings.faults
        url, params = settings.absolute(settings.voice_path), self.params(self.ledger.status)
        token = f"{self.rng.getrandbits(128):032x}"
        webhook = [
            self.request("voice", settings.voice_method, url, params, token=token, signature=faults.webhook_signature)
            for _ in range(2 if faults.duplicate_webhook else 1)
        ]
        answer = (await asyncio.gather(*webhook))[0]
        if faults.webhook_signature != "right":
            if answer.ok:
                self.ledger.complain(0, f"a webhook with a {faults.webhook_signature} signature was accepted")
            return None
        return await self.usable(answer, "voice", params)

    async def fetch(
        self, kind: str, method: str, url: str, status: str = "in-progress", more: Mapping[str, str] | None = None
    ) -> Document | None:
        """TwiML from a further webhook: action, redirect, url; None when there is no usable answer."""
        params = self.params(status) | dict(more or {})
        return await self.usable(await self.request(kind, method, url, params), kind, params)

    async def usable(self, answer: Answer, kind: str, params: Mapping[str, str]) -> Document | None:
        """The document of an answer; else what the fallback URL gives; else None, with the errors in the ledger."""
        document = self.read(answer, kind)
        fallback = self.settings.fallback_path
        if document is not None or not fallback or kind == "fallback":
            return document
        failure = self.ledger.errors[-1]
        more = {"ErrorCode": str(failure.code), "ErrorUrl": answer.url}
        url = self.settings.absolute(fallback)
        return self.read(await self.request("fallback", "POST", url, {**params, **more}), "fallback")

    def read(self, answer: Answer, kind: str) -> Document | None:
        """Parses an answer and notes everything that is wrong with it."""
        if not answer.ok:
            code = 11217 if answer.status else 11205 if answer.error == "unreachable" else 11200
            self.error(code, f"{kind} webhook answered {answer.status or answer.error}", fault=True)
            return None
        document = twiml.parse(answer.body, answer.content_type, answer.url)
        self.complain_of(document)
        if not document.usable:
            self.error(12100, f"{kind} webhook gave no usable TwiML", fault=True)
            return None
        return document

    def complain_of(self, document: Document) -> None:
        """Takes over what was wrong with a document."""
        for complaint in document.complaints:
            self.ledger.complain(complaint.code, complaint.what, complaint.detail)

    def error(self, code: int, what: str, *, fault: bool) -> None:
        """An entry of the debugger, and a complaint if the server under test is to blame."""
        self.ledger.errors.append(Complaint(code, what))
        if fault:
            self.ledger.complain(code, what)
            self.tell(f"error {code}: {what}")

    async def request(
        self,
        kind: str,
        method: str,
        url: str,
        params: Mapping[str, str],
        *,
        token: str = "",
        signature: str = "right",
    ) -> Answer:
        """One webhook into the ledger and the narration."""
        requests = self.ledger.requests
        answer = await self.web.request(kind, method, url, params, requests, token=token, signature=signature)
        record = next(record for record in reversed(requests) if record.kind == kind)
        status = params.get("CallStatus", "")
        words = f"{kind} {status}" if kind == "status" else kind
        self.tell(f"{words} {short(url, self.settings)} answered {record.status or record.error} in {record.ms:.0f} ms")
        return answer

    async def _talk(self, document: Document) -> Over:
        """Follows the TwiML until it, the caller or the API ends the call."""
        while True:
            following = asyncio.create_task(follow(self, document))
            command = asyncio.create_task(self.commands.get())
            await asyncio.wait({following, command}, return_when=asyncio.FIRST_COMPLETED)
            if not command.done():
                command.cancel()
                return following.result()
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            order = command.result()
            if isinstance(order, Over):
                if self.settings.faults.completed_before_stop:
                    await self._complete(order)
                await self._leave_stream(order)
                return order
            await self._leave_stream(Over("api", "redirected"))
            self.action, self.queued = "", None
            document = order.document

    async def _leave_stream(self, over: Over) -> None:
        if self.streaming is None:
            return
        stream = self.streaming[2]
        self.line.disconnect()
        if over.by == "line":
            stream.drop()
        else:
            await stream.hang_up(stop=not self.settings.faults.no_stop)
        await stream.run()
        await stream_over(self)

    async def _act(self, person: Person) -> None:
        try:
            how = await person.follow()
        except ScriptFailed as failed:
            self.ledger.failures.append(str(failed))
            how = "caller"
        if how == "caller":
            self.tell("caller hangs up")
            self.commands.put_nowait(Over("caller", "hung up"))
        elif how == "line":
            self.tell("the line is lost")
            self.commands.put_nowait(Over("line", "line lost"))

    def _judge(self, person: Person, over: Over) -> None:
        if over.by not in {"caller", "line"} and person.surprised_by_end():
            self.ledger.failures.append(f"the call ended ({over.by}, {over.detail}) during {person.where()}")
        if self.script.ends_by not in {"any", over.by}:
            self.ledger.failures.append(f"ended by {over.by}, not by {self.script.ends_by}: {over.detail}")

    def _not_answered(self) -> tuple[EndedBy, str]:
        if self.settings.faults.webhook_signature != "right":
            return "refused", "webhook"
        return "error", APPLICATION_ERROR

    async def _complete(self, over: Over) -> None:
        if self.ledger.ended_at:
            return
        ledger = self.ledger
        ledger.ended_at, ledger.ended_by, ledger.end_detail = _now(), over.by, over.detail
        ledger.duration_seconds = round(time.monotonic() - self.answered) if self.answered else 0
        failed = self.settings.failed_webhook_status if over.by == "error" else "completed"
        ledger.status = over.status or failed
        self.account.set_status(ledger.call_sid, ledger.status)
        leg, kind, more = self.dialling, "action", {}
        if leg is not None:
            leg.give_up()
            kind, more = "dial", leg.params()
        if self.queued is not None:
            kind, more = "enqueue", dict(queue_params(self.queued))
        if self.action and over.by in {"caller", "line"} and self.settings.action_after_hangup:
            await self.request(kind, "POST", self.action, self.params("completed") | more)
        if not (over.by == "refused" and over.detail == "webhook"):
            await self.status_callbacks.final(ledger.status, ledger.duration_seconds)

    async def _finish(self, over: Over) -> None:
        await self._complete(over)
        await self.recordings.finish()
        await self.status_callbacks.drain()
        self.tell(f"call over: {self.ledger.ended_by}, {self.ledger.end_detail}; status {self.ledger.status}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
