"""The costly moments of a call, its beginning and its end, one at a time: the audio of the others goes on in between.

Fifty calls that begin at once are a tenth of a second of work, and an event loop does all that is ready before it looks
at its sockets again.
"""

from __future__ import annotations

import asyncio
import weakref

_locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


async def mine() -> None:
    """What follows, up to the next wait, has a round of the event loop for itself among all that ask for one."""
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await asyncio.sleep(0)
