"""What is known of a caller, over several calls. Pure.

Each value stands with the time of the call that told it. What a newer call says wins, whichever is analysed first;
what a call does not say changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class Known(TypedDict):
    value: Any
    at: str  # ISO 8601, when the call began
    call: int  # its primary key


def number_of(direction: str, from_number: str, to_number: str) -> str:
    """The other side's number, or empty for who hides it: all the callers without one are not the same person."""
    number = to_number if direction == "outbound" else from_number
    return number if _E164.fullmatch(number) else ""


def merged(before: Mapping[str, Known], said: Mapping[str, Any], at: datetime, call: int) -> dict[str, Known]:
    """What is known after a call at `at` said this. The same call, analysed again, replaces what it said."""
    after = dict(before)
    for name, value in said.items():
        if value is None:
            continue
        standing = after.get(name)
        if standing is None or standing["call"] == call or datetime.fromisoformat(standing["at"]) <= at:
            after[name] = Known(value=value, at=at.isoformat(), call=call)
    return after
