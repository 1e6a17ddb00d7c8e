"""The carrier: places calls on the server under test and keeps their ledgers."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any, Self

from simulators.carrier import script as scripts
from simulators.carrier import twiml
from simulators.carrier.account import Account, CallResource, RecordingResource
from simulators.carrier.call import Call, NewDocument
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import Script, WaitForEnd
from simulators.carrier.settings import Reply, Settings
from simulators.carrier.twiml import Document
from simulators.carrier.verbs import Over
from simulators.carrier.web import WebClient

COLLEAGUE = Script("colleague", (WaitForEnd(600_000),), "any")

Dial = Callable[[CallResource, dict[str, str]], None]


class Carrier:
    """Use as a context manager, or `close` it. `tell` gets (CallSid, line) for every line of the narration."""

    def __init__(
        self,
        settings: Settings,
        *,
        account: Account | None = None,
        tell: Callable[[str, str], None] = lambda call_sid, line: None,
    ) -> None:
        self.settings = settings
        self.account = account or Account(settings.account_sid)
        self._web = WebClient(settings)
        self._tell = tell
        self._updates: set[asyncio.Task[None]] = set()
        self._calls: set[Call] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._web.close()

    def hang_up(self) -> None:
        """Every caller hangs up now, in good order. Call it in the event loop of the calls."""
        for call in self._calls:
            call.tell("caller hangs up: told to stop")
            call.commands.put_nowait(Over("caller", "told to stop"))

    async def place_call(self, script: Script | str, *, from_: str, to: str) -> CallLedger:
        """Someone calls the number: the whole call, by a script or its name. What went wrong is in the ledger."""
        resource = self.account.add_call("inbound", from_, to)
        return await self._run(resource, script, None)

    async def place_calls(
        self, script: Script | str, count: int, *, from_: str, to: str, stagger_ms: int = 0
    ) -> list[CallLedger]:
        """Several calls at once, or one every `stagger_ms`."""

        async def one(number: int) -> CallLedger:
            await asyncio.sleep(number * stagger_ms / 1000)
            return await self.place_call(script, from_=from_, to=to)

        return list(await asyncio.gather(*(one(number) for number in range(count))))

    def dial(self, script: Script | str, done: Callable[[CallLedger], None]) -> Dial:
        """For the REST API, from any thread: places the calls that it creates, answered by this scripted person.

        Call it in the event loop that shall run them; `done` gets each ledger.
        """
        return self._dial(script, done, self._outbound_settings)

    def dial_colleagues(self, done: Callable[[CallLedger], None]) -> Dial:
        """The same, answered by whoever is at the number (`Settings.colleagues`)."""
        return self._dial(COLLEAGUE, done, self._colleague_settings)

    def _dial(
        self,
        script: Script | str,
        done: Callable[[CallLedger], None],
        settings_for: Callable[[dict[str, str]], Settings],
    ) -> Dial:
        loop = asyncio.get_running_loop()

        async def place(resource: CallResource, fields: dict[str, str]) -> None:
            first = None
            if "Url" not in fields:
                first = twiml.parse(fields.get("Twiml", "").encode(), "text/xml", self.settings.public_url)
            done(await self._run(resource, script, first, settings_for(fields)))

        def start(resource: CallResource, fields: dict[str, str]) -> None:
            loop.call_soon_threadsafe(lambda: self._keep(place(resource, fields)))

        return start

    def _outbound_settings(self, fields: dict[str, str]) -> Settings:
        detection, amd_callback = fields.get("MachineDetection", ""), fields.get("AsyncAmdStatusCallback", "")
        return dataclasses.replace(
            self.settings,
            voice_path=fields.get("Url", ""),
            voice_method=fields.get("Method", "POST"),
            status_path=fields.get("StatusCallback", ""),
            status_events=tuple(fields.get("StatusCallbackEvent", "completed").split()),
            fallback_path=fields.get("FallbackUrl", ""),
            amd_callback=amd_callback if detection and fields.get("AsyncAmd") == "true" else "",
            answered_by=_verdict(self.settings.answered_by, detection),
        )

    def _colleague_settings(self, fields: dict[str, str]) -> Settings:
        colleague = self.settings.colleagues.get(fields["To"], self.settings.colleague)
        timeout = float(fields.get("Timeout", "60"))
        answers = colleague.does == "answers" and colleague.rings < timeout
        does = "no-answer" if colleague.does == "answers" and not answers else colleague.does
        return dataclasses.replace(
            self._outbound_settings(fields),
            colleague=colleague,
            callee=does,
            rings=timeout if does == "no-answer" else colleague.rings,
            replies=(Reply(colleague.keys),),
            hangs_up=colleague.hangs_up,
        )

    async def _run(
        self, resource: CallResource, script: Script | str, first: Document | None, settings: Settings | None = None
    ) -> CallLedger:
        script = scripts.load(script) if isinstance(script, str) else script
        sid, account_sid = resource.sid, self.settings.account_sid
        numbers = (resource.from_number, resource.to_number)
        ledger = CallLedger(sid, account_sid, *numbers, resource.direction, script.name)
        call = Call(
            settings or self.settings, self._web, self.account, ledger, script, lambda line: self._tell(sid, line)
        )
        loop = asyncio.get_running_loop()

        def update(fields: dict[str, str]) -> None:
            loop.call_soon_threadsafe(self._update, call, fields)

        def start_recording(recording: RecordingResource) -> None:
            loop.call_soon_threadsafe(lambda: self._keep(call.recordings.begun(recording)))

        resource.update, resource.start_recording = update, start_recording
        self._calls.add(call)
        try:
            return await call.run(first)
        finally:
            self._calls.discard(call)

    def _update(self, call: Call, fields: dict[str, str]) -> None:
        if status := fields.get("Status"):
            call.tell(f"the API ends the call: {status}")
            call.commands.put_nowait(Over("api", "ended through the API", status))
        elif "Twiml" in fields:
            call.tell("the API gives new TwiML")
            document = twiml.parse(fields["Twiml"].encode(), "text/xml", self.settings.public_url)
            call.complain_of(document)
            call.commands.put_nowait(NewDocument(document))
        else:
            self._keep(self._redirect(call, fields))

    async def _redirect(self, call: Call, fields: dict[str, str]) -> None:
        call.tell("the API redirects the call")
        document = await call.fetch("api", fields.get("Method", "POST"), fields["Url"])
        call.commands.put_nowait(NewDocument(document) if document else Over("error", "no usable answer"))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._updates.add(task)
        task.add_done_callback(self._updates.discard)


def _verdict(answered_by: str, detection: str) -> str:
    """The end of a machine's greeting is only told to whoever asked for it (twilio.com/docs/voice)."""
    is_machine = answered_by.startswith("machine_")
    return "machine_start" if is_machine and detection == "Enable" else answered_by
