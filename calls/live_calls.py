"""Which calls this process is carrying, and how its last ones ended: the carrier's HTTP and the live call meet here.

Thread-safe: views run in threads, the live calls on the event loop. In memory only; with several web processes each
knows its own calls, and everybody else reads the row.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

logger = logging.getLogger(__name__)

_REMEMBERED_ENDS = 1000

_lock = threading.Lock()
_callbacks: dict[str, Callable[[], None]] = {}
_ended: OrderedDict[str, str] = OrderedDict()


def register(call_sid: str, callback: Callable[[], None]) -> None:
    """From now on `callback` is told when the carrier says that this call is over. It is called in another thread and
    must return at once (on an event loop: `loop.call_soon_threadsafe`)."""
    with _lock:
        _callbacks[call_sid] = callback
        _ended.pop(call_sid, None)


def unregister(call_sid: str, callback: Callable[[], None] | None = None) -> None:
    """Forget the call. With `callback` given only if it is still that one: a second stream may have taken its place."""
    with _lock:
        if callback is None or _callbacks.get(call_sid) is callback:
            _callbacks.pop(call_sid, None)


def notify_completed(call_sid: str) -> bool:
    """The carrier says that the call is over. Return whether this process was carrying it."""
    with _lock:
        callback = _callbacks.get(call_sid)
    if callback is None:
        return False
    try:
        callback()
    except RuntimeError:  # the loop it posts to has been closed: the call is ending by itself
        logger.info("live call could not be told that it is over", extra={"call_sid": call_sid})
        return False
    return True


def note_ended(call_sid: str, ended_reason: str) -> None:
    """Remember how a call ended (calls.models.EndedReason). To be called before its socket is closed: Twilio asks what
    comes next at once, and the database may hear of the end later."""
    with _lock:
        _ended[call_sid] = ended_reason
        _ended.move_to_end(call_sid)
        while len(_ended) > _REMEMBERED_ENDS:
            _ended.popitem(last=False)


def ended_reason(call_sid: str) -> str:
    """How the call ended, as far as this process knows; empty when it does not."""
    with _lock:
        return _ended.get(call_sid, "")


def count() -> int:
    with _lock:
        return len(_callbacks)
