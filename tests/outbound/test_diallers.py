"""Several processes dial the same calls at once, over the carrier's API and a real database: each is placed once, no
more than one in a second and as many at once as may be, also when answers are lost or every process is killed."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from datetime import time as time_of_day
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from django.db import connection
from django.test import SimpleTestCase
from django.utils import timezone

from businesses.models import DialPolicy
from outbound import services
from outbound.models import OutboundCall, OutboundState
from simulators.carrier.account import Account, CallResource
from simulators.carrier.rest import Api, RestServer
from tests.calls.support import ACCOUNT_SID, OUR_NUMBER, a_business
from tests.e2e.cases import empty_database
from tests.e2e.processes import Child, python, wait_until
from tests.e2e.system import database_url

PROCESSES = 4
AT_ONCE = 3
TALK_SECONDS = 3.5  # longer than it takes to place AT_ONCE calls, or the limit would never be reached
NUMBERS = tuple(f"+12125550{number}" for number in range(130, 140))
LOST, BROKEN = NUMBERS[2], NUMBERS[5]  # placed, the answer is lost, and no callback comes before the last one


class SeveralDiallers(SimpleTestCase):
    databases = "__all__"

    def setUp(self) -> None:
        self.addCleanup(empty_database)
        self.numbers: tuple[str, ...] = NUMBERS
        business, version = a_business()
        any_hour = time_of_day(0)
        DialPolicy.objects.create(business=business, calls_from=any_hour, calls_until=any_hour, max_at_once=20)
        self.agent_id = version.agent.pk
        self.api = Api(Account(ACCOUNT_SID), "secret", self.dialled, owned=frozenset({OUR_NUMBER}))
        rest = self.enterContext(RestServer(self.api))
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.environment = {
            "DATABASE_URL": database_url(),
            "VOICEAGENT_VAR": str(self.directory / "var"),
            "PUBLIC_URL": "https://voice.example.com",
            "TWILIO_API_URL": f"http://127.0.0.1:{rest.port}",
            "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": "secret",
            "OUTBOUND_CALLS_AT_ONCE": str(AT_ONCE),
        }
        self.lock = threading.Lock()
        self.placed_at: list[tuple[float, str]] = []
        self.on_the_line = self.most_on_the_line = 0
        self.handing_over = threading.Event()
        self.hangs_at = ""
        self.talks: list[threading.Timer] = []
        self.diallers: list[Child] = []
        self.addCleanup(self.stop)

    def start(self) -> None:
        command = python("-m", "tests.outbound.dialling_process", str(self.agent_id), *self.numbers)
        self.diallers += [
            Child(f"dialler-{len(self.diallers) + number}", command, self.environment, self.directory)
            for number in range(PROCESSES)
        ]
        for child in self.diallers[-PROCESSES:]:
            child.wait_for_output("dials", 60)

    def stop(self) -> None:
        for child in self.diallers:
            child.kill()
        for talk in self.talks:
            talk.join()

    def dialled(self, call: CallResource, fields: dict[str, str]) -> None:
        """The carrier places a call: it is talked for a while, and then a callback says that it is over."""
        with self.lock:
            self.placed_at.append((time.monotonic(), call.to_number))
            self.on_the_line += 1
            self.most_on_the_line = max(self.most_on_the_line, self.on_the_line)
        if call.to_number in {LOST, BROKEN}:
            self.api.fail_after_create = [500 if call.to_number == LOST else -1]
        if call.to_number == self.hangs_at:
            self.api.fail_after_create, self.hangs_at = [0], ""
            self.handing_over.set()
        self.talks.append(threading.Timer(TALK_SECONDS, self.over, [call, fields]))
        self.talks[-1].start()

    def over(self, call: CallResource, fields: dict[str, str]) -> None:
        if call.to_number in {LOST, BROKEN}:  # talked until it was found: on a busy machine that may take longer
            wait_until(OutboundCall.objects.filter(call_sid=call.sid).exists, 60, "the call is found in the list")
        with self.lock:  # before our side is told: it must not be the later one
            self.on_the_line -= 1
        self.api.account.set_status(call.sid, "completed")
        [token] = parse_qs(urlsplit(fields["Url"]).query)["o"]
        services.placed(token, call.sid, "completed", timezone.now())
        connection.close()

    def wait_for_the_end(self) -> None:
        ended = OutboundCall.objects.filter(ended_at__isnull=False)
        try:
            wait_until(lambda: ended.count() == len(self.numbers), 90, "all calls are over")
        except AssertionError as error:
            rows = list(OutboundCall.objects.values_list("to_number", "state", "reason", "submissions"))
            said = [child.output()[-1500:] for child in self.diallers]
            raise AssertionError(f"{error}: {rows}; {said}") from None

    def check(self) -> None:
        self.assertEqual(sorted(number for _, number in self.placed_at), sorted(self.numbers))
        times = [at for at, _ in self.placed_at]
        self.assertGreaterEqual(min(b - a for a, b in itertools.pairwise(times)), 0.9)
        self.assertLessEqual(self.most_on_the_line, AT_ONCE)
        self.assertEqual(self.api.complaints, [])

    def outcomes(self) -> set[tuple[str, str, int]]:
        return set(OutboundCall.objects.values_list("state", "reason", "submissions"))

    def lists(self, number: str) -> int:
        """How often the carrier was asked for its calls to the number."""
        wanted = f"/Calls.json?To=%2B{number[1:]}&From=%2B{OUR_NUMBER[1:]}&"
        return len([line for line in self.api.requests if line.startswith("GET") and wanted in line])

    def test_each_is_placed_once_at_the_pace_and_within_the_lines(self) -> None:
        self.api.list_lag = 2
        self.start()
        self.wait_for_the_end()
        self.check()
        self.assertEqual(self.outcomes(), {(OutboundState.COMPLETED, "", 1)})
        self.assertEqual(self.most_on_the_line, AT_ONCE)  # they did not just go one by one
        for number in self.numbers:
            self.assertEqual(self.lists(number), 3 if number in {LOST, BROKEN} else 0, number)

    def test_who_dies_while_handing_a_call_over_has_placed_it_once(self) -> None:
        self.numbers = NUMBERS[3:7]
        self.hangs_at = self.numbers[1]
        self.start()
        self.assertTrue(self.handing_over.wait(30))
        for child in self.diallers:
            child.kill()
        self.start()
        self.wait_for_the_end()
        self.check()
        self.assertEqual(self.outcomes(), {(OutboundState.COMPLETED, "", 1)})

    def test_what_never_reached_the_carrier_is_placed_again_once_and_then_given_up(self) -> None:
        once, twice, never = self.numbers = NUMBERS[7:10]
        self.api.lost_on_the_way.update({once: 1, twice: 2})
        self.start()
        self.wait_for_the_end()
        outcomes = OutboundCall.objects.values_list("to_number", "state", "reason", "submissions")
        self.assertEqual(
            set(outcomes),
            {
                (once, OutboundState.COMPLETED, "", 2),
                (twice, OutboundState.REFUSED, "not_placed", 2),
                (never, OutboundState.COMPLETED, "", 1),
            },
        )
        self.numbers = (once, never)
        self.check()
