"""What is known of one leg, somebody else who was called for the caller, out of facts that come in any order. Pure;
states are calls.models.LegState's.

Four sides tell of it: the agent that asked for it, the views that dial and brief, the carrier's callbacks of the leg,
and the end of <Dial>. A leg that is over counts more than one that is not. Of two ends the one that says more counts:
to the carrier a colleague who declined is a call that was answered and is over, as one who talked to the caller is, and
one whose caller gave up perhaps one that was not answered. Who was joined knows it best.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

RANKS = {
    "asked": 0,
    "ringing": 1,
    "answered": 2,
    "accepted": 3,
    "no-answer": 4,
    "busy": 5,
    "failed": 6,
    "refused": 7,
    "canceled": 8,
    "completed": 9,
}
UNREACHED = frozenset({"canceled", "no-answer", "busy", "failed", "refused"})

# Why a leg came to nothing, where it was not the dial policy (calls.dial_policy.SENTENCES): for the record.
REASONS = {
    "not_put_through": "The call went on, or was over, before it was dialled",
    "no_key": "Answered, and did not take the call",
    "said_no": "Declined",
    "not_placed": "The carrier did not take the call",
}


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: what the caller said is in it
class Leg:
    """With the columns of calls.models.CallLeg."""

    key: str
    kind: str
    target_name: str
    number: str
    leg_sid: str
    state: str
    reason: str
    briefing: str
    asked_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    duration_seconds: int | None


def merged(old: Leg, new: Leg) -> Leg:
    """Both facts as one: the same whichever came first, and however often."""
    furthest = max(old, new, key=_weight)
    return Leg(
        key=old.key,
        # The same in each fact that has it.
        kind=max(old.kind, new.kind),
        target_name=max(old.target_name, new.target_name),
        number=max(old.number, new.number),
        leg_sid=max(old.leg_sid, new.leg_sid),
        briefing=max(old.briefing, new.briefing),
        state=furthest.state,
        reason=furthest.reason,
        asked_at=_first(old.asked_at, new.asked_at),
        answered_at=_first(old.answered_at, new.answered_at),
        ended_at=max((at for at in (old.ended_at, new.ended_at) if at is not None), default=None),
        duration_seconds=max((n for n in (old.duration_seconds, new.duration_seconds) if n is not None), default=None),
    )


def _weight(leg: Leg) -> tuple[int, str]:
    return RANKS[leg.state], leg.reason


def _first(*times: datetime | None) -> datetime | None:
    return min((at for at in times if at is not None), default=None)
