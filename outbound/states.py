"""Which of two states of an attempt counts, and what follows from its end. Pure."""

from __future__ import annotations

from datetime import timedelta

from outbound.models import OutboundState

_ORDER = (
    OutboundState.WAITING,
    OutboundState.SUBMITTING,
    OutboundState.UNKNOWN,
    OutboundState.QUEUED,
    OutboundState.RINGING,
    OutboundState.IN_PROGRESS,
)
ENDED = frozenset(OutboundState) - frozenset(_ORDER)
NOT_REACHED = frozenset({OutboundState.BUSY, OutboundState.NO_ANSWER})

# Until the next attempt, after the first, second ... one; the last stands for all that follow.
_PAUSES = {
    OutboundState.BUSY: (timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=1)),
    OutboundState.NO_ANSWER: (timedelta(minutes=30), timedelta(hours=2), timedelta(hours=4)),
}

MACHINES_THAT_LISTEN = frozenset({"machine_end_beep", "machine_end_silence", "machine_end_other"})
MACHINES = MACHINES_THAT_LISTEN | {"machine_start", "fax"}


def goes_on(current: str, reached: str) -> bool:
    """Whether `reached` is further than `current`. What has ended stays as it ended."""
    if current in ENDED or reached == current:
        return False
    return reached in ENDED or _rank(reached) > _rank(current)


def from_carrier(status: str) -> OutboundState | None:
    """The state that a status of the carrier's means; None for a word that we do not know."""
    if status == "initiated":
        return OutboundState.QUEUED
    known = set(OutboundState.values) - {"waiting", "submitting", "unknown", "refused"}
    return OutboundState(status) if status in known else None


def pause_before_next(ended: str, attempt: int) -> timedelta | None:
    """How long to wait after attempt number `attempt` ended so; None when that is the end of it."""
    pauses = _PAUSES.get(OutboundState(ended))
    return pauses[min(attempt, len(pauses)) - 1] if pauses else None


def _rank(state: str) -> int:
    return _ORDER.index(OutboundState(state))
