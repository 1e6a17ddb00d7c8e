"""Whole calls through the real parts: consumer, bridge, engine, codecs and client, against the simulated model."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from unittest import mock

from django.core.cache import cache
from django.test import SimpleTestCase, override_settings
from structlog.testing import capture_logs

from calls import doors
from media import live
from simulators.model import Fault, ModelServer, ModelSettings
from simulators.speech import all_clips
from tests.media.fakes import CALL_SID, ListRecorder, agent, eventually
from tests.media.twilio_side import SETTINGS, TwilioStream

GREETING = "Harbor Dental, good morning."
SILENCE = b"\xff" * 160
KEY = "sk-calls"


class Caller:
    """Speaks clips into a stream, and keeps what it said."""

    def __init__(self, stream: TwilioStream) -> None:
        self.stream = stream
        self.said = b""

    async def say(self, clip: str) -> None:
        """Say the clip and then nothing for longer than voice activity detection waits."""
        sound = all_clips()[clip].audio
        await self.send(SILENCE * 10 + sound + SILENCE * 60)

    async def send(self, sound: bytes) -> None:
        for at in range(0, len(sound), 160):
            piece = sound[at : at + 160]
            self.said += piece
            await self.stream.media(base64.b64encode(piece).decode())


@override_settings(**SETTINGS)
class CallTests(SimpleTestCase):
    def setUp(self) -> None:
        cache.clear()
        doors.forget_agents()
        doors.remember(agent(greeting=GREETING))
        self.recorder = ListRecorder()
        self.logs = self.enterContext(capture_logs())
        self.enterContext(mock.patch("media.consumers.get_recorder", lambda: self.recorder))
        noisy = logging.getLogger("websockets.server")
        self.addCleanup(noisy.setLevel, noisy.level)
        noisy.setLevel(logging.CRITICAL)

    @asynccontextmanager
    async def model(self, *faults: str, **settings: Any) -> AsyncIterator[ModelServer]:
        parsed = tuple(Fault.parse(fault) for fault in faults)
        async with ModelServer(ModelSettings(time_scale=0.1, api_key=KEY, seed=1, faults=parsed, **settings)) as server:
            with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{server.port}/v1"):
                yield server

    async def greeted(self, server: ModelServer, call_sid: str = CALL_SID) -> TwilioStream:
        """Open and start a stream; return it when the caller has heard the whole greeting."""
        stream = TwilioStream(call_sid=call_sid, echoes_marks=True)
        self.assertTrue(await stream.open())
        await stream.start()
        await eventually(lambda: len(self.turns(call_sid)) == 1)
        return stream

    async def until_over(self, call_sid: str = CALL_SID) -> dict[str, Any]:
        """Wait for the end of the call; return what the record was finished with."""
        await eventually(lambda: live.calls.find(call_sid) is None)
        (final,) = [final for final in self.recorder.of("finalize_call_log") if final["call_sid"] == call_sid]
        return final

    async def until_turns(self, count: int) -> None:
        await eventually(lambda: len(self.turns()) == count)

    def turns(self, call_sid: str = CALL_SID) -> list[dict[str, Any]]:
        return [turn for turn in self.recorder.of("save_conversation_turn") if turn["call_sid"] == call_sid]

    async def test_a_conversation_is_carried_to_the_byte_and_recorded_to_the_word(self) -> None:
        clips = all_clips()
        async with self.model() as server:
            stream = await self.greeted(server)
            caller = Caller(stream)
            for number, clip in enumerate(("ask-hours", "ask-parking"), start=2):
                await caller.say(clip)
                await self.until_turns(number)
            await stream.hang_up()
            final = await self.until_over()
            (closed,) = await eventually(lambda: server.ledger.of("closed"))
        self.assertEqual(closed["audio_sha256"], sha256(caller.said).hexdigest())
        self.assertEqual(closed["output_audio_sha256"], sha256(stream.audio()).hexdigest())
        said = [("", GREETING), *[(clips[ask].text, clips[answer].text) for ask, answer in
                                  (("ask-hours", "hours"), ("ask-parking", "parking"))]]  # fmt: skip
        self.assertEqual([(turn["user_text"], turn["bot_reply"]) for turn in final["turns"]], said)
        self.assertEqual([(turn["user_text"], turn["bot_reply"]) for turn in self.turns()], said)
        lines = [f"{who}: {text}" for turn in said for who, text in zip(("Caller", "Agent"), turn, strict=True) if text]
        self.assertEqual(final["transcript"], "\n".join(lines))
        self.assertEqual((final["status"], final["ended_reason"]), ("completed", "caller_hung_up"))
        self.assertEqual(closed["code"], 1000)

    async def test_an_agent_that_says_goodbye_is_heard_before_it_closes_the_stream(self) -> None:
        async with self.model() as server:
            stream = await self.greeted(server)
            await Caller(stream).say("bye")
            await eventually(lambda: stream.close_code)
            final = await self.until_over()
        self.assertEqual(stream.close_code, 1000)
        self.assertEqual((final["status"], final["ended_reason"]), ("completed", "agent_ended"))
        goodbye = all_clips()["goodbye"]
        self.assertTrue(stream.audio().endswith(goodbye.audio[-1600:]))
        self.assertEqual(final["turns"][-1]["heard_text"], goodbye.text)

    async def test_what_the_caller_said_last_is_recorded_though_its_text_comes_after_the_hang_up(self) -> None:
        async with self.model("transcription-late:3000") as server:
            stream = await self.greeted(server)
            greeting = len(stream.audio())
            await Caller(stream).say("ask-saturday")
            await eventually(lambda: len(stream.audio()) > greeting)  # the answer begins before the question's text
            self.assertEqual(len(self.turns()), 1)
            await stream.hang_up()
            final = await self.until_over()
        self.assertEqual(final["turns"][-1]["user_text"], all_clips()["ask-saturday"].text)

    async def test_a_model_that_refuses_the_key_fails_the_call(self) -> None:
        async with self.model("reject:401"):
            stream = TwilioStream()
            self.assertTrue(await stream.open())
            await stream.start()
            final = await self.until_over()
            await eventually(lambda: stream.close_code)
        self.assertEqual((final["status"], final["ended_reason"]), ("in-progress", "model_refused"))
        self.assertIn("http_401", [line.get("code") for line in self.logs])

    async def test_a_model_that_is_lost_in_mid_sentence_is_replaced_by_another_session_that_knows_what_was_said(
        self,
    ) -> None:
        for fault in ("abort@2", "close:1011@2"):
            with self.subTest(fault=fault):
                self.recorder.facts.clear()
                cache.clear()
                async with self.model(fault) as server:
                    stream = await self.greeted(server)
                    await Caller(stream).say("ask-hours")
                    await eventually(lambda: len(server.ledger.of("opened")) == 2)
                    await eventually(lambda: self.said_by_the_second(server))
                    await stream.hang_up()
                    final = await self.until_over()
                self.assertEqual((final["status"], final["ended_reason"]), ("completed", "caller_hung_up"))
                self.assertEqual(final["turns"][0]["bot_reply"], GREETING)
                self.assertEqual(final["turns"][1]["user_text"], all_clips()["ask-hours"].text)
                self.assertEqual((final["counters"]["model_lost"], final["counters"]["model_renewals"]), (1, 1))

    async def test_ten_calls_at_once_are_ten_calls(self) -> None:
        call_sids = ["CA" + f"{number:032x}" for number in range(10)]
        async with self.model() as server:
            streams = [await self.greeted(server, call_sid) for call_sid in call_sids]
            callers = [Caller(stream) for stream in streams]
            for number, caller in enumerate(callers):
                await caller.say(("ask-hours", "ask-parking")[number % 2])
            await eventually(lambda: all(len(self.turns(call_sid)) == 2 for call_sid in call_sids), 20)
            for stream in streams:
                await stream.hang_up()
            finals = [await self.until_over(call_sid) for call_sid in call_sids]
            closed = {fact["session_id"]: fact for fact in await eventually(lambda: self.closed(server, 10))}
        clips = all_clips()
        for number, (stream, caller, final) in enumerate(zip(streams, callers, finals, strict=True)):
            answer = ("hours", "parking")[number % 2]
            self.assertEqual([turn["bot_reply"] for turn in final["turns"]], [GREETING, clips[answer].text])
            session = closed[final["model_session_id"]]
            self.assertEqual(session["audio_sha256"], sha256(caller.said).hexdigest())
            self.assertEqual(session["output_audio_sha256"], sha256(stream.audio()).hexdigest())

    def said_by_the_second(self, server: ModelServer) -> list[dict[str, Any]]:
        _, second = server.ledger.of("opened")
        return [said for said in server.ledger.of("said") if said["session_id"] == second["session_id"]]

    def closed(self, server: ModelServer, count: int) -> list[dict[str, Any]]:
        facts = server.ledger.of("closed")
        return facts if len(facts) == count else []
