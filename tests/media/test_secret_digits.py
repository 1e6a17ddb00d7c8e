"""Digits typed in secret, between the engine and the service that they are for."""

import asyncio
import json
from dataclasses import replace
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from businesses.snapshots import HttpTool
from calls.carriers.twilio_recording import Paused
from media import tools
from media.engine.commands import GiveDigits, RunTool
from media.engine.config import ToolSpec
from media.engine.events import DigitsWanted, DtmfPressed, ToolFinished
from media.secure_line import LineBusy, SecureLine, StillRecorded
from media.tools import http, secrets
from tests.media.fakes import CALL_SID, STREAM_SID, agent
from tests.media.test_bridge import CALLER, BridgeCase
from tests.media.test_http_tools import ServiceCase
from tests.media.test_tools import context, http_tool

CARD = "4111111111111111"
ASK = json.dumps({"ask": "Please type the number of your card."})
PARAMETERS = {
    "type": "object",
    "properties": {"card": {"type": "string", "format": "secret"}, "amount": {"type": "integer"}},
    "required": ["amount"],
}


class Recording:
    """Stands for the carrier: what is asked of it, and what it answers."""

    def __init__(self, case: SimpleTestCase, outcome: Paused = Paused.PAUSED) -> None:
        self.outcome = outcome
        self.did: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        case.enterContext(mock.patch("calls.recording_pause.pause", self._pause))
        case.enterContext(mock.patch("calls.recording_pause.resume", lambda call_sid: self.did.append("resume")))

    async def _pause(self, call_sid: str) -> Paused:
        self.did.append("pause")
        await self.answers.wait()
        return self.outcome


class TheLine(SimpleTestCase):
    def line(self, outcome: Paused = Paused.PAUSED) -> SecureLine:
        self.recording = Recording(self, outcome)
        self.fed: list[DigitsWanted] = []
        return SecureLine(CALL_SID, self.fed.append)

    async def test_a_recording_is_paused_around_it_and_one_that_is_none_is_left_alone(self) -> None:
        for outcome, did in ((Paused.PAUSED, ["pause", "resume"]), (Paused.NOT_RECORDED, ["pause"])):
            async with self.line(outcome).unrecorded():
                self.assertEqual(self.recording.did, ["pause"])
            self.assertEqual(self.recording.did, did)

    async def test_what_may_have_been_paused_is_resumed(self) -> None:
        line = self.line(Paused.UNKNOWN)
        with self.assertRaises(StillRecorded):
            async with line.unrecorded():
                self.fail("it is recorded")
        self.assertEqual(self.recording.did, ["pause", "resume"])

    async def test_also_when_the_call_ended_before_the_carrier_answered(self) -> None:
        line = self.line()
        self.recording.answers.clear()

        async def collect() -> None:
            async with line.unrecorded():
                self.fail("nobody asked on")

        task = asyncio.create_task(collect())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.assertEqual(self.recording.did, ["pause", "resume"])

    async def test_whoever_takes_the_call_over_knows_of_an_entry_that_did_not_end(self) -> None:
        line, told = self.line(), []
        self.enterContext(mock.patch("calls.secret_entry.begun", lambda call_sid: told.append("begun")))
        self.enterContext(mock.patch("calls.secret_entry.ended", lambda call_sid: told.append("ended")))
        async with line.unrecorded():
            self.assertEqual(told, ["begun"])
        self.assertEqual(told, ["begun", "ended"])
        async with line.unrecorded():
            line.close()  # the stream is over
        self.assertEqual(told, ["begun", "ended", "begun"])

    async def test_one_at_a_time(self) -> None:
        line = self.line()
        async with line.unrecorded():
            with self.assertRaises(LineBusy):
                async with line.unrecorded():
                    self.fail("twice")
        self.assertEqual(self.recording.did, ["pause", "resume"])

    async def test_whoever_waits_is_told_also_that_the_call_is_over(self) -> None:
        line = self.line()
        waiting = asyncio.create_task(line.typed("c1", "Type."))
        await asyncio.sleep(0)
        self.assertEqual(self.fed, [DigitsWanted("c1", "Type.")])
        line.give(GiveDigits("c2", "secret-9", 1))
        line.give(GiveDigits("c1", "secret-1", 16))
        self.assertEqual(await waiting, GiveDigits("c1", "secret-1", 16))
        waiting = asyncio.create_task(line.typed("c3", "Type."))
        await asyncio.sleep(0)
        line.close()
        self.assertEqual(await waiting, GiveDigits("c3"))
        self.assertEqual(await line.typed("c4", "Type."), GiveDigits("c4"))


class TheTool(BridgeCase):
    async def collect(self, outcome: Paused, given: GiveDigits) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Run it in a call; return what the model is told and what is on record."""
        self.enterContext(mock.patch("tests.media.test_bridge.agent", lambda: agent(tools=("collect_digits",))))
        self.recording = Recording(self, outcome)
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [RunTool("call_1", "collect_digits", ASK, 5.0)]
        call.answers[DigitsWanted] = [given]
        bridge.feed(DtmfPressed("1"))
        call.answers[DtmfPressed] = []
        await self.until(lambda: any(isinstance(event, ToolFinished) for event in call.received))
        [finished] = [event for event in call.received if isinstance(event, ToolFinished)]
        await self.end(bridge)
        return json.loads(finished.output), self.recorder.of("save_tool_use")

    async def test_the_model_gets_a_name_for_the_digits(self) -> None:
        told, uses = await self.collect(Paused.PAUSED, GiveDigits("call_1", "secret-1", 16))
        self.assertEqual(told, {"ok": True, "digits": "secret-1", "count": 16})
        self.assertEqual([use["state"] for use in uses], ["started", "finished"])
        self.assertEqual(self.recording.did, ["pause", "resume"])

    async def test_digits_are_not_collected_while_the_call_is_recorded(self) -> None:
        told, uses = await self.collect(Paused.UNKNOWN, GiveDigits("call_1", "secret-1", 16))
        self.assertEqual(told["error"], "still_recorded")
        self.assertIn("Apologise", told["message"])
        self.assertEqual([use["state"] for use in uses], ["started", "failed"])

    async def test_a_caller_who_typed_nothing_can_be_asked_again(self) -> None:
        told, _uses = await self.collect(Paused.NOT_RECORDED, GiveDigits("call_1"))
        self.assertEqual(told["error"], "nothing_typed")
        self.assertEqual(self.recording.did, ["pause"])

    async def test_the_engine_knows_that_the_model_hears_nothing_meanwhile(self) -> None:
        spec = tools.specs(agent(tools=("collect_digits",)))["collect_digits"]
        self.assertEqual(spec, ToolSpec("collect_digits", 120.0, collects_digits=True))


class WhereTheyGo(ServiceCase):
    async def ask_with(self, definition: HttpTool, **given: Any) -> tuple[str, str]:
        of = agent(tools=(), http_tools=(replace(definition, timeout_seconds=30),))  # the machine may be busy
        asked = context(of, secrets={"secret-1": CARD})
        try:
            return await tools.answer(definition.name, json.dumps(given), asked, 30)
        finally:
            await http.close()

    async def test_the_service_gets_the_digits_and_only_where_it_is_declared(self) -> None:
        _output, state = await self.ask_with(self.tool(parameters=PARAMETERS), card="secret-1", amount=5)
        self.assertEqual(state, "finished")
        self.assertEqual(json.loads(self.service.asked[0].body), {"card": CARD, "amount": 5})
        plain = {"type": "object", "properties": {"card": {"type": "string"}}}
        await self.ask_with(self.tool(parameters=plain), card="secret-1")
        self.assertEqual(json.loads(self.service.asked[1].body), {"card": "secret-1"})

    async def test_anything_but_a_handle_is_refused_there(self) -> None:
        for value in (CARD, "secret-2", ""):
            output, state = await self.ask_with(self.tool(parameters=PARAMETERS), card=value, amount=5)
            self.assertEqual((state, json.loads(output)["error"]), ("refused", "digits_not_collected"))
        self.assertEqual(self.service.asked, [])
        _output, state = await self.ask_with(self.tool(parameters=PARAMETERS), amount=5)
        self.assertEqual(state, "finished")  # it is not required

    async def test_a_service_that_repeats_them_is_not_repeated(self) -> None:
        for written in (CARD, "4111 1111 1111 1111", "4111-1111-1111-1111"):
            for status in (200, 422):
                self.service.answer.status = status
                self.service.answer.body = json.dumps({"paid_with": written, "order": "10000"}).encode()
                output, _state = await self.ask_with(self.tool(parameters=PARAMETERS), card="secret-1", amount=5)
                self.assertNotIn("1111", output)
                self.assertIn("secret-1", output)
                self.assertIn("10000", output)

    async def test_the_log_has_none_of_it(self) -> None:
        self.service.answer.status = 500
        with self.assertLogs("httpcore2", "DEBUG") as told:  # whatever the level
            await self.ask_with(self.tool(parameters=PARAMETERS), card="secret-1", amount=5)
        self.assertNotIn(CARD, str(self.logs) + str(told.output))
        self.assertNotIn(CARD, repr(context(agent(), secrets={"secret-1": CARD})))
        self.assertNotIn(CARD, repr(RunTool("c1", "pay", "{}", 1.0, {"secret-1": CARD})))

    async def test_a_tool_that_would_write_them_into_an_address_is_left_out(self) -> None:
        for changes in ({"method": "GET"}, {"path": "/pay/{card}"}):
            definition = self.tool(parameters=PARAMETERS, **changes)
            self.assertEqual(tools.specs(agent(tools=(), http_tools=(definition,))), {})
        self.assertEqual({line["reason"] for line in self.logs}, {"secret_in_address"})


class WhatIsHidden(SimpleTestCase):
    def test_only_the_whole_number(self) -> None:
        known = {"secret-1": "1234", "secret-2": CARD}
        self.assertEqual(secrets.hidden("1234 12345 01234 12.34", known), "secret-1 12345 01234 secret-1")
        self.assertEqual(secrets.hidden(f"x{CARD}y", known), "xsecret-2y")
        self.assertEqual(secrets.hidden("nothing", {}), "nothing")
        self.assertEqual(secrets.hidden('{"count": 5, "code": 123}', {"secret-1": "5"}), '{"count": 5, "code": 123}')

    def test_arguments_that_are_not_declared_are_not_touched(self) -> None:
        self.assertEqual(
            secrets.filled(http_tool().parameters, {"number": "secret-1"}, {"secret-1": "1"}), {"number": "secret-1"}
        )
