"""Whether there is room for one more call: asked before a caller is connected, so that nobody is met with silence.

Three kinds of limits. What this process can carry: its number of calls, its event loop in time, a journal that can be
written. What a business has lines for, over all processes. And whether this process takes calls at all: not while it
drains. In memory and thread-safe: webhooks are served in threads, streams open and close on the event loop.

Between processes a business's limit may be overshot: webhooks of the same moment each count the rows that are there,
and a call of another process is not seen before its row is written. Within one process it is exact.
"""

from __future__ import annotations

import statistics
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.conf import settings

from calls import journal

# The refusals, as short codes for the log.
DRAINING = "draining"
PROCESS_FULL = "process_full"
LOOP_LATE = "loop_late"
JOURNAL_SICK = "journal_sick"
BUSINESS_FULL = "business_full"

# An admitted call counts here until its stream opens; after this long it has opened elsewhere, or the caller is gone.
# Longer than a webhook may look at rows, so that no row is missed between being counted here and being seen there.
PENDING_SECONDS = 10.0
LATE_WINDOW_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Admitted:
    business_id: int
    until: float


class Admission:
    """Times are seconds of one monotonic clock (time.monotonic). `max_calls` 0: no limit."""

    def __init__(self, *, max_calls: int, late_seconds: float, journal_reason: Callable[[], str]) -> None:
        self._max_calls = max_calls
        self._late_seconds = late_seconds
        self._journal_reason = journal_reason
        self._lock = threading.Lock()
        self._closed = ""
        self._admitted: dict[str, _Admitted] = {}
        self._open: Counter[str] = Counter()  # streams by CallSid: a resumed one may open before the old one has closed
        self._business_of_open: dict[str, int] = {}
        self._late: deque[tuple[float, float]] = deque()

    def admit(
        self,
        call_sid: str,
        business_id: int,
        now: float,
        *,
        max_calls: int | None = None,
        live_calls: Collection[str] = (),
    ) -> str:
        """Take a place for the call and return "", or return why there is none.

        `max_calls` and `live_calls` (CallSids of the business that its rows show as live, read not more than
        PENDING_SECONDS ago) are for a new call. A call that already has its line, whose stream is to be resumed, gives
        neither: it is only asked whether this process can carry it. The call itself never counts against itself, so
        that a webhook sent twice, or a held caller who comes again, is asked about as if for the first time.
        """
        with self._lock:
            refusal = self._closed or self._process_refusal(call_sid, now)
            if not refusal and max_calls is not None:
                here = {sid for sid, admitted in self._admitted.items() if admitted.business_id == business_id}
                here.update(sid for sid, business in self._business_of_open.items() if business == business_id)
                if len(here.union(live_calls) - {call_sid}) >= max_calls:
                    refusal = BUSINESS_FULL
            if not refusal:
                self._admitted[call_sid] = _Admitted(business_id, now + PENDING_SECONDS)
            return refusal

    def fits(self, call_sid: str, now: float) -> bool:
        """Whether a stream of this call may open here. One whose webhook this process answered has its place."""
        with self._lock:
            return not self._is_full(call_sid, now)

    def stream_opened(self, call_sid: str) -> None:
        with self._lock:
            self._open[call_sid] += 1
            admitted = self._admitted.pop(call_sid, None)
            if admitted is not None:
                self._business_of_open[call_sid] = admitted.business_id

    def stream_closed(self, call_sid: str) -> None:
        """From now on only its row says whether the call still has its line."""
        with self._lock:
            self._open[call_sid] -= 1
            if self._open[call_sid] <= 0:
                del self._open[call_sid]
                self._business_of_open.pop(call_sid, None)

    def call_over(self, call_sid: str) -> None:
        """The carrier says that the call is over: no stream of it will come."""
        with self._lock:
            self._admitted.pop(call_sid, None)

    def loop_was_late(self, seconds: float, now: float) -> None:
        """The event loop did something `seconds` later than asked for. To be told a few times a second."""
        with self._lock:
            self._late.append((now, seconds))
            self._forget_lateness(now)

    def lateness(self, now: float) -> float:
        """How late the event loop is, in seconds: what callers are turned away by. Zero when nobody has told."""
        with self._lock:
            return self._lateness(now)

    def close(self, reason: str) -> None:
        """Admit nobody from now on."""
        with self._lock:
            self._closed = reason

    def _process_refusal(self, call_sid: str, now: float) -> str:
        if self._is_full(call_sid, now):
            return PROCESS_FULL
        if self._lateness(now) > self._late_seconds:
            return LOOP_LATE
        return JOURNAL_SICK if self._journal_reason() else ""

    def _is_full(self, call_sid: str, now: float) -> bool:
        for sid in [sid for sid, admitted in self._admitted.items() if admitted.until <= now]:
            del self._admitted[sid]
        others = len((self._admitted.keys() | self._open.keys()) - {call_sid})
        return 0 < self._max_calls <= others

    def _lateness(self, now: float) -> float:
        """The median: one long collection of garbage is not a loop that cannot keep up."""
        self._forget_lateness(now)
        return statistics.median(late for _, late in self._late) if self._late else 0.0

    def _forget_lateness(self, now: float) -> None:
        while self._late and self._late[0][0] < now - LATE_WINDOW_SECONDS:
            self._late.popleft()


_admission: Admission | None = None
_making = threading.Lock()


def get_admission() -> Admission:
    """The one of this process."""
    global _admission
    with _making:
        if _admission is None:
            _admission = Admission(
                max_calls=settings.MAX_CALLS_PER_PROCESS,
                late_seconds=settings.LOOP_LATE_MS / 1000,
                journal_reason=journal.reason,
            )
        return _admission


def call_over(call_sid: str) -> None:
    get_admission().call_over(call_sid)


def admit(
    call_sid: str, business_id: int, now: float, *, max_calls: int | None = None, live_calls: Collection[str] = ()
) -> str:
    return get_admission().admit(call_sid, business_id, now, max_calls=max_calls, live_calls=live_calls)
