"""That a caller is typing digits that nobody may have, told to whichever process takes the call over if its stream is
lost meanwhile: what is typed there may be the rest of them, and the recording may still be paused.

In the cache: a process that is killed says nothing any more. No digit is ever here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from django.core.cache import cache
from redis.exceptions import RedisError

from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

READ_DEADLINE_SECONDS = 0.5  # a caller who was cut off hears nothing meanwhile
KEPT_SECONDS = 3600  # longer than a call goes on after it was taken over, mostly

_writes = BoundedPool("secret-entry", threads=1)  # one: of two words about a call the later one counts
_reads = BoundedPool("read-secret-entry", threads=4)


def begun(call_sid: str) -> None:
    """Return at once; that it could not be told is logged."""
    _tell(call_sid, lambda: cache.set(_key(call_sid), 1, timeout=KEPT_SECONDS))


def ended(call_sid: str) -> None:
    """Not to be told when the stream is over: then it did not end."""
    _tell(call_sid, lambda: cache.delete(_key(call_sid)))


async def was_lost(call_sid: str) -> bool:
    """Whether digits were being typed when the stream before ended. Never raises: unknown counts as yes, since keys
    that are forgotten can be pressed again."""
    try:
        future = _reads.submit(lambda: cache.get(_key(call_sid)) is not None)
        return await asyncio.wait_for(asyncio.wrap_future(future), READ_DEADLINE_SECONDS)
    except (RedisError, OSError, PoolBusy) as error:  # TimeoutError is an OSError
        logger.warning(
            "unknown whether secret digits were typed", extra={"call_sid": call_sid, "error": type(error).__name__}
        )
        return True


def _tell(call_sid: str, write: Callable[[], object]) -> None:
    def work() -> None:
        try:
            write()
        except (RedisError, OSError) as error:
            _not_told(call_sid, error)

    try:
        _writes.submit(work)
    except PoolBusy as error:
        _not_told(call_sid, error)


def _not_told(call_sid: str, error: Exception) -> None:
    logger.warning("not told that secret digits are typed", extra={"call_sid": call_sid, "error": type(error).__name__})


def _key(call_sid: str) -> str:
    return f"secret-entry:{call_sid}"
