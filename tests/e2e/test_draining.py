"""SIGTERM under live calls: a call goes on to its own end, or is handed over whole; a second signal does not wait."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import Any, ClassVar

from calls.models import CallLog
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Listen, Say, Script
from tests.chaos.proxy import Proxy
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase
from tests.e2e.processes import wait_until
from tests.e2e.system import Web

DRAIN_SECONDS = 4
_QUESTIONS = ("ask-hours", "ask-saturday", "ask-hours")
THREE_QUESTIONS = Script(
    "three-questions", (Listen(), *(step for clip in _QUESTIONS for step in (Say(clip), Listen())), HangUp()), "caller"
)


@dataclass
class Stop:
    """What came of one call under one stop. Times are seconds after the signal."""

    call: CallLedger
    healthy: int  # the answer of /healthz while it drained
    stream_closed: float
    left: float
    exit_code: int
    log: str


class StoppingUnderLiveCalls(SystemTestCase):
    handed_over: ClassVar[Stop]
    ended_by_itself: ClassVar[Stop]
    cut: ClassVar[Stop]
    lasting: ClassVar[CallLedger]  # of a rolling deploy
    replaced_exit_code: ClassVar[int]
    replaced_log: ClassVar[str]

    @classmethod
    async def place_calls(cls) -> None:
        replacing = asyncio.create_task(cls.replace_under_a_call())
        cls.handed_over, cls.ended_by_itself, cls.cut = await asyncio.gather(
            cls.stop_under("ten-turns", DRAIN_SECONDS, status_path=""),
            cls.stop_under("question", 900),
            cls.stop_under("ten-turns", 900, insist=True, status_path=""),
        )
        await replacing

    @classmethod
    async def stop_under(cls, script: str, drain_seconds: int, *, insist: bool = False, **carrier: Any) -> Stop:
        """Place a call on a process of its own and stop that process once the caller has begun to speak."""
        web = await asyncio.to_thread(Web, cls.system, DRAIN_SECONDS=str(drain_seconds))
        loop = asyncio.get_running_loop()
        spoke = asyncio.Event()
        closed_at: list[float] = []

        def watch(call_sid: str, line: str) -> None:
            if "caller says" in line:
                spoke.set()
            if "stream closed" in line:
                closed_at.append(loop.time())

        settings = cls.carrier(connect_to=("127.0.0.1", web.port), **carrier).settings
        try:
            await asyncio.to_thread(wait_until, web.is_ready, 30, "the process is ready")
            with Carrier(settings, tell=watch) as line:
                call = asyncio.create_task(line.place_call(script, from_=CALLER, to=NUMBER))
                async with asyncio.timeout(30):
                    await spoke.wait()
                signalled = loop.time()
                for number in (signal.SIGINT, signal.SIGTERM):  # at once: one wish
                    web.child.process.send_signal(number)
                await asyncio.to_thread(wait_until, web.is_draining, 5, "the process says that it is not ready")
                healthy = await asyncio.to_thread(web.status, "/healthz")
                if insist:
                    await asyncio.to_thread(wait_until, lambda: cls.insist(web), 10, "the process leaves at once")
                ledger = await call
            exit_code = await asyncio.to_thread(web.child.process.wait, 30)
            left = loop.time() - signalled
        finally:
            web.child.kill()
        return Stop(ledger, healthy, closed_at[0] - signalled, left, exit_code, web.child.output())

    @classmethod
    def insist(cls, web: Web) -> bool:
        """Signal again. Return whether the process is gone."""
        if web.child.is_alive():
            web.child.process.send_signal(signal.SIGTERM)
        return not web.child.is_alive()

    def test_a_draining_process_is_healthy_though_not_ready(self) -> None:
        for stop in (self.handed_over, self.ended_by_itself, self.cut):
            self.assertEqual(stop.healthy, 200)

    def test_a_call_that_ends_in_time_ends_as_if_nothing_had_happened(self) -> None:
        stop = self.ended_by_itself
        self.assertEqual((stop.call.complaints, stop.call.failures), ([], []), stop.log)
        row = self.finished(stop.call.call_sid)
        self.assertEqual((row.status, row.ended_reason, row.expected_turns), ("completed", "caller_hung_up", 2))
        self.assertEqual(stop.exit_code, 0, stop.log)
        self.assertLess(stop.left - stop.stream_closed, 10.0, stop.log)

    def test_a_call_that_lasts_is_not_cut_but_handed_over_between_two_sentences(self) -> None:
        stop = self.handed_over
        self.assertEqual(stop.exit_code, 0, stop.log)
        self.assertGreaterEqual(stop.stream_closed, DRAIN_SECONDS)
        stream = stop.call.streams[0]
        self.assertEqual((stream.closed_by, stream.close_code), ("server", 1000))
        self.assertEqual(stream.agent_audio_discarded_bytes, 0)
        # The carrier's question what comes next was answered, before the process left.
        self.assertEqual([request.status for request in stop.call.requests_of("action")][:1], [200], stop.log)
        self.assertGreater(stop.left, stop.stream_closed)

    def test_the_record_of_a_call_handed_over_is_whole_and_says_that_it_goes_on(self) -> None:
        call_sid = self.handed_over.call.call_sid
        session = CallLog.objects.get(call_sid=call_sid).model_session_id
        facts = self.model_session(session)
        turns = self.turns(call_sid)
        self.assertGreaterEqual(len(turns), 2)
        heard = [fact["text"] for fact in facts if fact["fact"] == "heard"]
        said = [fact["text"].strip() for fact in facts if fact["fact"] == "said"]
        self.assertEqual([turn.user_text for turn in turns], ["", *heard])
        self.assertEqual([turn.bot_reply for turn in turns], said)
        self.assertFalse(turns[-1].interrupted)
        row = CallLog.objects.get(call_sid=call_sid)
        self.assertEqual((row.status, row.ended_reason), ("in-progress", "server_stopped"))

    def test_a_second_signal_does_not_wait_and_leaves_what_was_said_behind(self) -> None:
        stop = self.cut
        self.assertEqual(stop.exit_code, 1, stop.log)
        self.assertLess(stop.left, 10.0)
        self.assertIn("server_stopped_at_once", stop.log)
        call_sid = stop.call.call_sid
        self.wait(lambda: len(self.turns(call_sid)) >= 1, "the greeting is on record")
        self.assertEqual(CallLog.objects.get(call_sid=call_sid).status, "in-progress")

    @classmethod
    async def replace_under_a_call(cls) -> None:
        """The process that has the call is replaced; a second one is there, behind a balancer."""
        first, second = await asyncio.to_thread(cls.two_processes)
        balancer = Proxy(first.port)
        cls.addClassCleanup(balancer.close)
        spoke = asyncio.Event()

        def watch(call_sid: str, line: str) -> None:
            if "caller says" in line:
                spoke.set()

        settings = cls.carrier(connect_to=("127.0.0.1", balancer.port)).settings
        with Carrier(settings, tell=watch) as line:
            call = asyncio.create_task(line.place_call(THREE_QUESTIONS, from_=CALLER, to=NUMBER))
            async with asyncio.timeout(30):
                await spoke.wait()
            first.child.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, first.is_draining, 5, "the process says that it is not ready")
            balancer.upstreams = [second.port]  # what it does when /readyz says no: open connections stay
            cls.lasting = await call
        cls.replaced_exit_code = await asyncio.to_thread(first.child.process.wait, 30)
        cls.replaced_log = first.child.output() + second.child.output()

    @classmethod
    def two_processes(cls) -> tuple[Web, Web]:
        webs = Web(cls.system, DRAIN_SECONDS=str(DRAIN_SECONDS)), Web(cls.system)
        for web in webs:
            cls.addClassCleanup(web.child.stop)
            wait_until(web.is_ready, 30, "the process is ready")
        return webs

    def test_the_caller_notices_a_moment_of_silence_and_gets_every_answer(self) -> None:
        self.assertEqual((self.lasting.complaints, self.lasting.failures), ([], []), self.replaced_log)
        self.assertEqual(self.replaced_exit_code, 0, self.replaced_log)
        self.assertEqual(
            [stream.closed_by for stream in self.lasting.streams], ["server", "carrier"], self.replaced_log
        )
        self.assertEqual(len(self.lasting.utterances), 3)

    def test_the_record_is_one_call_with_everything_that_was_said(self) -> None:
        row = self.finished(self.lasting.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))
        turns = self.turns(self.lasting.call_sid)
        said = [utterance.text for utterance in self.lasting.utterances]
        self.assertEqual([turn.user_text for turn in turns if turn.user_text], said)
