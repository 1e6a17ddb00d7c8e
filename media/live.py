"""The calls that this process holds right now. Used on the event loop only, except where it says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from calls import admission, live_calls
from media.engine.events import CallCompleted, Event, HandOverRequested, ShutdownRequested


class LiveCall(Protocol):
    """What the registry needs of a bridge."""

    @property
    def call_sid(self) -> str: ...

    def feed(self, event: Event) -> None: ...


class LiveCalls:
    """Every bridge that is not finished, and whether new ones may join."""

    def __init__(self) -> None:
        self._calls: dict[LiveCall, Callable[[], None]] = {}
        self._changed = asyncio.Event()
        self.accepting = True
        self.last_end: float | None = None  # when a call was over, by the loop's clock; None: none has been yet

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: LiveCall) -> None:
        """Hold the call until `remove`, and let the carrier's status callback reach it by its CallSid."""
        loop = asyncio.get_running_loop()

        def completed() -> None:  # comes from the thread that serves the webhook
            loop.call_soon_threadsafe(call.feed, CallCompleted())

        self._calls[call] = completed
        live_calls.register(call.call_sid, completed)
        admission.get_admission().stream_opened(call.call_sid)

    def remove(self, call: LiveCall) -> None:
        completed = self._calls.pop(call, None)
        if completed is not None:
            live_calls.unregister(call.call_sid, completed)
            admission.get_admission().stream_closed(call.call_sid)
            self.last_end = asyncio.get_running_loop().time()
        self._changed.set()

    def find(self, call_sid: str) -> LiveCall | None:
        return next((call for call in self._calls if call.call_sid == call_sid), None)

    def stop_accepting(self) -> None:
        """From now on new calls are told to come again elsewhere, and /readyz says no."""
        self.accepting = False
        admission.get_admission().close(admission.DRAINING)

    def end_all(self) -> None:
        """End every call now; each finishes its record."""
        for call in list(self._calls):
            call.feed(ShutdownRequested())

    def hand_over_all(self, within_seconds: float) -> None:
        """End our part of every call, each at its next good moment within that time, so that another process goes on
        with it."""
        for call in list(self._calls):
            call.feed(HandOverRequested(within_seconds))

    async def wait_until_empty(self, timeout_seconds: float) -> bool:
        """Return whether no call was left within the time."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._calls:
                    self._changed = asyncio.Event()  # a new one: this object may outlive the loop that waited before
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


calls = LiveCalls()
