"""Whether the event loop keeps up: it asks to be woken ten times a second, and tells how late it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_SECONDS = 0.1


class Pulse:
    """Beats on `loop` from its making until the loop ends. `tell(late, now)`: seconds, by time.monotonic."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[float, float], None]) -> None:
        self._loop = loop
        self._tell = tell
        self._wait()

    def _wait(self) -> None:
        self._due = time.monotonic() + INTERVAL_SECONDS
        self._loop.call_later(INTERVAL_SECONDS, self._beat)

    def _beat(self) -> None:
        now = time.monotonic()
        self._tell(max(0.0, now - self._due), now)
        self._wait()
