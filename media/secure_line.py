"""One call's line while the caller types digits that nobody may have: the recording is paused, the engine is asked.

What `media.tools.collect_digits` works with. The digits themselves never come here, only their handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from calls import recording_pause, secret_entry
from calls.carriers.twilio_recording import Paused
from media.engine.commands import GiveDigits
from media.engine.events import DigitsWanted


class StillRecorded(Exception):
    """The recording could not be paused, or nobody knows whether it is."""


class LineBusy(Exception):
    """Digits are being collected already."""


class SecureLine:
    """`feed` tells the call's engine; `give` is told what it answers."""

    def __init__(self, call_sid: str, feed: Callable[[DigitsWanted], None]) -> None:
        self._call_sid = call_sid
        self._feed = feed
        self._busy = False
        self._over = False
        self._waiting: dict[str, asyncio.Future[GiveDigits]] = {}

    @asynccontextmanager
    async def unrecorded(self) -> AsyncIterator[None]:
        """While inside, nothing is recorded. Raise StillRecorded or LineBusy."""
        if self._busy:
            raise LineBusy
        self._busy, outcome = True, Paused.UNKNOWN  # also when this is cancelled before there is an answer
        secret_entry.begun(self._call_sid)
        try:
            outcome = await recording_pause.pause(self._call_sid)
            if outcome is Paused.UNKNOWN:
                raise StillRecorded
            yield
        finally:
            self._busy = False
            if not self._over:  # else it did not end, and the stream that takes its place has to know
                secret_entry.ended(self._call_sid)
            if outcome is not Paused.NOT_RECORDED:
                recording_pause.resume(self._call_sid)

    def taken_over(self) -> None:
        """The stream before was lost while digits were typed, perhaps with its process, which resumed nothing then."""
        recording_pause.resume(self._call_sid)

    async def typed(self, tool_call_id: str, ask: str) -> GiveDigits:
        """Have the caller asked, and wait for what they type; no handle if it is nothing, or the call is over."""
        if self._over:
            return GiveDigits(tool_call_id)
        future = self._waiting[tool_call_id] = asyncio.get_running_loop().create_future()
        self._feed(DigitsWanted(tool_call_id, ask))
        try:
            given: GiveDigits = await future
            return given
        finally:
            self._waiting.pop(tool_call_id, None)

    def give(self, given: GiveDigits) -> None:
        future = self._waiting.get(given.tool_call_id)
        if future is not None and not future.done():
            future.set_result(given)

    def close(self) -> None:
        """The call is over, however it ended: nobody waits any longer."""
        self._over = True
        for tool_call_id in self._waiting:
            self.give(GiveDigits(tool_call_id))
        self._feed = _nobody  # a circle, by which the whole call would wait for a collection of garbage


def _nobody(_wanted: DigitsWanted) -> None:
    """Is fed when the call is over."""
