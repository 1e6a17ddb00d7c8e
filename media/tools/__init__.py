"""What an agent may do in a call: for each tool its name, JSON schema and timeout, and one function."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from media.engine.config import ToolSpec
from media.tools import end_call

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `run` takes the model's arguments, parsed and untrusted, and returns what the model is told (JSON)."""

    name: str
    description: str
    parameters: dict[str, Any]  # JSON schema of an object
    run: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
    timeout_seconds: float = 10.0
    ends_call: bool = False  # the engine acts on it itself: see media.engine.config.ToolSpec

    def schema(self) -> dict[str, Any]:
        """Return the tool as an OpenAI Realtime session names it (protocols, openai-realtime B2)."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


TOOLS: dict[str, Tool] = {
    "end_call": Tool(
        name="end_call",
        description=end_call.DESCRIPTION,
        parameters=end_call.PARAMETERS,
        run=end_call.run,
        ends_call=True,
    ),
}


class ToolRefused(Exception):
    """The model asked for something that cannot be run. `reason` is safe to log and to tell the model."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def run(name: str, arguments: str) -> dict[str, Any]:
    """Run a tool with the JSON text that the model wrote. Raise ToolRefused, or whatever the tool raises."""
    tool = TOOLS.get(name)
    if tool is None:
        raise ToolRefused("unknown_tool")
    try:
        parsed = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as error:
        raise ToolRefused("arguments_are_not_json") from error
    if not isinstance(parsed, dict):
        raise ToolRefused("arguments_are_not_an_object")
    return await tool.run(parsed)


def known(names: Iterable[str]) -> list[Tool]:
    """Return the tools of these names; a name nobody knows is left out with a warning (an agent still answers)."""
    tools = []
    for name in names:
        if tool := TOOLS.get(name):
            tools.append(tool)
        else:
            log.warning("unknown_tool_ignored", tool=name)
    return tools


def specs(names: Iterable[str]) -> dict[str, ToolSpec]:
    """Return what the engine needs to know of these tools."""
    return {tool.name: ToolSpec(tool.name, tool.timeout_seconds, tool.ends_call) for tool in known(names)}


def schemas(names: Iterable[str]) -> list[dict[str, Any]]:
    """Return what the model is told of these tools."""
    return [tool.schema() for tool in known(names)]
