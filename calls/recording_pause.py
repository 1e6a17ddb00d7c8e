"""The door through which a live call pauses its recording: threads of its own, a deadline, and nothing raised.

The event loop of the audio never asks the carrier itself.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future

from calls.carriers import twilio_recording
from calls.carriers.twilio_recording import Paused
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

PAUSE_DEADLINE_SECONDS = 4.0

_pauses = BoundedPool("pause-recording", threads=4, queued=16)
_resumes = BoundedPool("resume-recording", threads=4, queued=256)
_resuming: dict[str, Future[None]] = {}  # by CallSid


async def pause(call_sid: str) -> Paused:
    """Not before what was to be resumed is: tried again later, that would end this pause."""
    try:
        async with asyncio.timeout(PAUSE_DEADLINE_SECONDS):
            if (resuming := _resuming.get(call_sid)) is not None:
                await asyncio.wait({asyncio.wrap_future(resuming)})
            future = _pauses.submit(lambda: twilio_recording.pause(call_sid))
            outcome = await asyncio.wrap_future(future)
    except (TimeoutError, PoolBusy):
        outcome = Paused.UNKNOWN
    if outcome is Paused.UNKNOWN:
        logger.error("recording not paused", extra={"call_sid": call_sid})
    return outcome


def resume(call_sid: str) -> None:
    """Return at once; that a recording stays paused is logged."""
    try:
        future = _resuming[call_sid] = _resumes.submit(lambda: _resume(call_sid))
    except PoolBusy:
        logger.error("recording not resumed", extra={"call_sid": call_sid})
        return
    future.add_done_callback(lambda done: _forget(call_sid, done))


def _forget(call_sid: str, done: Future[None]) -> None:
    if _resuming.get(call_sid) is done:
        _resuming.pop(call_sid, None)


def _resume(call_sid: str) -> None:
    if not twilio_recording.resume(call_sid):
        logger.error("recording not resumed", extra={"call_sid": call_sid})
