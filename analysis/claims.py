"""Is what the agent said it had done in the record of what was done? Pure.

The model only lists what was said. What was done is known without it: tools that finished, messages that were kept,
people who were reached. An agent that says "I have booked you a table" without the tool for it made that up, and
somebody should know before the guest stands at the door.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from analysis.findings import NO_TOOL, Claim

TAKE_MESSAGE = "take_message"
TALKING = frozenset({"end_call"})
"""Tools that do nothing for a caller."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """What was done in a call."""

    finished_tools: frozenset[str] = frozenset()
    messages: int = 0
    people_reached: int = 0  # legs that were answered


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim, and whether a deed stands behind it."""

    kind: str
    tool: str
    quote: str
    is_backed: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check(claims: Iterable[Claim], deeds: Deeds) -> tuple[Checked, ...]:
    return tuple(Checked(claim.kind, claim.tool, claim.quote, is_backed(claim, deeds)) for claim in claims)


def is_backed(claim: Claim, deeds: Deeds) -> bool:
    """Messages and transfers have a ledger of their own, which counts whatever tool the model names; anything else is
    backed by the very tool that would do it, and by no other one."""
    match claim.kind:
        case "message":
            return deeds.messages > 0 or TAKE_MESSAGE in deeds.finished_tools
        case "transfer":
            return deeds.people_reached > 0
        case _:
            return claim.tool not in TALKING | {NO_TOOL} and claim.tool in deeds.finished_tools
