"""A web process is killed in the middle of calls: each goes on at another process, and its record is one call."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from calls.models import CallLog, ConversationTurn
from calls.phrases import phrase
from calls.streams import TURNS_PER_STREAM
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import HangUp, Listen, Say, Script
from tests.chaos.proxy import Proxy
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase
from tests.e2e.processes import wait_until
from tests.e2e.system import Web

RESUMED = phrase("resumed", "en")
FORWARD_TO = "+15550107777"
SPEAKING, LISTENING = 0.6, 5.0  # seconds after the caller began to say what takes 2.2: in the middle, and in the answer


class Webs:
    """Some web processes behind a balancer that sends all to one of them, and to the next one once that is killed."""

    def __init__(self, webs: list[Web]) -> None:
        self._webs = webs
        self.balancer = Proxy(webs[0].port)

    def kill(self) -> None:
        killed = self._webs.pop(0)
        self.balancer.upstreams = [self._webs[0].port]
        killed.child.process.kill()


class AWebProcessIsKilled(SystemTestCase):
    listening: ClassVar[CallLedger]
    speaking: ClassVar[CallLedger]
    doomed: ClassVar[CallLedger]
    logs: ClassVar[list[Web]]

    @classmethod
    async def place_calls(cls) -> None:
        cls.business.forwarding_number = FORWARD_TO
        await cls.business.asave()
        cls.logs = [Web(cls.system) for _ in range(5)]
        for web in cls.logs:
            cls.addClassCleanup(web.child.stop)
            await asyncio.to_thread(wait_until, web.is_ready, 60, "the process is ready")
        webs = Webs(list(cls.logs))
        cls.addClassCleanup(webs.balancer.close)
        cls.listening, cls.speaking = await cls.under_one_kill(webs)
        cls.doomed = await cls.place_and_kill(webs, "ask-hours", SPEAKING, kills=3)

    @classmethod
    async def under_one_kill(cls, webs: Webs) -> list[CallLedger]:
        """Two calls that one process carries; the other caller speaks when the first hears the answer."""
        first = asyncio.create_task(cls.place_and_kill(webs, "ask-hours", LISTENING))
        await asyncio.sleep(LISTENING - SPEAKING)
        return list(await asyncio.gather(first, cls.place_and_kill(webs, "ask-hours", SPEAKING, kills=0)))

    @classmethod
    async def place_and_kill(cls, webs: Webs, clip: str, after: float, kills: int = 1) -> CallLedger:
        """One call; so often the process that carries it is killed, some time after its caller began to speak."""
        left = [kills]

        def watch(call_sid: str, line: str) -> None:
            if "caller says" in line and left[0]:
                left[0] -= 1
                asyncio.get_running_loop().call_later(after, webs.kill)

        script = Script("a-question", (Listen(), Say(clip), Listen(), Say("ask-parking"), Listen(), HangUp()), "any")
        settings = cls.carrier(connect_to=("127.0.0.1", webs.balancer.port)).settings
        with Carrier(settings, tell=watch) as line:
            return await line.place_call(script, from_=CALLER, to=NUMBER)

    def trouble(self) -> str:
        return super().trouble() + "\n".join(f"--- {web.child.name}\n{web.child.output()[-2500:]}" for web in self.logs)

    def row(self, ledger: CallLedger) -> CallLog:
        """The call's row once the last stream has reported and the dead process's journal has been replayed."""

        def over() -> CallLog | None:
            return CallLog.objects.filter(call_sid=ledger.call_sid, status="completed").exclude(ended_reason="").first()

        found: CallLog = self.wait(over, "the call is over in its record", 60)
        return found

    def first_stream(self, ledger: CallLedger) -> list[ConversationTurn]:
        return [turn for turn in self.turns(ledger.call_sid) if turn.turn_index < TURNS_PER_STREAM]

    def second_stream(self, ledger: CallLedger) -> list[ConversationTurn]:
        return [turn for turn in self.turns(ledger.call_sid) if turn.turn_index >= TURNS_PER_STREAM]

    def test_no_caller_is_lost(self) -> None:
        for ledger in (self.listening, self.speaking):
            self.assertEqual((ledger.failures, ledger.ended_by), ([], "caller"), self.trouble())
            self.assertEqual([stream.closed_by for stream in ledger.streams], ["server", "carrier"])
            self.assertEqual(ledger.streams[1].agent_audio_discarded_bytes, 0)

    def test_the_caller_hears_one_short_sentence_and_then_every_answer(self) -> None:
        for ledger in (self.listening, self.speaking):
            self.row(ledger)
            resumed, *turns = self.second_stream(ledger)
            self.assertEqual((resumed.user_text, resumed.bot_reply), ("", RESUMED))
            said = [utterance.text for utterance in ledger.streams[1].utterances]
            self.assertEqual([turn.user_text for turn in turns], said)
            self.assertTrue(all(turn.bot_reply for turn in turns))

    def test_the_carrier_asks_once_what_comes_next(self) -> None:
        for ledger in (self.listening, self.speaking):
            [action] = [
                request for request in ledger.requests_of("action") if request.params["CallStatus"] != "completed"
            ]
            self.assertEqual(action.status, 200)

    def test_the_model_knows_what_was_said_before(self) -> None:
        row = self.row(self.listening)
        session = self.model_session(row.model_session_id)
        written = [(fact["role"], fact["text"]) for fact in session if fact["fact"] == "written"]
        past = self.first_stream(self.listening)
        known = [("user", turn.user_text) for turn in past] + [("assistant", turn.bot_reply) for turn in past]
        self.assertIn(("assistant", past[0].bot_reply), written)
        self.assertLessEqual(set(written), set(known))
        self.assertEqual([fact for fact in session if fact["fact"] == "complaint"], [])

    def test_a_call_whose_process_died_is_one_call_flagged_incomplete(self) -> None:
        for ledger in (self.listening, self.speaking):
            row = self.row(ledger)
            self.assertEqual((row.status, row.ended_reason, row.last_stream), ("completed", "caller_hung_up", 1))
            self.assertFalse(row.is_complete)  # nobody knows what the dead process heard last
            self.assertEqual(CallLog.objects.filter(call_sid=ledger.call_sid).count(), 1)

    def test_after_two_resumptions_a_person_is_asked(self) -> None:
        self.assertEqual(len(self.doomed.streams), 3, self.trouble())
        self.assertEqual(self.doomed.verbs[-1], "Dial")
        self.assertEqual(self.doomed.complaints, [])
        turns: list[Any] = self.turns(self.doomed.call_sid)
        self.assertLessEqual({0, TURNS_PER_STREAM, 2 * TURNS_PER_STREAM}, {turn.turn_index for turn in turns})
