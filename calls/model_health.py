"""Is the speech model of any use at the moment? A circuit breaker for the server's key, in this process.

Callers must not find out one by one that the key is refused or the model's servers are down: after a few failures in a
row calls are not given to an agent at all for a while. One is let through now and then to see whether that is over.
"""

from __future__ import annotations

import threading
from collections import Counter

FAILURES = 3  # in a row, of sessions that were to be opened; a refusal that will not change counts at once
REST_SECONDS = 20.0


class Breaker:
    """`model` is a name, or "" for the server's own.

    Times are seconds of one monotonic clock. Thread-safe: webhooks ask in their threads, calls tell on the loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._rests_until: dict[str, float] = {}

    def failed(self, model: str, now: float, *, permanent: bool) -> None:
        with self._lock:
            self._failures[model] += FAILURES if permanent else 1
            if permanent:
                self._refused.add(model)
            if self._failures[model] >= FAILURES:
                self._rests_until[model] = now + REST_SECONDS

    def worked(self, model: str) -> None:
        with self._lock:
            self._failures.pop(model, None)
            self._refused.discard(model)
            self._rests_until.pop(model, None)

    def is_refused(self, model: str) -> bool:
        """Did it say itself that trying again is useless?"""
        with self._lock:
            return model in self._refused

    def may_try(self, model: str, now: float) -> bool:
        """May a call be given to the model? After a rest, one of them; the others when it has worked."""
        with self._lock:
            until = self._rests_until.get(model)
            if until is None:
                return True
            if now < until:
                return False
            self._rests_until[model] = now + REST_SECONDS
            return True


_breaker = Breaker()
note_failure = _breaker.failed
note_success = _breaker.worked
may_try = _breaker.may_try
is_refused = _breaker.is_refused
