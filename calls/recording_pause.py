"""The door through which a live call pauses its recording: threads of its own, a deadline, and nothing raised.

The event loop of the audio never asks the carrier itself.
"""

from __future__ import annotations

import asyncio
import logging

from calls.carriers import twilio_recording
from calls.carriers.twilio_recording import Paused
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

PAUSE_DEADLINE_SECONDS = 4.0

_pauses = BoundedPool("pause-recording", threads=4, queued=16)
_resumes = BoundedPool("resume-recording", threads=4, queued=256)


async def pause(call_sid: str) -> Paused:
    try:
        future = _pauses.submit(lambda: twilio_recording.pause(call_sid))
        outcome = await asyncio.wait_for(asyncio.wrap_future(future), PAUSE_DEADLINE_SECONDS)
    except (TimeoutError, PoolBusy):
        outcome = Paused.UNKNOWN
    if outcome is Paused.UNKNOWN:
        logger.error("recording not paused", extra={"call_sid": call_sid})
    return outcome


def resume(call_sid: str) -> None:
    """Return at once; that a recording stays paused is logged."""
    try:
        _resumes.submit(lambda: _resume(call_sid))
    except PoolBusy:
        logger.error("recording not resumed", extra={"call_sid": call_sid})


def _resume(call_sid: str) -> None:
    if not twilio_recording.resume(call_sid):
        logger.error("recording not resumed", extra={"call_sid": call_sid})
