"""Tools in a call: each is recorded from its beginning to its end, whatever the call does meanwhile."""

import asyncio
import json
from typing import Any
from unittest import mock

from media import tools
from media.bridge import CallBridge
from media.engine.commands import ClearPlayback, RunTool
from media.engine.events import DtmfPressed, ToolFinished
from tests.media.fakes import STREAM_SID, agent
from tests.media.test_bridge import CALLER, BridgeCase


class ToolsInACallTests(BridgeCase):
    async def talking(self, *commands: RunTool) -> tuple[CallBridge, Any]:
        """A call whose model has asked for these tools."""
        self.enterContext(mock.patch("tests.media.test_bridge.agent", lambda: agent(tools=("take_message",))))
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = list(commands)
        bridge.feed(DtmfPressed("1"))
        call.answers[DtmfPressed] = [ClearPlayback()]
        return bridge, call

    def uses(self) -> list[tuple[str, str]]:
        return [(use["tool_call_id"], use["state"]) for use in self.recorder.of("save_tool_use")]

    async def test_a_tool_is_recorded_before_it_runs_and_when_it_ends(self) -> None:
        arguments = json.dumps({"message": "The boiler leaks."})
        bridge, call = await self.talking(
            RunTool("call_1", "take_message", arguments, 1.0), RunTool("call_2", "take_message", "{}", 1.0)
        )
        await self.until(lambda: len([event for event in call.received if isinstance(event, ToolFinished)]) == 2)
        self.assertEqual(
            sorted(self.uses()),
            [("call_1", "finished"), ("call_1", "started"), ("call_2", "refused"), ("call_2", "started")],
        )
        [started, *_], [message] = self.recorder.of("save_tool_use"), self.recorder.of("save_message")
        self.assertEqual((started["name"], started["arguments"]), ("take_message", arguments))
        self.assertEqual((message["key"], message["text"]), ("call_1", "The boiler leaks."))
        self.assertEqual(message["callback_number"], CALLER.from_number)
        told = {event.tool_call_id: event.output for event in call.received if isinstance(event, ToolFinished)}
        self.assertEqual(
            {use["tool_call_id"]: use["output"] for use in self.recorder.of("save_tool_use") if use["output"]}, told
        )
        await self.end(bridge)

    async def test_a_tool_whose_sentence_is_cut_runs_to_its_end_and_is_recorded(self) -> None:
        go_on = asyncio.Event()
        with mock.patch("media.tools.run", _after(go_on)):
            bridge, call = await self.talking(RunTool("call_1", "take_message", "{}", 5.0))
            await self.until(self.uses)
            bridge.feed(DtmfPressed("1"))  # the caller speaks up: what is playing is cleared
            go_on.set()
            await self.until(lambda: any(isinstance(event, ToolFinished) for event in call.received))
        self.assertEqual(self.uses(), [("call_1", "started"), ("call_1", "finished")])
        await self.end(bridge)

    async def test_a_tool_that_is_at_work_when_the_call_ends_is_waited_for_a_moment(self) -> None:
        go_on = asyncio.Event()
        with mock.patch("media.tools.run", _after(go_on)), mock.patch("media.bridge.LAST_WORDS_SECONDS", 5.0):
            bridge, call = await self.talking(RunTool("call_1", "take_message", "{}", 5.0))
            await self.until(self.uses)
            ending = asyncio.create_task(self.end(bridge))
            await self.until(lambda: self.recorder.of("finalize_call_log"))
            go_on.set()
            await ending
        self.assertEqual(self.uses()[-1], ("call_1", "finished"))
        self.assertFalse(any(isinstance(event, ToolFinished) for event in call.received))  # nobody to tell any more

    async def test_one_that_does_not_end_then_stays_unfinished(self) -> None:
        with mock.patch("media.tools.run", _after(asyncio.Event())):
            bridge, _call = await self.talking(RunTool("call_1", "take_message", "{}", 60.0))
            await self.until(self.uses)
            await self.end(bridge)
        self.assertEqual(self.uses(), [("call_1", "started")])
        [end] = self.recorder.of("finalize_call_log")
        self.assertEqual([use["state"] for use in end["tool_uses"]], ["abandoned"])


def _after(go_on: asyncio.Event) -> Any:
    async def run(name: str, arguments: str, context: tools.ToolContext) -> dict[str, Any]:
        await go_on.wait()
        return {"ok": True}

    return run
