"""What the record of a call is worth when its helpers are away, and what it must not contain."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any, ClassVar

from django.conf import settings
from django_celery_results.models import TaskResult

from simulators import speech
from simulators.carrier.faults import Faults
from simulators.carrier.ledger import CallLedger
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase

STATUS_EVENTS = ("initiated", "ringing", "answered", "completed")


class TheRecordHolds(SystemTestCase):
    plain: ClassVar[CallLedger]
    without_stop: ClassVar[CallLedger]
    repeated: ClassVar[CallLedger]
    unknown_number: ClassVar[CallLedger]

    @classmethod
    async def place_calls(cls) -> None:
        everything_twice = Faults(status_duplicate=True, status_shuffle=True, duplicate_webhook=True)
        cls.plain, cls.without_stop, cls.repeated, cls.unknown_number = await asyncio.gather(
            cls.place("question"),
            cls.place("hang-up-mid-sentence", faults=Faults(no_stop=True, completed_before_stop=True)),
            cls.place("question", faults=everything_twice, status_events=STATUS_EVENTS),
            cls.place("greeting-only", to="+15550100999"),
        )

    def test_jobs_can_be_seen_and_tell_nothing_of_what_was_said(self) -> None:
        call_sid = self.plain.call_sid
        self.finished(call_sid)
        names = {"calls.tasks.create_call_log", "calls.tasks.finalize_call_log"}  # turns are only counted

        def seen() -> set[str]:
            done = TaskResult.objects.filter(status="SUCCESS", task_kwargs__contains=call_sid)
            return set(done.values_list("task_name", flat=True))

        self.wait(lambda: names <= seen(), "every job of the call shows as done")
        columns = " ".join(str(row) for row in TaskResult.objects.values())
        logs = self.system.web.output() + self.system.worker.output()
        for secret in (speech.load("ask-hours").text, speech.load("hours").text, "close today", CALLER, NUMBER):
            self.assertNotIn(secret, columns)
            self.assertNotIn(secret, logs)

    def test_an_operator_is_told_of_workers_processes_and_times_as_they_are(self) -> None:
        self.finished(self.plain.call_sid)

        def told() -> dict[str, Any] | None:
            command = [sys.executable, "manage.py", "jobs", "--json"]
            environment = {**os.environ, **self.system.environment}
            output = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, check=False)
            found: dict[str, Any] = json.loads(output.stdout)
            # A process says what it carries every ten seconds, a result is written after its row.
            beats = any(process["loop_late_seconds"] is not None for process in found["processes"])
            return found if beats and all(queue["fact_to_row"] for queue in found["queues"][:2]) else None

        found = self.wait(told, "heartbeats and times of jobs", 30)
        self.assertEqual((found["broker_error"], found["database_error"]), ("", ""))
        for queue in found["queues"][:2]:
            with self.subTest(queue["name"]):
                self.assertEqual((queue["workers"], queue["hour"]["failed"], queue["dead_letters"]), (1, 0, 0))
                self.assertGreaterEqual(queue["fact_to_row"]["count"], 1)
                self.assertLess(queue["fact_to_row"]["p95"], 60)
        blamed = {item["about"] for item in found["advice"] if item["level"] == "bad"}
        self.assertFalse(blamed & {"queue high", "queue default", "broker", "database", "web"}, found["advice"])

    def test_the_status_callback_ends_a_call_whose_stop_never_came(self) -> None:
        row = self.finished(self.without_stop.call_sid)
        self.assertEqual((row.status, row.duration_seconds), ("completed", self.without_stop.duration_seconds))

    def test_doubled_and_shuffled_callbacks_change_nothing(self) -> None:
        row = self.finished(self.repeated.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))
        self.assertEqual(len(self.turns(row.call_sid)), row.expected_turns)

    def test_an_unknown_number_is_answered_politely_and_connects_nobody(self) -> None:
        self.assertEqual([request.status for request in self.unknown_number.requests_of("voice")], [200])
        self.assertEqual(self.unknown_number.streams, [])
        self.assertIn("Say", " ".join(self.unknown_number.verbs))


class TheRecordHoldsWhoeverIsAway(SystemTestCase):
    def test_a_call_without_any_worker_is_in_the_log_once_one_is_back(self) -> None:
        self.system.worker.stop()
        ledger = self.call("greeting-only")
        self.assertTrue(ledger.ok, self.trouble())
        self.system.start_worker()
        row = self.finished(ledger.call_sid, seconds=40)
        self.assertEqual(len(self.turns(ledger.call_sid)), row.expected_turns)

    def test_a_call_without_a_broker_is_written_directly(self) -> None:
        if self.system.broker is None:
            self.skipTest("the broker is not the test's own; it runs with REDIS_URL unset")
        self.system.broker.kill()
        self.addCleanup(self.system.start_broker)
        ledger = self.call("greeting-only")
        self.assertTrue(ledger.ok, self.trouble())
        self.assertEqual(self.finished(ledger.call_sid).expected_turns, 1)
        self.assertEqual(self.turns(ledger.call_sid)[0].bot_reply, speech.load("greeting").text)
