"""What is counted of the running system, as plain values. None: it could not be asked, which is not zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

# A web process beats every 10 s (calls.heartbeats); after this long its calls are looked after by the reaper.
SILENT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How jobs ended that keep a result or are counted; one that is to run again has not ended."""

    succeeded: int = 0
    failed: int = 0

    @property
    def count(self) -> int:
        return self.succeeded + self.failed

    @property
    def rate(self) -> float | None:
        """The share that succeeded; None when there were none."""
        return self.succeeded / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Waits:
    """From when a job was handed to the broker until its row stood, in seconds, of the latest jobs of the last hour."""

    p50: float
    p95: float
    count: int
    retried: int

    @classmethod
    def of(cls, seconds: Sequence[float], retried: int) -> Waits | None:
        if not seconds:
            return None
        return cls(nearest_rank(seconds, 0.5), nearest_rank(seconds, 0.95), len(seconds), retried)


@dataclass(frozen=True, slots=True)
class Queue:
    """`oldest_seconds`: of the message that waits longest, None also when none waits or it does not say since when.
    `unacknowledged`: taken by a worker and not finished, or waiting there for its next try."""

    name: str
    depth: int | None = None
    oldest_seconds: float | None = None
    unacknowledged: int | None = None
    workers: int | None = None
    hour: Outcomes | None = None
    day: Outcomes | None = None
    fact_to_row: Waits | None = None
    retrying: int | None = None
    dead_letters: int | None = None


@dataclass(frozen=True, slots=True)
class WebProcess:
    """`loop_late_seconds`: how late its event loop was at its last beat (calls.admission.Admission.lateness)."""

    host: str
    pid: int
    live_calls: int
    loop_late_seconds: float | None
    silent_seconds: float

    @property
    def beats(self) -> bool:
        return self.silent_seconds <= SILENT_SECONDS


@dataclass(frozen=True, slots=True)
class Journal:
    """Of this machine. `left`: files that nobody has touched for long, so that no living call can be theirs."""

    files: int
    bytes: int
    left: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`broker_error`, `database_error`: the name of what went wrong; empty when it answered."""

    at: datetime
    queues: tuple[Queue, ...]
    broker_error: str = ""
    database_error: str = ""
    unacknowledged: int | None = None
    orphaned: int | None = None  # unacknowledged, and no living worker renews its hold on them
    processes: tuple[WebProcess, ...] | None = None
    journal: Journal | None = None

    @property
    def live_calls(self) -> int | None:
        if self.processes is None:
            return None
        return sum(process.live_calls for process in self.processes if process.beats)

    @property
    def beating(self) -> int | None:
        return None if self.processes is None else sum(process.beats for process in self.processes)


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed: none is made up."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
