"""The pulse of the event loop tells how late it is, and a process that cannot keep up takes no calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from django.test import SimpleTestCase

from voiceagent.pulse import INTERVAL_SECONDS, Pulse


class PulseTests(SimpleTestCase):
    async def beats(self, number: int, disturb: Any = None) -> list[float]:
        """How late each of that many beats was; `disturb` runs on the loop after the first."""
        told: asyncio.Queue[tuple[float, float]] = asyncio.Queue()
        Pulse(asyncio.get_running_loop(), lambda late, now: told.put_nowait((late, now)))
        lates: list[float] = []
        times: list[float] = []
        while len(lates) < number:
            late, now = await asyncio.wait_for(told.get(), 5)
            lates.append(late)
            times.append(now)
            if len(lates) == 1 and disturb is not None:
                disturb()
        self.assertEqual(times, sorted(times))
        self.assertLessEqual(abs(times[-1] - time.monotonic()), 1.0)
        return lates

    async def test_it_goes_on_beating(self) -> None:
        self.assertTrue(all(late >= 0 for late in await self.beats(4)))

    async def test_a_loop_that_is_held_up_shows(self) -> None:
        held_up = 3 * INTERVAL_SECONDS

        def hold_up() -> None:
            until = time.monotonic() + held_up
            while time.monotonic() < until:
                pass

        self.assertGreaterEqual((await self.beats(2, hold_up))[1], held_up - INTERVAL_SECONDS - 0.01)
