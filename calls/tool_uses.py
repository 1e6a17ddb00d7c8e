"""What is known of one use of a tool, out of facts that come in any order. Pure; states are calls.models.ToolState's.

A use that has ended counts more than one that has not. Of two ends the one that says more counts: what was given up at
the end of the call, or took too long, may have come to its end after all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

RANKS = {"started": 0, "abandoned": 1, "timed_out": 2, "failed": 3, "refused": 4, "finished": 5}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: what the caller said is in it
class ToolUse:
    """With the columns of calls.models.ToolUse."""

    tool_call_id: str
    name: str
    arguments: str
    output: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None


def merged(old: ToolUse, new: ToolUse) -> ToolUse:
    """Both facts as one: the same whichever came first, and however often."""
    end = max(old, new, key=_weight)
    starts = [use.started_at for use in (old, new) if use.started_at is not None]
    return replace(
        end,
        # The same in each fact that has it.
        name=max(old.name, new.name),
        arguments=max(old.arguments, new.arguments),
        started_at=min(starts, default=None),
    )


def _weight(use: ToolUse) -> tuple[int, datetime, str]:
    return RANKS[use.state], use.ended_at or _NEVER, use.output
