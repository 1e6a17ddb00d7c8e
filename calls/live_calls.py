"""Which calls this process is carrying, and how its last ones ended: the carrier's HTTP and the live call meet here.

Thread-safe: views run in threads, the live calls on the event loop. In memory; how a stream ended is also told to the
other web processes by the cache, because the carrier asks one of them at once, before the row says it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from django.core.cache import cache

logger = logging.getLogger(__name__)

_REMEMBERED_ENDS = 1000
_SHARED_SECONDS = 600
TRANSFERRED = "transferred"  # calls.models.EndedReason

_lock = threading.Lock()
_callbacks: dict[str, Callable[[], None]] = {}
_ended: OrderedDict[tuple[str, int], str] = OrderedDict()  # by CallSid and stream


@dataclass(frozen=True, slots=True)
class AskedTransfer:
    """Whom a call is to be put through to once its stream is closed; `key` is that of its leg."""

    key: str
    target_id: int


_transfers: OrderedDict[str, AskedTransfer] = OrderedDict()  # by CallSid, the latest


def register(call_sid: str, callback: Callable[[], None]) -> None:
    """From now on `callback` is told when the carrier says that this call is over. It is called in another thread and
    must return at once (on an event loop: `loop.call_soon_threadsafe`)."""
    with _lock:
        _callbacks[call_sid] = callback


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


def note_ended(call_sid: str, ended_reason: str, stream_number: int = 0) -> None:
    """Remember how a stream of a call ended (calls.models.EndedReason). To be called before its socket is closed:
    Twilio asks what comes next at once, and the database may hear of the end later."""
    key = (call_sid, stream_number)
    with _lock:
        _ended[key] = ended_reason
        _ended.move_to_end(key)
        while len(_ended) > _REMEMBERED_ENDS:
            _ended.popitem(last=False)


def ended_reason(call_sid: str, stream_number: int = 0) -> str:
    """How the stream ended, as far as this process knows; empty when it does not."""
    with _lock:
        return _ended.get((call_sid, stream_number), "")


def share_ending(call_sid: str, stream_number: int) -> None:
    """Tell every web process how this stream ended, as far as this one knows. Blocks; raise RedisError, OSError."""
    reason, asked = ended_reason(call_sid, stream_number), transfer(call_sid)
    if reason == TRANSFERRED and asked is not None:
        cache.set(_transfer_key(call_sid), f"{asked.target_id}:{asked.key}", timeout=_SHARED_SECONDS)
    if reason:
        cache.set(_ending_key(call_sid, stream_number), reason, timeout=_SHARED_SECONDS)


def shared_ending(call_sid: str, stream_number: int) -> str:
    """How this stream ended, as another process told; empty when none did. Blocks; raise RedisError, OSError."""
    return str(cache.get(_ending_key(call_sid, stream_number), ""))


def note_transfer(call_sid: str, asked: AskedTransfer) -> None:
    """Remember whom the call is to be put through to, should its stream end for that."""
    with _lock:
        _transfers[call_sid] = asked
        _transfers.move_to_end(call_sid)
        while len(_transfers) > _REMEMBERED_ENDS:
            _transfers.popitem(last=False)


def transfer(call_sid: str) -> AskedTransfer | None:
    """Whom it is to be put through to, as far as this process knows."""
    with _lock:
        return _transfers.get(call_sid)


def shared_transfer(call_sid: str) -> AskedTransfer | None:
    """The same, as another process told. Blocks; raise RedisError, OSError."""
    target_id, _, key = str(cache.get(_transfer_key(call_sid), "")).partition(":")
    return AskedTransfer(key, int(target_id)) if target_id.isdigit() else None


def _transfer_key(call_sid: str) -> str:
    return f"transfer:{call_sid}"


def _ending_key(call_sid: str, stream_number: int) -> str:
    return f"stream-ended:{call_sid}:{stream_number}"


def count() -> int:
    with _lock:
        return len(_callbacks)
