"""What an agent may do in a call: for each tool its name, JSON schema and timeout, and one function.

Some are built in (TOOLS); an operator adds others, which ask a service over HTTP (`media.tools.http`, docs/tools.md).
"""

from __future__ import annotations

import asyncio
import json
import traceback
from dataclasses import replace
from typing import Any

import structlog

from businesses.snapshots import AgentSnapshot, HttpTool
from media.engine.config import ToolSpec
from media.tools import arguments as tool_arguments
from media.tools import collect_digits, do_not_call, end_call, http, secrets, take_message, transfer_call
from media.tools.base import Tool, ToolContext, ToolError, ToolFailed, ToolRecord, ToolRefused

__all__ = [
    "TOOLS",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolFailed",
    "ToolRecord",
    "ToolRefused",
    "answer",
    "as_text",
    "for_outbound",
    "known",
    "run",
    "schemas",
    "specs",
]

log = structlog.get_logger(__name__)

TOOLS: dict[str, Tool] = {
    "end_call": Tool(
        name="end_call",
        description=end_call.DESCRIPTION,
        parameters=end_call.PARAMETERS,
        run=end_call.run,
        ends_call=True,
    ),
    "take_message": Tool(
        name="take_message",
        description=take_message.DESCRIPTION,
        parameters=take_message.PARAMETERS,
        run=take_message.run,
    ),
    "collect_digits": Tool(
        name="collect_digits",
        description=collect_digits.DESCRIPTION,
        parameters=collect_digits.PARAMETERS,
        run=collect_digits.run,
        timeout_seconds=collect_digits.TIMEOUT_SECONDS,
        collects_digits=True,
    ),
    "transfer_call": transfer_call.tool(()),
    "do_not_call": Tool(
        name="do_not_call",
        description=do_not_call.DESCRIPTION,
        parameters=do_not_call.PARAMETERS,
        run=do_not_call.run,
    ),
}
ON_EVERY_OUTBOUND_CALL = "do_not_call"


async def run(name: str, arguments: str, context: ToolContext) -> dict[str, Any]:
    """Run a tool of the agent's with the JSON text that the model wrote. Raise ToolRefused, or what the tool raises."""
    tool = next((tool for its_name, tool in _tools(context.agent) if its_name == name), ToolRefused("unknown_tool"))
    if isinstance(tool, ToolRefused):
        raise tool
    return await tool.run(tool_arguments.fitting(tool.parameters, tool_arguments.parse(arguments)), context)


async def answer(name: str, arguments: str, context: ToolContext, timeout_seconds: float) -> tuple[str, str]:
    """Run a tool; return what the model is told, as JSON text, and how it ended (a value of calls.models.ToolState):
    "finished", "failed", "timed_out" or "refused". Every failure becomes something the model can act on.

    The log gets a code for it, and no word of what was asked or answered. Digits that the caller typed in secret are
    not in it, should a service repeat them.
    """
    output, state = await _answer(name, arguments, context, timeout_seconds)
    return secrets.hidden(output, context.secrets), state


async def _answer(name: str, arguments: str, context: ToolContext, timeout_seconds: float) -> tuple[str, str]:
    told = log.bind(call_sid=context.call_sid, tool=name)
    try:
        async with asyncio.timeout(timeout_seconds):
            return as_text(await run(name, arguments, context)), "finished"
    except TimeoutError:
        told.warning("tool_timed_out")
        return as_text(
            {"error": "timeout", "message": "It took too long. It may have been done all the same."}
        ), "timed_out"
    except ToolRefused as refusal:
        told.warning("tool_refused", reason=refusal.reason)
        return as_text(refusal.answer()), "refused"
    except ToolError as failure:
        told.warning("tool_failed", reason=failure.reason)
        return as_text(failure.answer()), "failed"
    except Exception as error:  # noqa: BLE001 - the edge of a task
        # Without the error's own text, which may quote arguments.
        told.error("tool_broken", error=type(error).__name__, where=_place(error))
        return as_text({"error": "failed"}), "failed"


def as_text(output: dict[str, Any]) -> str:
    """Return what the model is given, and the record keeps: JSON, in characters that every encoding knows."""
    return json.dumps(output, ensure_ascii=False).encode("utf-8", "replace").decode()


def known(agent: AgentSnapshot) -> list[Tool]:
    """Return the agent's tools. One that nobody knows, or that could never work, is left out with a warning: an agent
    still answers."""
    tools = []
    for name, tool in _tools(agent):
        if isinstance(tool, ToolRefused):
            log.warning("tool_left_out", tool=name, reason=tool.reason)
        else:
            tools.append(tool)
    return tools


def for_outbound(agent: AgentSnapshot) -> AgentSnapshot:
    """Return the agent as it is on calls that we place: whoever is called can say that it was once too often."""
    if ON_EVERY_OUTBOUND_CALL in agent.tools:
        return agent
    return replace(agent, tools=(*agent.tools, ON_EVERY_OUTBOUND_CALL))


def specs(agent: AgentSnapshot) -> dict[str, ToolSpec]:
    """Return what the engine needs to know of the agent's tools."""
    return {
        tool.name: ToolSpec(tool.name, tool.timeout_seconds, tool.ends_call, tool.collects_digits, tool.puts_through)
        for tool in known(agent)
    }


def schemas(agent: AgentSnapshot) -> list[dict[str, Any]]:
    """Return what the model is told of the agent's tools."""
    return [tool.schema() for tool in known(agent)]


def _tools(agent: AgentSnapshot) -> list[tuple[str, Tool | ToolRefused]]:
    """The agent's tools by name, or why there is none: the built-in ones that it names, and all its HTTP tools. None of
    those takes the place of another, nor of a built-in one, whether the agent has that or not."""
    own = {definition.name for definition in agent.http_tools}
    built_in = [
        (name, _built_in(name, agent))
        for name in agent.tools
        if name not in own - TOOLS.keys() and (name != transfer_call.NAME or agent.transfer_options)
    ]
    taken = set(TOOLS)
    http_tools = []
    for definition in agent.http_tools:
        http_tools.append((definition.name, _http_tool(definition, taken)))
        taken.add(definition.name)
    return [*built_in, *http_tools]


def _built_in(name: str, agent: AgentSnapshot) -> Tool | ToolRefused:
    """Whom a caller may be put through to is the business's: a tool of its own for each agent."""
    if name == transfer_call.NAME:
        return transfer_call.tool(agent.transfer_options)
    return TOOLS.get(name) or ToolRefused("unknown_tool")


def _http_tool(definition: HttpTool, taken: set[str]) -> Tool | ToolRefused:
    if definition.name in taken:
        return ToolRefused("name_is_taken")
    try:
        return http.tool(definition)
    except ToolRefused as refusal:
        return refusal


def _place(error: BaseException) -> str:
    """Where it was raised, as file:line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
