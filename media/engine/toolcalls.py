"""Tool calls of the model: each runs once ever, is answered once, and in the order of asking within its response.

When every call of a response has its answer, and the response itself is done, the model is to be asked to go on: once.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from media.engine.commands import RunTool, SendNote, SendToolResult
from media.engine.config import ToolSpec
from media.engine.events import ToolCalled

UNKNOWN_TOOL = '{"error": "There is no such tool."}'
TIMED_OUT = '{"error": "The tool did not answer in time."}'
MOST_NOTES = 20
CALL_ENDS = '{"status": "The call ends once the goodbye has been heard, unless the caller speaks up."}'


@dataclass(slots=True)
class _Pending:
    tool_call_id: str
    name: str
    deadline: float
    ends_call: bool  # ... or puts the caller through, which ends the stream
    output: str | None = None
    sent: bool = False
    moved: bool = False  # the session that asked is gone


class ToolCalls:
    def __init__(self) -> None:
        self.notes: deque[str] = deque(maxlen=MOST_NOTES)  # what tools answered: a new session of the model knows none
        self._seen: set[str] = set()
        self._groups: dict[str, list[_Pending]] = {}  # by response, until it is answered and done

    @property
    def pending(self) -> bool:
        return bool(self._groups)

    @property
    def running(self) -> bool:
        """Is an answer of a tool waited for?"""
        return any(call.output is None for group in self._groups.values() for call in group)

    def is_new(self, tool_call_id: str) -> bool:
        return tool_call_id not in self._seen

    def called(
        self, event: ToolCalled, spec: ToolSpec | None, secrets: Mapping[str, str], now: float
    ) -> list[RunTool | SendToolResult | SendNote]:
        """Run a tool, or answer at once when there is nothing to run. `spec`: None if there is no such tool."""
        if event.tool_call_id in self._seen:
            return []
        self._seen.add(event.tool_call_id)
        ends_call = spec is not None and spec.ends_call
        timeout = spec.timeout_seconds if spec is not None else 0.0
        pending = _Pending(event.tool_call_id, event.name, now + timeout, ends_call)
        self._groups.setdefault(event.response_id, []).append(pending)
        if spec is None:
            pending.output = UNKNOWN_TOOL
        elif ends_call:
            pending.output = CALL_ENDS
        else:
            return [RunTool(event.tool_call_id, event.name, event.arguments, timeout, dict(secrets))]
        return [*self._results(event.response_id)]

    def model_changed(self) -> None:
        """Another session goes on, which has asked for nothing: what is still to come becomes a note for it."""
        for group in self._groups.values():
            for pending in group:
                pending.moved = True
                pending.sent = pending.output is not None  # with the notes

    def waiting(self, tool_call_id: str) -> tuple[str, str] | None:
        """The name of a tool whose answer is waited for, and the response that asked for it."""
        found = self._find(tool_call_id)
        return (found[1].name, found[0]) if found is not None else None

    def finished(self, tool_call_id: str, output: str, *, ends_call: bool = False) -> list[SendToolResult | SendNote]:
        """A tool answered. Nothing for an answer nobody waits for (late, twice). `ends_call`: with this answer it
        does."""
        found = self._find(tool_call_id)
        if found is None:
            return []
        response_id, pending = found
        pending.output, pending.ends_call = output, pending.ends_call or ends_call
        self.notes.append(_note(pending))
        return self._results(response_id)

    def _find(self, tool_call_id: str) -> tuple[str, _Pending] | None:
        for response_id, group in self._groups.items():
            for pending in group:
                if pending.tool_call_id == tool_call_id and pending.output is None:
                    return response_id, pending
        return None

    def deadline(self) -> float | None:
        return min(
            (call.deadline for group in self._groups.values() for call in group if call.output is None), default=None
        )

    def expired(self, now: float) -> list[str]:
        """The calls whose tools took too long; answer them with TIMED_OUT through `finished`."""
        calls = [call for group in self._groups.values() for call in group]
        return [call.tool_call_id for call in calls if call.output is None and call.deadline <= now]

    def answered(self, active_response: str | None) -> list[tuple[str, bool]]:
        """Take out the responses that are done and answered: (response id, whether it only asked to end the call)."""
        done = [
            (response_id, all(call.ends_call for call in group))
            for response_id, group in self._groups.items()
            if response_id != active_response and all(call.sent for call in group)
        ]
        for response_id, _ in done:
            del self._groups[response_id]
        return done

    def _results(self, response_id: str) -> list[SendToolResult | SendNote]:
        results: list[SendToolResult | SendNote] = []
        for call in self._groups[response_id]:
            if call.output is None:
                if call.moved:
                    continue  # notes say what they are about
                break
            if not call.sent:
                call.sent = True
                results.append(SendNote(_note(call)) if call.moved else SendToolResult(call.tool_call_id, call.output))
        return results


def _note(call: _Pending) -> str:
    return f"[{call.name} answered: {call.output}]"
