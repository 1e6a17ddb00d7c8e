"""How a process lets go of its calls without cutting one: no new ones, time for those that are here, then a hand-over.

Servers of ASGI end every socket at SIGTERM (daphne without even a `finally`, uvicorn with 1012), so that each deploy
would cut every call. Here a stop first waits for the calls, for as long as DRAIN_SECONDS says. What is left then is
handed over: each stream is closed by us at a good moment, the carrier asks what comes next, and another process, which
the balancer leads it to, goes on with the call.

With DRAIN_SECONDS 0 nobody else is there, and the calls end at once.
"""

from __future__ import annotations

import asyncio

import structlog

from media.live import LiveCalls

log = structlog.get_logger(__name__)

HAND_OVER_SECONDS = 10.0  # how long each call may wait for its good moment
ENDING_SECONDS = 7.0  # for a call that was told to end: late transcripts (3 s), then closing frames (3 s)
LINGER_SECONDS = 2.0  # after the last stream: the carrier asks at once what comes next, perhaps still here
REPORT_SECONDS = 60.0


async def drain(calls: LiveCalls, seconds: float) -> None:
    """Take no more calls; return when none is left, which takes at most `seconds`, the time to hand over those that are
    still here then, and a moment for the carrier to ask what comes next."""
    calls.stop_accepting()
    log.info("draining", live_calls=len(calls), seconds=seconds)
    if not await _ended_by_themselves(calls, seconds):
        await _end(calls, hand_over=seconds > 0)
    await _linger(calls)


async def _ended_by_themselves(calls: LiveCalls, seconds: float) -> bool:
    """Return whether no call is left within the time; say once a minute how many are."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not await calls.wait_until_empty(min(max(0.0, end - loop.time()), REPORT_SECONDS)):
        left = end - loop.time()
        if left <= 0:
            return False
        log.info("draining", live_calls=len(calls), seconds=round(left))
    return True


async def _end(calls: LiveCalls, *, hand_over: bool) -> None:
    log.warning("calls_handed_over" if hand_over else "calls_ended", live_calls=len(calls))
    if hand_over:
        calls.hand_over_all(HAND_OVER_SECONDS)
    else:
        calls.end_all()
    if not await calls.wait_until_empty(ENDING_SECONDS + (HAND_OVER_SECONDS if hand_over else 0)):
        log.error("calls_left_at_stop", live_calls=len(calls))


async def _linger(calls: LiveCalls) -> None:
    """Stay reachable until the carrier has had time to ask about the stream that ended last, however it ended: what
    this process knows of it, the database may not know yet."""
    if calls.last_end is not None:
        await asyncio.sleep(calls.last_end + LINGER_SECONDS - asyncio.get_running_loop().time())
