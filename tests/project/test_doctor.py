"""The doctor names each thing that is wrong, with how to mend it, and says so in its exit code."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.test import TestCase, override_settings

from businesses import demo
from businesses.models import Agent, PhoneNumber
from tests.project.support import own_valkey
from voiceagent import doctor, servers
from voiceagent.celery import app
from voiceagent.doctor import Finding
from voiceagent.management.commands.doctor import line_of

NOBODY = f"unix://{settings.VAR_DIR}/nobody.sock"


def wrong(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.wrong]


class DoctorTests(TestCase):
    def test_a_broker_that_is_not_there(self) -> None:
        with override_settings(REDIS_URL=NOBODY, EMBEDDED_REDIS=False):
            [finding] = doctor.broker()
        self.assertTrue(finding.wrong)
        self.assertEqual(finding.mend, "Check REDIS_URL.")

    def test_a_private_broker_is_as_it_should_be(self) -> None:
        with override_settings(REDIS_URL=own_valkey(self).url):
            self.assertEqual(wrong(list(doctor.broker())), [])

    def test_a_broker_that_drops_or_forgets_jobs(self) -> None:
        info: dict[str, object] = {"maxmemory_policy": "allkeys-lru", "aof_enabled": 0, "maxmemory": 100}
        texts = wrong(list(doctor.broker_findings(info | {"used_memory": 81})))
        self.assertEqual(len(texts), 3)
        self.assertIn("allkeys-lru silently drops", texts[0])
        self.assertIn("append-only file is off", texts[1])
        self.assertIn("nearly full", texts[2])
        info = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "maxmemory": 100, "used_memory": 10}
        self.assertEqual(wrong(list(doctor.broker_findings(info))), [])

    def test_a_queue_that_nobody_serves(self) -> None:
        for served, expected in (
            ([], ["nobody serves queue high", "nobody serves queue default"]),
            (["default"], ["nobody serves queue high"]),
            (["high", "default"], []),
        ):
            replies = {"celery@here": [{"name": name} for name in served]}
            with self.subTest(served=served), mock.patch.object(app.control, "inspect") as inspect:
                inspect.return_value.active_queues.return_value = replies
                self.assertEqual(wrong(list(doctor.workers())), expected)

    def test_numbers_that_lead_nowhere(self) -> None:
        self.assertEqual(wrong(list(doctor.numbers())), ["there is none to call"])
        demo.seed()
        self.assertEqual(wrong(list(doctor.numbers())), [])
        number = PhoneNumber.objects.get()
        mute = Agent.objects.create(business=number.business, name="Mute")
        PhoneNumber.objects.create(number="+15550100101", business=number.business, agent=mute)
        self.assertEqual(wrong(list(doctor.numbers())), ["+15550100101: agent Mute has no published version"])

    def test_a_clock_that_is_off(self) -> None:
        with mock.patch.object(servers, "broker_clock", return_value=-3.1):
            findings = list(doctor.clocks())
        self.assertEqual(len(wrong(findings)), 1)
        self.assertIn("voiceagent.W003: The broker's clock is -3.1 s", wrong(findings)[0])

    def test_the_clocks_of_this_machine_agree(self) -> None:
        findings = list(doctor.clocks())
        self.assertEqual([finding.wrong for finding in findings], [False, False])

    def test_a_database_that_lacks_migrations(self) -> None:
        self.assertEqual(wrong(list(doctor.database())), [])
        with mock.patch.object(doctor, "MigrationExecutor") as executor:
            executor.return_value.migration_plan.return_value = ["one"]
            self.assertEqual(wrong(list(doctor.database())), ["1 migrations are not applied"])

    def test_a_public_address_that_leads_nowhere(self) -> None:
        with override_settings(IS_PUBLIC=True, PUBLIC_URL="https://127.0.0.1:1"):
            [finding] = doctor.public_address()
        self.assertTrue(finding.wrong)
        self.assertIn("not reached from here" if "not reached" in finding.text else "not reachable", finding.text)

    def test_contradictions_in_the_settings(self) -> None:
        with override_settings(TWILIO_AUTH_TOKENS=[]):
            self.assertIn("voiceagent.E003", wrong(list(doctor.configuration()))[0])

    def test_a_line_shows_what_to_do_below_what_is_wrong(self) -> None:
        line = line_of(Finding("broker", "does not answer", True, "Check REDIS_URL."))
        self.assertEqual(line, "WRONG  broker    does not answer\n" + " " * 17 + "-> Check REDIS_URL.")
        self.assertEqual(line_of(Finding("model", "simulated")), "ok     model     simulated")

    def test_the_command_counts_and_exits_with_1(self) -> None:
        said = io.StringIO()
        with (
            override_settings(REDIS_URL=NOBODY),
            mock.patch.object(doctor, "QUESTIONS", [doctor.broker, doctor.twilio]),
            redirect_stdout(said),
            self.assertRaises(SystemExit) as ended,
        ):
            call_command("doctor", stdout=said)
        self.assertEqual(ended.exception.code, 1)
        self.assertIn("1 thing(s) to mend.", said.getvalue())
        self.assertNotIn(settings.TWILIO_AUTH_TOKENS[0], said.getvalue())
