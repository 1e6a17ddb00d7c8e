"""The bridge: whatever the engine says is done, in order; whatever breaks, the record is finished.

The engine is scripted here, so that each command can be sent at will; the real one is in test_calls.
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from unittest import mock

from django.test import SimpleTestCase
from structlog.testing import capture_logs

from calls import live_calls
from media import live
from media.bridge import CallBridge
from media.engine.commands import (
    ClearPlayback,
    CloseStream,
    Command,
    FinishCall,
    ForwardAudio,
    PlayAudio,
    Respond,
    RunTool,
    SaveTurn,
    Say,
    SendMark,
    SwitchModel,
    Turn,
)
from media.engine.config import CallConfig
from media.engine.events import (
    CallCompleted,
    CallerAudio,
    CarrierClosed,
    DtmfPressed,
    Event,
    ModelClosed,
    ModelReady,
    ShutdownRequested,
    StreamStarted,
    ToolFinished,
    Usage,
)
from media.realtime.base import ModelUnavailable
from media.record import Caller
from tests.media.fakes import (
    ACCOUNT_SID,
    CALL_SID,
    FRAME,
    STREAM_SID,
    FakeModel,
    ListCarrier,
    ListRecorder,
    agent,
    eventually,
    record,
)

SOUND = b"\xff" * 160
CALLER = Caller(ACCOUNT_SID, "+15550100111", "+15550100100", "inbound")
TURN = Turn(0, 0, "", "Good morning.", "Good morning.", 900, 900, False, 0.0, 0.0)
FINISH = FinishCall("completed", "caller_hung_up", (TURN,), {"interruptions": 2}, Usage(10, 20, 5))


class ScriptedCall:
    """Answers events from a table; keeps what it was told. `due` is its deadline, in seconds from now."""

    def __init__(self, config: CallConfig, now: float) -> None:
        self.received: list[Event] = []
        self.ticks: list[float] = []
        self.answers: dict[type, list[Command]] = {ModelReady: [SwitchModel()]}
        self.on_tick: list[Command] = []
        self.due: float | None = now + 3600
        self.ended_reason = ""

    def receive(self, event: Event, now: float) -> list[Command]:
        self.received.append(event)
        return self._answer(self.answers.get(type(event), []))

    def hear(self, payload: str, now: float) -> str | None:
        self.received.append(CallerAudio(payload))
        return payload

    def tick(self, now: float) -> list[Command]:
        self.ticks.append(now)
        self.due = now + 3600
        return self._answer(self.on_tick)

    def deadline(self) -> float | None:
        return self.due

    def _answer(self, commands: list[Command]) -> list[Command]:
        if any(isinstance(command, FinishCall) for command in commands):
            self.due = None
        return commands


class BridgeCase(SimpleTestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch("media.bridge.Call", ScriptedCall))
        self.enterContext(mock.patch("media.bridge.LAST_WORDS_SECONDS", 0.2))
        self.logs = self.enterContext(capture_logs())
        self.recorder = ListRecorder()
        self.carrier = ListCarrier()
        self.model = FakeModel()

    def begin(self) -> tuple[CallBridge, Any]:
        """Start a call; return it with its scripted engine."""
        bridge = CallBridge(
            agent=agent(),
            config=CallConfig(greeting="Good morning."),
            model=self.model,
            carrier=self.carrier,
            record=record(self.recorder, asyncio.get_running_loop().time()),
        )
        call: Any = bridge._call
        call.answers[ShutdownRequested] = [CloseStream(), FINISH]
        bridge.begin()
        return bridge, call

    async def begin_with_model(self) -> tuple[CallBridge, Any]:
        """The same, when a session of the model has taken over."""
        bridge, call = self.begin()
        await self.until(lambda: bridge._current is self.model.session)
        return bridge, call

    async def end(self, bridge: CallBridge) -> None:
        bridge.feed(ShutdownRequested())
        async with asyncio.timeout(5):
            await bridge.finished()
        self.assertIsNone(live.calls.find(CALL_SID))

    async def until(self, condition: Callable[[], Any]) -> Any:
        return await eventually(condition)


class BridgeTests(BridgeCase):
    async def test_commands_reach_the_model_and_the_carrier_in_order(self) -> None:
        bridge, call = await self.begin_with_model()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [ForwardAudio(FRAME), Respond(), PlayAudio(SOUND), SendMark("m-1")]
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: len(self.carrier.messages) == 2)
        self.assertEqual(self.model.session.commands, [ForwardAudio(FRAME), Respond()])
        self.assertEqual([message["event"] for message in self.carrier.messages], ["media", "mark"])
        self.assertEqual({message["streamSid"] for message in self.carrier.messages}, {STREAM_SID})
        self.assertEqual(b64decode(self.carrier.messages[0]["media"]["payload"]), SOUND)
        await self.end(bridge)

    async def test_what_the_model_says_reaches_the_engine(self) -> None:
        bridge, call = self.begin()
        await self.until(lambda: ModelReady("sess_1") in call.received)
        await self.end(bridge)
        (final,) = self.recorder.of("finalize_call_log")
        self.assertEqual(final["model_session_id"], "sess_1")

    async def test_a_clear_overtakes_audio_that_waits(self) -> None:
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [PlayAudio(b"1" * 160), SendMark("m-1"), ClearPlayback(), PlayAudio(b"2" * 160)]
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: len(self.carrier.messages) == 3)
        self.assertEqual([message["event"] for message in self.carrier.messages], ["clear", "mark", "media"])
        self.assertEqual(b64decode(self.carrier.messages[2]["media"]["payload"]), b"2" * 160)
        await self.end(bridge)

    async def test_the_record_is_told_everything_in_wall_time(self) -> None:
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        now = asyncio.get_running_loop().time()
        turn = Turn(1, 2, "Open today?", "Yes.", "Yes.", 500, 480, True, now, now + 1.5)
        call.answers[DtmfPressed] = [SaveTurn(turn)]
        bridge.feed(DtmfPressed("1"))
        call.answers[ShutdownRequested] = [
            CloseStream(),
            FinishCall("completed", "caller_hung_up", (turn,), {"interruptions": 1}),
        ]
        await self.end(bridge)
        names = [name for name, _ in self.recorder.facts]
        self.assertEqual(names, ["create_call_log", "save_conversation_turn", "finalize_call_log"])
        (created,), (saved,), (final,) = (self.recorder.of(name) for name in names)
        self.assertEqual(created["status"], "in-progress")
        self.assertEqual((created["from_number"], created["to_number"]), ("+15550100111", "+15550100100"))
        self.assertEqual((created["stream_sid"], created["agent_version_id"]), (STREAM_SID, 7))
        self.assertEqual((saved["turn_index"], saved["revision"], saved["interrupted"]), (1, 2, True))
        self.assertRegex(saved["started_at"], r"^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$")
        self.assertLess(saved["started_at"], saved["ended_at"])
        self.assertEqual(final["turns"], [{k: v for k, v in saved.items() if k not in ("call_sid", "business_id")}])
        self.assertEqual(final["transcript"], "Caller: Open today?\nAgent: Yes.")
        self.assertEqual((final["interruptions"], final["duration_seconds"]), (1, 0))

    async def test_the_stream_is_closed_and_the_session_ended_when_the_call_is_over(self) -> None:
        bridge, _ = await self.begin_with_model()
        bridge.start(CALLER, STREAM_SID)
        await self.end(bridge)
        self.assertEqual(self.carrier.close_code, 1000)
        self.assertTrue(self.model.session.closed)

    async def test_how_the_call_ended_is_known_before_the_stream_closes(self) -> None:
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.ended_reason = "max_duration"
        call.answers[DtmfPressed] = [CloseStream()]  # and the end comes later: transcripts are waited for
        bridge.feed(DtmfPressed("1"))
        self.assertIsNone(self.carrier.close_code)
        self.assertEqual(live_calls.ended_reason(CALL_SID), "max_duration")
        await self.until(lambda: self.carrier.close_code)
        await self.end(bridge)

    async def test_a_stream_that_never_started_is_closed_as_a_violation(self) -> None:
        bridge, _ = self.begin()
        await self.end(bridge)
        self.assertEqual(self.carrier.close_code, 4008)

    async def test_a_discarded_call_leaves_no_record(self) -> None:
        bridge, _ = self.begin()
        bridge.discard()
        await bridge.finished()
        self.assertEqual(self.recorder.facts, [])
        self.assertEqual(self.carrier.close_code, 4008)

    async def test_deadlines_are_kept_by_one_timer(self) -> None:
        bridge, call = self.begin()
        loop = asyncio.get_running_loop()
        call.due = due = loop.time() + 0.02
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: call.ticks)
        self.assertEqual(len(call.ticks), 1)
        self.assertGreaterEqual(call.ticks[0], due)
        await self.end(bridge)

    async def test_a_deadline_that_moves_away_is_not_ticked_early(self) -> None:
        bridge, call = self.begin()
        loop = asyncio.get_running_loop()
        call.due = loop.time() + 0.02
        bridge.feed(DtmfPressed("1"))
        call.due = due = loop.time() + 0.1
        bridge.feed(DtmfPressed("2"))
        await self.until(lambda: call.ticks)
        self.assertGreaterEqual(call.ticks[0], due)
        await self.end(bridge)

    async def test_a_model_that_refuses_is_reported_to_the_engine(self) -> None:
        self.model.refusal = ModelUnavailable("http_401", permanent=True)
        bridge, call = self.begin()
        await self.until(lambda: ModelClosed("http_401", permanent=True, fresh=True) in call.received)
        self.assertIn(("model_unavailable", "http_401"), [(line["event"], line.get("code")) for line in self.logs])
        await self.end(bridge)

    async def test_a_model_reader_that_dies_ends_the_model_and_says_so_in_the_log(self) -> None:
        bridge, call = await self.begin_with_model()
        self.model.session.break_with(ZeroDivisionError("boom"))
        await self.until(lambda: ModelClosed("internal_error") in call.received)
        self.assertIn("call_task_died", [line["event"] for line in self.logs])
        await self.end(bridge)

    async def test_a_model_writer_that_loses_its_socket_is_reported(self) -> None:
        bridge, call = await self.begin_with_model()
        self.model.session.send_error = ModelUnavailable("closed_1011", permanent=False)
        bridge.feed(CallerAudio(FRAME))
        await self.until(lambda: ModelClosed("closed_1011") in call.received)
        await self.end(bridge)

    async def test_a_carrier_writer_that_dies_is_reported(self) -> None:
        bridge, call = self.begin()
        self.carrier.broken = True
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [PlayAudio(SOUND)]
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: CarrierClosed() in call.received)
        await self.end(bridge)

    async def test_an_engine_that_breaks_still_finishes_the_record_with_the_settled_turns(self) -> None:
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [SaveTurn(TURN)]
        bridge.feed(DtmfPressed("1"))
        with mock.patch.object(call, "receive", side_effect=ZeroDivisionError):
            bridge.feed(DtmfPressed("1"))
        async with asyncio.timeout(5):
            await bridge.finished()
        self.assertIn("call_broken", [line["event"] for line in self.logs])
        (final,) = self.recorder.of("finalize_call_log")
        self.assertEqual((final["status"], len(final["turns"])), ("in-progress", 1))
        self.assertEqual(final["transcript"], "Agent: Good morning.")

    async def test_a_cancelled_call_still_finishes_its_record_once(self) -> None:
        bridge, _ = self.begin()
        bridge.start(CALLER, STREAM_SID)
        await self.until(lambda: self.model.opened)
        assert bridge._task is not None
        bridge._task.cancel()
        await bridge.finished()
        self.assertEqual(len(self.recorder.of("finalize_call_log")), 1)

    async def test_a_carrier_that_takes_nothing_more_is_a_lost_stream(self) -> None:
        self.carrier.blocked = True
        bridge, call = self.begin()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [PlayAudio(SOUND)] * 4000
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: CarrierClosed() in call.received)
        self.assertEqual([line["event"] for line in self.logs].count("carrier_reads_too_slowly"), 1)
        await self.end(bridge)

    async def test_audio_for_a_model_that_does_not_read_is_bounded(self) -> None:
        bridge, _ = await self.begin_with_model()
        self.model.session.blocked = True
        for _ in range(300):
            bridge.feed(CallerAudio(FRAME))
        await self.end(bridge)
        (finished,) = [line for line in self.logs if line["event"] == "call_finished"]
        self.assertEqual(finished["dropped_caller_audio_ms"], 50 * 20)

    async def test_a_tool_answers_through_the_engine(self) -> None:
        bridge, call = self.begin()
        call.answers[DtmfPressed] = [RunTool("call_1", "end_call", "{}", 1.0), RunTool("call_2", "book", "{}", 1.0)]
        bridge.feed(DtmfPressed("1"))
        await self.until(lambda: len([e for e in call.received if isinstance(e, ToolFinished)]) == 2)
        finished = {event.tool_call_id: event.output for event in call.received if isinstance(event, ToolFinished)}
        self.assertEqual(finished, {"call_1": '{"ok": true}', "call_2": '{"error": "unknown_tool"}'})
        await self.end(bridge)

    async def test_a_tool_that_hangs_or_fails_is_answered_all_the_same(self) -> None:
        async def hang(name: str, arguments: str, context: Any) -> dict[str, Any]:
            if name == "hangs":
                await asyncio.Event().wait()
            raise ZeroDivisionError

        bridge, call = self.begin()
        call.answers[DtmfPressed] = [RunTool("call_1", "hangs", "{}", 0.01), RunTool("call_2", "fails", "{}", 1.0)]
        with mock.patch("media.tools.run", hang):
            bridge.feed(DtmfPressed("1"))
            await self.until(lambda: len([e for e in call.received if isinstance(e, ToolFinished)]) == 2)
        finished = [event for event in call.received if isinstance(event, ToolFinished)]
        errors = {event.tool_call_id: json.loads(event.output)["error"] for event in finished}
        self.assertEqual(errors, {"call_1": "timeout", "call_2": "failed"})
        await self.end(bridge)

    async def test_nothing_is_performed_after_the_end(self) -> None:
        bridge, call = self.begin()
        await self.end(bridge)
        told = len(call.received)
        bridge.feed(DtmfPressed("1"))
        self.assertEqual(len(call.received), told)

    async def test_no_word_of_the_call_is_in_the_log(self) -> None:
        bridge, call = await self.begin_with_model()
        bridge.start(CALLER, STREAM_SID)
        call.answers[DtmfPressed] = [Say("canary-greeting"), SaveTurn(TURN)]
        bridge.feed(DtmfPressed("1"))
        await self.end(bridge)
        self.assertTrue(self.logs)
        text = str(self.logs)
        for private in ("canary-greeting", "Good morning", "+1555", FRAME):
            self.assertNotIn(private, text)
        self.assertEqual({line.get("call_sid") for line in self.logs}, {CALL_SID})


class LiveCallsTests(BridgeCase):
    async def test_a_completed_callback_from_another_thread_reaches_the_call(self) -> None:
        bridge, call = self.begin()
        self.assertTrue(await asyncio.to_thread(live_calls.notify_completed, CALL_SID))
        await self.until(lambda: CallCompleted() in call.received)
        await self.end(bridge)
        self.assertFalse(live_calls.notify_completed(CALL_SID))

    async def test_the_registry_ends_every_call_and_waits_for_it(self) -> None:
        bridge, call = self.begin()
        self.assertFalse(await live.calls.wait_until_empty(0.01))
        live.calls.end_all()
        self.assertTrue(await live.calls.wait_until_empty(5))
        self.assertIn(ShutdownRequested(), call.received)
        self.assertEqual(len(self.recorder.of("finalize_call_log")), 1)
        await bridge.finished()

    async def test_the_stream_counts_as_started_only_once_authorised(self) -> None:
        bridge, call = self.begin()
        self.assertNotIn(StreamStarted(STREAM_SID), call.received)
        bridge.start(CALLER, STREAM_SID)
        self.assertIn(StreamStarted(STREAM_SID), call.received)
        await self.end(bridge)
