"""Calls that we place, through the simulated carrier's REST API: to people, to machines, to nobody, and over an API
that fails. Each is placed once, whatever happens."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import time, timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.db import connection
from django.utils import timezone

from businesses.models import Business, DialPolicy, DoNotCall
from calls.models import CallLog
from outbound import services
from outbound.models import OutboundCall, OutboundState
from simulators.carrier.account import Account, CallResource
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.rest import Api, RestServer
from simulators.carrier.script import HangUp, Listen, Say, Script, WaitForEnd
from tests.e2e import system as running
from tests.e2e.cases import NUMBER, SystemTestCase
from tests.e2e.processes import REPOSITORY, wait_until

PERSON = Script("person", (Listen(), Say("ask-hours"), Listen(), HangUp()), "caller")
MACHINE = Script("machine", (WaitForEnd(25_000), HangUp()), "any")
MESSAGE = "This is Harbor Dental. Please call us back."


@dataclass(frozen=True)
class Callee:
    script: Script = PERSON
    settings: dict[str, Any] = field(default_factory=dict)


def a_machine(verdict: str) -> Callee:
    return Callee(MACHINE, {"answered_by": verdict, "amd_ms": 1500, "time_scale": 0.2})


PERSON_AT, BEEP_AT, SILENT_MACHINE_AT, FAX_AT = "+12125550110", "+12125550111", "+12125550112", "+12125550113"
BUSY_AT, NO_ANSWER_AT, FAILED_AT = "+12125550114", "+12125550115", "+12125550116"
LIMITED_AT, HANGING_AT, BROKEN_AT = "+12125550117", "+12125550118", "+12125550119"
ANNOYED_AT, QUEUED_AT = "+12125550120", "+12125550121"
CALLEES = {
    PERSON_AT: Callee(),
    BEEP_AT: a_machine("machine_end_beep"),
    SILENT_MACHINE_AT: a_machine("machine_end_silence"),
    FAX_AT: a_machine("fax"),
    BUSY_AT: Callee(settings={"callee": "busy"}),
    NO_ANSWER_AT: Callee(settings={"callee": "no-answer"}),
    FAILED_AT: Callee(settings={"callee": "failed"}),
    LIMITED_AT: Callee(),
    HANGING_AT: Callee(),
    BROKEN_AT: Callee(),
    QUEUED_AT: Callee(),
    ANNOYED_AT: Callee(Script("annoyed", (Listen(), Say("stop"), WaitForEnd(20_000), HangUp()), "any")),
}


_LIST = f"GET /2010-04-01/Accounts/{running.ACCOUNT_SID}/Calls.json?To=%2B{QUEUED_AT[1:]}&From=%2B{NUMBER[1:]}&"
DIALOGUE = {
    "opening": ["greeting"],
    "unclear": ["unclear"],
    "replies": [
        {"heard": "ask-hours", "say": ["hours"]},
        {"heard": "stop", "call": [{"name": "do_not_call", "arguments": {}}]},
    ],
    "after_call": {"do_not_call": {"say": ["goodbye"], "call": [{"name": "end_call", "arguments": {}}]}},
}


class CallsThatWePlace(SystemTestCase):
    api: ClassVar[Api]
    ledgers: ClassVar[dict[str, CallLedger]]
    found_queued: ClassVar[tuple[str, int]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.api = Api(Account(running.ACCOUNT_SID), running.AUTH_TOKEN, owned=frozenset({NUMBER}))
        rest = cls.enterClassContext(RestServer(cls.api))
        dialogue = Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "dialogue.json"
        dialogue.write_text(json.dumps(DIALOGUE))
        cls.model_options = ("--dialogue", str(dialogue))
        cls.environment = {"TWILIO_API_URL": f"http://127.0.0.1:{rest.port}"}
        super().setUpClass()

    @classmethod
    async def place_calls(cls) -> None:
        cls.ledgers = {}
        cls.system.start_beat()
        ended: asyncio.Queue[CallLedger] = asyncio.Queue()
        carriers = {
            number: Carrier(cls._settings(callee), account=cls.api.account) for number, callee in CALLEES.items()
        }
        dials = {number: carriers[number].dial(CALLEES[number].script, ended.put_nowait) for number in CALLEES}

        def dial_once_it_is_known(resource: CallResource, fields: dict[str, str]) -> None:
            """The carrier has the call in its queue, where nothing is told of it, until our row has its CallSid."""
            row = OutboundCall.objects.filter(to_number=QUEUED_AT, call_sid=resource.sid)
            wait_until(row.exists, 40, "the queued call is found in the carrier's list")
            cls.found_queued = (row.get().state, len([line for line in cls.api.requests if _LIST in line]))
            connection.close()
            dials[QUEUED_AT](resource, fields)

        def dial(resource: CallResource, fields: dict[str, str]) -> None:
            if resource.to_number == QUEUED_AT:
                threading.Thread(target=dial_once_it_is_known, args=[resource, fields], daemon=True).start()
            else:
                dials[resource.to_number](resource, fields)

        cls.api.dial = dial
        try:
            await asyncio.to_thread(cls._allow_any_hour)
            await asyncio.to_thread(cls._place_by_command, PERSON_AT)
            for number in (BEEP_AT, SILENT_MACHINE_AT, FAX_AT, BUSY_AT, NO_ANSWER_AT, FAILED_AT, ANNOYED_AT):
                message = MESSAGE if number in {BEEP_AT, FAX_AT} else ""
                await asyncio.to_thread(cls._place, number, message)
            async with asyncio.timeout(150):
                while len(cls.ledgers) < 8:
                    ledger = await ended.get()
                    cls.ledgers[ledger.to_number] = ledger
                await cls._over_an_api_that_fails(ended)
        finally:
            for carrier in carriers.values():
                carrier.close()

    @classmethod
    async def _over_an_api_that_fails(cls, ended: "asyncio.Queue[CallLedger]") -> None:
        cls.api.fail_next = [429]
        cls.api.fail_after_create, cls.api.hang_seconds = [], 12
        await asyncio.to_thread(cls._place, LIMITED_AT)
        cls.ledgers[LIMITED_AT] = await ended.get()
        cls.api.fail_after_create = [500]
        await asyncio.to_thread(cls._place, BROKEN_AT)
        cls.ledgers[BROKEN_AT] = await ended.get()
        cls.api.fail_after_create = [0]
        await asyncio.to_thread(cls._place, HANGING_AT)
        cls.ledgers[HANGING_AT] = await ended.get()
        cls.api.fail_after_create, cls.api.list_lag = [-1], 1
        await asyncio.to_thread(cls._place, QUEUED_AT)
        cls.ledgers[QUEUED_AT] = await ended.get()

    @classmethod
    def _settings(cls, callee: Callee) -> Any:
        with cls.carrier(status_path="", **callee.settings) as carrier:
            return carrier.settings

    @classmethod
    def _allow_any_hour(cls) -> None:
        business = Business.objects.get()
        DialPolicy.objects.create(
            business=business, calls_from=time(0), calls_until=time(0), max_at_once=20, max_per_hour=20
        )
        connection.close()

    @classmethod
    def _place(cls, number: str, message: str = "") -> None:
        """By code; beat finds it."""
        agent = cls.business.numbers.get().agent
        services.place_call(agent=agent, to=number, key=number, now=timezone.now(), message=message)
        connection.close()

    @classmethod
    def _place_by_command(cls, number: str) -> None:
        command = [sys.executable, "manage.py", "place_call", number, "--key", number, "--follow", "0"]
        environment = {**os.environ, **cls.system.environment}
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=60)

    def attempt(self, number: str, attempt: int = 1) -> OutboundCall:
        return OutboundCall.objects.get(to_number=number, attempt=attempt)

    def ended(self, number: str) -> OutboundCall:
        def over() -> OutboundCall | None:
            call = self.attempt(number)
            return call if call.ended_at is not None else None

        found: OutboundCall = self.wait(over, f"the call to {number} is over")
        return found

    def log(self, number: str) -> CallLog:
        row = self.finished(self.ledgers[number].call_sid)
        self.assertEqual((row.direction, row.from_number, row.to_number), ("outbound", NUMBER, number))
        return row

    def test_each_was_placed_once(self) -> None:
        dialled = [call.to_number for call in self.api.account.calls.values()]
        self.assertEqual(sorted(dialled), sorted(CALLEES))

    def test_no_more_than_one_in_a_second(self) -> None:
        times = sorted(call.created for call in self.api.account.calls.values())
        self.assertGreaterEqual(min(b - a for a, b in itertools.pairwise(times)), timedelta(seconds=0.9))

    def test_the_carrier_has_nothing_to_complain_of(self) -> None:
        self.assertEqual(self.api.complaints, [])
        for number, ledger in self.ledgers.items():
            with self.subTest(number):
                self.assertEqual((ledger.complaints, ledger.failures), ([], []), self.trouble())

    def test_a_person_hears_the_greeting_and_is_answered(self) -> None:
        row, call = self.log(PERSON_AT), self.ended(PERSON_AT)
        self.assertEqual((row.status, row.ended_reason, row.answered_by), ("completed", "caller_hung_up", "human"))
        self.assertEqual((call.state, call.answered_by, call.call_sid), ("completed", "human", row.call_sid))
        turns = self.turns(row.call_sid)
        self.assertIn("Harbor Dental", turns[0].bot_reply)
        self.assertIn("eight in the morning", turns[1].bot_reply)
        self.assertLess(self.ledgers[PERSON_AT].stream.sounds[0].start_ms, 1500)

    def test_on_a_machine_the_message_is_left_after_its_tone(self) -> None:
        row, call = self.log(BEEP_AT), self.ended(BEEP_AT)
        self.assertEqual(self.ledgers[BEEP_AT].said, [MESSAGE])
        self.assertEqual(self.ledgers[BEEP_AT].verbs[-2:], ["Say", "Hangup"])
        self.assertEqual((row.ended_reason, row.answered_by), ("left_message", "machine_end_beep"))
        self.assertIsNotNone(call.message_left_at)

    def test_without_a_message_a_machine_is_hung_up_on_and_a_fax_always(self) -> None:
        for number, verdict in ((SILENT_MACHINE_AT, "machine_end_silence"), (FAX_AT, "fax")):
            with self.subTest(verdict):
                row = self.log(number)
                self.assertEqual((row.ended_reason, row.answered_by), ("machine", verdict))
                self.assertEqual(self.ledgers[number].said, [])
                call = self.ended(number)
                self.assertEqual((call.answered_by, call.message_left_at), (verdict, None))

    def test_who_was_not_reached_is_told_apart_and_tried_again(self) -> None:
        for number, state in ((BUSY_AT, "busy"), (NO_ANSWER_AT, "no-answer"), (FAILED_AT, "failed")):
            with self.subTest(state):
                row, call = self.log(number), self.ended(number)
                self.assertEqual((call.state, row.status, row.ended_reason), (state, state, ""))
                following = OutboundCall.objects.filter(to_number=number, attempt=2)
                self.assertEqual(following.exists(), state != "failed")
                for again in following:
                    self.assertEqual((again.state, again.reason), (OutboundState.WAITING, state))
                    self.assertGreater(again.due_at, timezone.now() + timedelta(minutes=1))

    def test_an_api_that_is_busy_is_asked_again(self) -> None:
        self.assertEqual(self.ended(LIMITED_AT).submissions, 2)

    def test_a_call_whose_answer_was_lost_is_found_and_not_placed_again(self) -> None:
        for number in (BROKEN_AT, HANGING_AT, QUEUED_AT):
            with self.subTest(number):
                call = self.ended(number)
                self.assertEqual((call.state, call.submissions), (OutboundState.COMPLETED, 1))
                self.assertEqual(call.call_sid, self.ledgers[number].call_sid)
                self.assertEqual(self.log(number).ended_reason, "caller_hung_up")

    def test_a_call_that_the_carrier_says_nothing_of_is_found_in_its_list(self) -> None:
        self.assertEqual(self.found_queued, (OutboundState.QUEUED, 2))  # the first list did not show it yet

    def test_who_asks_not_to_be_called_again_is_not(self) -> None:
        row = self.log(ANNOYED_AT)
        self.assertEqual(row.ended_reason, "agent_ended")
        listed = DoNotCall.objects.get(number=ANNOYED_AT)
        self.assertEqual((listed.business, listed.source, listed.call_sid), (self.business, "callee", row.call_sid))
        agent = self.business.numbers.get().agent
        call = services.place_call(agent=agent, to=ANNOYED_AT, key="again", now=timezone.now())
        self.assertEqual((call.state, call.reason), (OutboundState.REFUSED, "do_not_call"))

    def test_asking_again_with_the_same_key_places_nothing(self) -> None:
        self._place_by_command(PERSON_AT)
        self.assertEqual(OutboundCall.objects.filter(to_number=PERSON_AT).count(), 1)

    def test_refusals_are_kept_and_never_reach_the_carrier(self) -> None:
        DoNotCall.objects.get_or_create(business=self.business, number="+12125550150")
        agent = self.business.numbers.get().agent
        before = len(self.api.requests)
        for number, reason in (("+12125550150", "do_not_call"), (NUMBER, "own_number"), ("911", "emergency")):
            with self.subTest(reason):
                call = services.place_call(agent=agent, to=number, key=reason, now=timezone.now())
                self.assertEqual((call.state, call.reason), (OutboundState.REFUSED, reason))
        created = [line for line in self.api.requests[before:] if line.startswith("POST")]
        self.assertEqual(created, [])
