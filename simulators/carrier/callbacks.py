"""Status callbacks of one call, in good order or not: Twilio promises no order.

Source: twilio.com/docs/voice/api/call-resource.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulators.carrier.call import Call

STATUS_OF_EVENT = {"initiated": "initiated", "ringing": "ringing", "answered": "in-progress"}


class StatusCallbacks:
    """Sends what the call is subscribed to. Early events go out on their own, `final` waits for its answer."""

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._sequence = 0
        self._kept: list[dict[str, str]] = []
        self._sending: set[asyncio.Task[None]] = set()

    def event(self, name: str) -> None:
        """initiated, ringing or answered has happened."""
        if self._wanted(name):
            self._put(self._params(STATUS_OF_EVENT[name]))

    def machine_detection(self) -> None:
        """The call was answered: by whom is reported a little later, if that was asked for."""
        if self._call.settings.amd_callback:
            self.keep(self._detect())

    async def _detect(self) -> None:
        call, settings = self._call, self._call.settings
        await asyncio.sleep(settings.amd_ms / 1000)
        if call.ledger.ended_at:  # nobody is left to be told from a machine
            return
        params = {
            "CallSid": call.ledger.call_sid,
            "AccountSid": call.ledger.account_sid,
            "AnsweredBy": settings.answered_by,
            "MachineDetectionDuration": str(settings.amd_ms),
        }
        with call.account.lock:
            call.account.calls[call.ledger.call_sid].answered_by = settings.answered_by
        answer = await call.request("amd", "POST", settings.absolute(settings.amd_callback), params)
        if not answer.ok:
            call.error(11200, f"machine detection callback answered {answer.status or answer.error}", fault=True)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Something on its way to the server, which the call's end waits for."""
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def final(self, status: str, duration_seconds: int) -> None:
        """The call has ended; returns when the server has answered."""
        if self._wanted("completed"):
            more = {"CallDuration": str(duration_seconds), "Duration": str(-(-duration_seconds // 60))}
            self._put(self._params(status) | more)
        if self._call.settings.faults.status_shuffle:
            in_order = list(self._kept)
            self._call.rng.shuffle(self._kept)
            if self._kept == in_order:  # chance would now and then leave nothing shuffled
                self._kept.reverse()
            for params in self._kept:
                await self._send(params)
        await self.drain()

    async def drain(self) -> None:
        """Waits for everything on its way."""
        while self._sending:
            await asyncio.gather(*self._sending)

    def _wanted(self, event: str) -> bool:
        settings = self._call.settings
        return bool(settings.status_path) and event in settings.status_events and not settings.faults.status_missing

    def _params(self, status: str) -> dict[str, str]:
        params = self._call.params(status) | {
            "Timestamp": format_datetime(datetime.now(UTC)),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
        }
        self._sequence += 1
        return params

    def _put(self, params: dict[str, str]) -> None:
        if self._call.settings.faults.status_shuffle:
            self._kept.append(params)
            return
        self.keep(self._send(params))

    async def _send(self, params: dict[str, str]) -> None:
        call, faults = self._call, self._call.settings.faults
        await asyncio.sleep(faults.status_delay_ms / 1000)
        token = f"{call.rng.getrandbits(128):032x}"
        url = call.settings.absolute(call.settings.status_path)
        for _ in range(2 if faults.status_duplicate else 1):
            answer = await call.request("status", "POST", url, params, token=token)
            if not answer.ok:
                call.error(11200, f"status callback answered {answer.status or answer.error}", fault=True)
