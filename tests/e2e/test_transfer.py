"""Callers who are put through: to somebody who answers, or is asked first, to somebody who does not, and to nobody."""

import asyncio
import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from django.db import connection

from businesses.models import Agent, AgentVersion, Business, DialPolicy, PhoneNumber, TransferTarget
from businesses.sentences import sentence
from calls.models import CallLeg, ToolUse
from calls.streams import TURNS_PER_STREAM
from simulators.carrier.account import Account
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api, RestServer
from simulators.carrier.script import HangUp, Listen, Say, Script, Step, WaitForEnd
from simulators.carrier.settings import Colleague
from tests.e2e import system as running
from tests.e2e.cases import CALLER, SystemTestCase

UNREACHED = sentence("unreached", "en")
BRIEFING = "A caller asks where to park."
FASTER = 0.2  # what is only waited for: ringing, and the talk with the colleague

# The business of each scenario answers at its number, and has one target.
ANSWERED, BUSY, NOBODY, PREMIUM, CAPPED, LIMITED, HASTY = (f"+1555010014{digit}" for digit in range(7))
ACCEPTED, DECLINED, SILENT, RUDE, AWAY, IMPATIENT, UNPLACED = (f"+1555010015{digit}" for digit in range(7))
COLLEAGUES = {
    ANSWERED: ("+12125550171", Colleague()),
    BUSY: ("+12125550172", Colleague("busy")),
    NOBODY: ("+12125550173", Colleague("no-answer")),
    PREMIUM: ("+19005550174", Colleague()),
    CAPPED: ("+12125550175", Colleague("no-answer")),
    LIMITED: ("+12125550176", Colleague("no-answer")),
    HASTY: ("+12125550177", Colleague("no-answer")),
    ACCEPTED: ("+12125550181", Colleague(keys="1")),
    DECLINED: ("+12125550182", Colleague(keys="2")),
    SILENT: ("+12125550183", Colleague(keys="")),
    RUDE: ("+12125550184", Colleague(hangs_up=True)),
    AWAY: ("+12125550185", Colleague("no-answer")),
    IMPATIENT: ("+12125550186", Colleague(rings=9)),
    UNPLACED: ("+12125550187", Colleague()),
}
ASKED_FIRST = (ACCEPTED, DECLINED, SILENT, RUDE, AWAY, IMPATIENT, UNPLACED)

DIALOGUE = {
    "opening": ["greeting"],
    "unclear": ["unclear"],
    "replies": [
        {"heard": "ask-hours", "say": ["hours"]},
        {
            "heard": "ask-parking",
            "say": ["looking"],
            "call": [{"name": "transfer_call", "arguments": {"to": "Nina", "reason": BRIEFING}}],
        },
    ],
    "after_call": {"transfer_call": {"say": ["noted"]}},
}

ASK: tuple[Step, ...] = (Say("ask-parking"), Listen())
SCRIPTS = {
    ANSWERED: Script("answered", (Listen(), Say("ask-parking"), WaitForEnd(20_000)), "agent"),
    ACCEPTED: Script("accepted", (Listen(), Say("ask-parking"), WaitForEnd(20_000)), "agent"),
    HASTY: Script("hangs up while it rings", (Listen(), Say("ask-parking"), WaitForEnd(7000), HangUp()), "caller"),
    IMPATIENT: Script("hangs up on hold", (Listen(), Say("ask-parking"), WaitForEnd(9000), HangUp()), "caller"),
    PREMIUM: Script("refused", (Listen(), *ASK, HangUp()), "caller"),
    CAPPED: Script("asks three times", (Listen(), *ASK * 3, HangUp()), "caller"),
    LIMITED: Script("asks four times", (Listen(), *ASK * 4, HangUp()), "caller"),
}
GOES_ON = Script("goes on", (Listen(), *ASK, Say("ask-hours"), Listen(), HangUp()), "caller")


def make_businesses() -> None:
    try:
        for number, (target, _) in COLLEAGUES.items():
            business = Business.objects.create(name=f"answers at {number}")
            agent = Agent.objects.create(business=business, name="Ada")
            version = AgentVersion(
                agent=agent, number=1, instructions="Be kind.", greeting="", tools=["end_call", "transfer_call"]
            )
            version.publish()
            PhoneNumber.objects.create(number=number, business=business, agent=agent)
            kind = "warm" if number in ASKED_FIRST else "cold"
            TransferTarget.objects.create(business=business, name="Nina", number=target, ring_seconds=10, kind=kind)
            if number == CAPPED:
                DialPolicy.objects.create(business=business, max_per_hour=2, max_call_seconds=600)
    finally:
        connection.close()  # this thread's own: it would be in the way when the database is removed


class PutThrough(SystemTestCase):
    api: ClassVar[Api]
    ledgers: ClassVar[dict[str, CallLedger]]
    asked_first: ClassVar[dict[str, CallLedger]]  # the calls that we place, by the number of the colleague

    @classmethod
    def setUpClass(cls) -> None:
        cls.api = Api(
            Account(running.ACCOUNT_SID),
            running.AUTH_TOKEN,
            owned=frozenset(COLLEAGUES),
            not_permitted=frozenset({COLLEAGUES[UNPLACED][0]}),
        )
        rest = cls.enterClassContext(RestServer(cls.api))
        cls.environment = {"TWILIO_API_URL": f"http://127.0.0.1:{rest.port}"}
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        dialogue.write_text(json.dumps(DIALOGUE))
        cls.model_options = ("--dialogue", str(dialogue))
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        await asyncio.to_thread(make_businesses)
        colleagues = dict(COLLEAGUES.values())
        calls, dials, carriers = {}, {}, []
        ended: asyncio.Queue[CallLedger] = asyncio.Queue()
        for number, (colleague, _) in COLLEAGUES.items():
            time_scale = 1.0 if number in {HASTY, IMPATIENT} else FASTER
            settings = cls.carrier(colleagues=colleagues, time_scale=time_scale).settings
            carriers.append(Carrier(settings, account=cls.api.account))
            dials[colleague] = carriers[-1].dial_colleagues(ended.put_nowait)
            calling = carriers[-1].place_call(SCRIPTS.get(number, GOES_ON), from_=CALLER, to=number)
            calls[number] = asyncio.create_task(calling)
        cls.api.dial = lambda resource, fields: dials[resource.to_number](resource, fields)
        try:
            cls.ledgers = {number: await call for number, call in calls.items()}
            cls.asked_first = {}
            async with asyncio.timeout(30):
                while len(cls.asked_first) < len(ASKED_FIRST) - 1:
                    ledger = await ended.get()
                    cls.asked_first[ledger.to_number] = ledger
        finally:
            for carrier in carriers:
                carrier.close()

    def legs(self, number: str, states: list[str]) -> list[CallLeg]:
        """The legs of a scenario's call, once they are in these states."""
        legs = CallLeg.objects.filter(call__call_sid=self.ledgers[number].call_sid).order_by("asked_at", "pk")
        self.wait(
            lambda: [leg.state for leg in legs.all()] == states, f"the legs of {number} are {states}: {legs.all()}"
        )
        return list(legs)

    def test_the_carrier_and_the_callers_have_nothing_to_complain_of(self) -> None:
        for number, ledger in {**self.ledgers, **self.asked_first}.items():
            with self.subTest(number):
                self.assertEqual((ledger.complaints, ledger.failures), ([], []), self.trouble())
        self.assertEqual(self.api.complaints, [])

    def test_whoever_is_put_through_hears_the_agent_out_and_talks_to_the_colleague(self) -> None:
        ledger = self.ledgers[ANSWERED]
        self.assertEqual(ledger.verbs, ["Connect", "Dial", "Hangup"])
        [leg] = ledger.legs
        self.assertEqual((leg.number, leg.caller_id), (COLLEAGUES[ANSWERED][0], ledger.from_number))
        self.assertEqual((leg.timeout, leg.time_limit, leg.bridged), (10, 1800, True))
        row = self.finished(ledger.call_sid)
        self.assertEqual((row.status, row.ended_reason, row.last_stream), ("completed", "transferred", 0))
        turns = self.turns(ledger.call_sid)
        self.assertEqual(len(turns), 2)
        self.assertEqual(turns[1].heard_text, turns[1].bot_reply)
        [kept] = self.legs(ANSWERED, ["completed"])
        self.assertEqual((kept.business, kept.kind, kept.target_name), (row.business, "cold", "Nina"))
        self.assertEqual((kept.number, kept.leg_sid, kept.briefing), (leg.number, leg.call_sid, BRIEFING))
        assert kept.asked_at and kept.answered_at and kept.ended_at
        self.assertLessEqual(kept.asked_at, kept.answered_at + timedelta(seconds=1))  # the carrier counts whole seconds
        self.assertEqual(kept.duration_seconds, leg.duration_seconds)

    def test_whom_nobody_answers_is_with_the_agent_again_which_knows_what_was_said(self) -> None:
        for number, state in ((BUSY, "busy"), (NOBODY, "no-answer")):
            with self.subTest(state):
                ledger = self.ledgers[number]
                self.assertEqual(ledger.verbs, ["Connect", "Dial", "Connect"])
                row = self.finished(ledger.call_sid)
                self.assertEqual((row.ended_reason, row.last_stream), ("caller_hung_up", 1))
                self.legs(number, [state])
                turns = self.turns(ledger.call_sid)
                self.assertEqual([turn.turn_index for turn in turns], [0, 1, TURNS_PER_STREAM, TURNS_PER_STREAM + 1])
                self.assertEqual((turns[2].user_text, turns[2].bot_reply), ("", UNREACHED))
                self.assertIn("eight in the morning", turns[3].bot_reply)
                written = [
                    fact["text"] for fact in self.model_session(row.model_session_id) if fact["fact"] == "written"
                ]
                self.assertLessEqual({turns[1].user_text, turns[1].bot_reply}, set(written))

    def test_what_the_dial_policy_refuses_is_told_kept_and_never_dialled(self) -> None:
        ledger = self.ledgers[PREMIUM]
        self.assertEqual((ledger.verbs, ledger.legs), (["Connect"], []))
        row = self.finished(ledger.call_sid)
        [leg] = self.legs(PREMIUM, ["refused"])
        self.assertEqual((leg.reason, leg.number, leg.target_name), ("premium", "", "Nina"))
        use = ToolUse.objects.get(call=row)
        self.assertEqual(use.state, "refused")
        self.assertIn("numbers that cost extra", use.output)
        self.assertEqual(self.turns(ledger.call_sid)[-1].bot_reply.count("note"), 1)  # what the model says to that

    def test_a_loop_of_transfers_is_stopped_by_the_hourly_cap(self) -> None:
        ledger = self.ledgers[CAPPED]
        self.assertEqual([leg.time_limit for leg in ledger.legs], [600, 600])
        [*_, last] = self.legs(CAPPED, ["no-answer", "no-answer", "refused"])
        self.assertEqual(last.reason, "hourly_cap")
        self.assertEqual(self.finished(ledger.call_sid).ended_reason, "caller_hung_up")

    def test_and_by_what_one_call_may_have(self) -> None:
        ledger = self.ledgers[LIMITED]
        self.assertEqual(len(ledger.legs), 3)
        self.assertEqual(len(ledger.streams), 4)
        [*_, last] = self.legs(LIMITED, ["no-answer", "no-answer", "no-answer", "refused"])
        self.assertEqual(last.reason, "per_call")

    def test_a_caller_who_hangs_up_while_it_rings_has_hung_up(self) -> None:
        row = self.finished(self.ledgers[HASTY].call_sid)
        self.legs(HASTY, ["canceled"])
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))

    def test_a_colleague_who_takes_the_call_has_heard_what_it_is_about(self) -> None:
        ledger = self.ledgers[ACCEPTED]
        self.assertEqual(ledger.verbs, ["Connect", "Enqueue", "Hangup"])
        self.assertEqual((ledger.legs, set(ledger.waited)), ([], {"Play", "Redirect"}))
        colleague = self.asked_first[COLLEAGUES[ACCEPTED][0]]
        [said] = colleague.said
        self.assertIn(BRIEFING, said)
        self.assertIn("Press 1", said)
        self.assertEqual((colleague.pressed, colleague.from_number), ("1", ACCEPTED))
        self.assertEqual((ledger.joined_to, colleague.joined_to), (colleague.call_sid, ledger.call_sid))
        row = self.finished(ledger.call_sid)
        self.assertEqual((row.status, row.ended_reason, row.last_stream), ("completed", "transferred", 0))
        [kept] = self.legs(ACCEPTED, ["completed"])
        self.assertEqual((kept.kind, kept.leg_sid, kept.briefing), ("warm", colleague.call_sid, BRIEFING))
        assert kept.asked_at and kept.placed_at and kept.answered_at and kept.ended_at
        self.assertLessEqual(kept.asked_at, kept.placed_at)

    def test_one_who_declines_or_says_nothing_is_not_joined_and_the_agent_goes_on(self) -> None:
        for number, reason in ((DECLINED, "said_no"), (SILENT, "no_key"), (RUDE, "no_key")):
            with self.subTest(reason):
                colleague = self.asked_first[COLLEAGUES[number][0]]
                self.assertIn(BRIEFING, colleague.said[0])
                [leg] = self.legs(number, ["refused"])
                self.assertEqual(leg.reason, reason)
                self.assertIsNotNone(leg.answered_at)
                self.assert_back_with_the_agent(number)

    def test_one_who_does_not_answer_or_whom_the_carrier_does_not_call_is_not_waited_for(self) -> None:
        for number, state, reason in ((AWAY, "no-answer", ""), (UNPLACED, "failed", "not_placed")):
            with self.subTest(state):
                [leg] = self.legs(number, [state])
                self.assertEqual((leg.reason, leg.answered_at), (reason, None))
                self.assertIsNotNone(leg.placed_at)
                self.assert_back_with_the_agent(number)
        self.assertNotIn(COLLEAGUES[UNPLACED][0], self.asked_first)

    def assert_back_with_the_agent(self, number: str) -> None:
        ledger = self.ledgers[number]
        self.assertEqual((ledger.verbs, ledger.joined_to), (["Connect", "Enqueue", "Connect"], ""))
        self.assertEqual((set(ledger.waited) - {"Play", "Redirect"}, ledger.waited[-1]), ({"Leave"}, "Leave"))
        row = self.finished(ledger.call_sid)
        self.assertEqual((row.ended_reason, row.last_stream), ("caller_hung_up", 1))
        turns = self.turns(ledger.call_sid)
        self.assertEqual(turns[2].bot_reply, UNREACHED)
        self.assertIn("eight in the morning", turns[3].bot_reply)

    def test_a_caller_who_hangs_up_on_hold_has_hung_up_and_the_colleague_is_called_off(self) -> None:
        ledger, colleague = self.ledgers[IMPATIENT], self.asked_first[COLLEAGUES[IMPATIENT][0]]
        self.assertEqual((ledger.verbs, colleague.status), (["Connect", "Enqueue"], "canceled"))
        self.assertIn("Play", ledger.waited)
        [leg] = self.legs(IMPATIENT, ["canceled"])
        self.assertIsNone(leg.answered_at)
        row = self.finished(ledger.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))

    def test_each_colleague_is_called_once_and_no_queue_stays(self) -> None:
        created = [request for request in self.api.requests if request.endswith("/Calls.json")]
        self.assertEqual(len(created), len(ASKED_FIRST))
        self.wait(lambda: not self.api.account.queues, f"the queues are deleted: {self.api.account.queues}")

    def test_no_number_of_a_colleague_is_said_to_the_model_or_stands_in_an_address_or_a_log(self) -> None:
        said = json.dumps(self._all_model_facts())
        logs = self.system.web.output() + self.system.worker.output()
        for number, _ in COLLEAGUES.values():
            digits = number.removeprefix("+")
            self.assertNotIn(digits, said)
            self.assertNotIn(digits, logs)
            for ledger in (*self.ledgers.values(), *self.asked_first.values()):
                self.assertNotIn(digits, " ".join(request.url for request in ledger.requests))
