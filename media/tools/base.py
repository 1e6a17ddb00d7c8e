"""What a tool is, what it is told of its call, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from businesses.snapshots import AgentSnapshot
from media.secure_line import SecureLine


class ToolRecord(Protocol):
    """The part of media.record.CallRecord that tools use. Answers at once and never raises; `now` is the loop's clock,
    in seconds."""

    def save_message(self, key: str, name: str, number: str, text: str, now: float) -> None: ...

    def save_leg(
        self, key: str, kind: str, target_name: str, briefing: str, now: float, *, refused_for: str = ""
    ) -> None: ...

    def tool_started(self, tool_call_id: str, name: str, arguments: str, now: float) -> None: ...

    def tool_finished(self, tool_call_id: str, output: str, state: str, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The call that a tool runs in. `now`: when it was asked for, by the loop's clock, in seconds."""

    call_sid: str
    business_id: int
    tool_call_id: str  # the model's; the same for the same request, so it is the key to doing something once
    from_number: str
    to_number: str
    agent: AgentSnapshot
    record: ToolRecord
    now: float
    is_outbound: bool = False  # the business called, and `to_number` is who was called
    line: SecureLine | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # digits by the handles that the model has


Run = Callable[[dict[str, Any], ToolContext], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `run` takes arguments that fit `parameters`, and returns what the model is told (JSON)."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON schema of an object
    run: Run
    timeout_seconds: float = 10.0
    ends_call: bool = False  # the engine acts on it itself: see media.engine.config.ToolSpec
    collects_digits: bool = False  # as there
    puts_through: bool = False  # the engine ends the stream once it has succeeded: see there

    def schema(self) -> dict[str, Any]:
        """Return the tool as an OpenAI Realtime session names it (protocols, openai-realtime B2)."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


class ToolError(Exception):
    """No result. `reason` is a short code, safe to log; `message` and `facts` are for the model (and the record) only,
    and are no part of the exception's text."""

    def __init__(self, reason: str, message: str = "", **facts: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self._message = message
        self._facts = facts

    def answer(self) -> dict[str, Any]:
        """Return what the model is told, so that it can try otherwise or say so to the caller."""
        message = {"message": self._message} if self._message else {}
        return {"error": self.reason, **message, **self._facts}


class ToolRefused(ToolError):
    """Not even tried: the model asked for something that cannot be, or that may not be."""


class ToolFailed(ToolError):
    """Tried, and it did not work."""
