"""Who said in a call not to be called any more is on the business's do-not-call list from then on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from businesses.models import DoNotCall, DoNotCallSource
from calls.models import CallLog, ToolState
from calls.tool_uses import ToolUse

TOOL = "do_not_call"
_E164 = re.compile(r"\+[1-9]\d{6,14}")


def heed(call: CallLog, uses: Iterable[ToolUse]) -> None:
    """Add the numbers that these uses of the tool put onto the list. The tool wrote them, not the model; they come with
    the fact, so that it may be the first that is heard of the call."""
    for use in uses:
        number = _number(use) if use.name == TOOL and use.state == ToolState.FINISHED else ""
        if number:
            DoNotCall.objects.bulk_create(
                [
                    DoNotCall(
                        business_id=call.business_id,
                        number=number,
                        source=DoNotCallSource.CALLEE,
                        call_sid=call.call_sid,
                    )
                ],
                ignore_conflicts=True,
            )


def _number(use: ToolUse) -> str:
    try:
        output = json.loads(use.output)
    except ValueError:
        return ""
    number = output.get("number") if isinstance(output, dict) else None
    return number if isinstance(number, str) and _E164.fullmatch(number) else ""
