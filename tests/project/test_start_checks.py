"""What a process asks its servers before it starts: what is refused, what warned of, who not waited for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import TestCase, mock

from django.conf import settings
from django.core.checks import Error, Warning
from django.core.management.base import SystemCheckError
from django.db import OperationalError
from django.test import SimpleTestCase, override_settings
from structlog.testing import capture_logs

from tests.calls.valkey import Valkey
from tests.e2e.processes import free_port, wait_until
from tests.project.support import own_valkey
from tests.project.test_checks import ids
from voiceagent import checks, servers

AS_IT_SHOULD_BE = {"maxmemory_policy": "noeviction", "aof_enabled": 1}
WORKER = ["-m", "celery", "-A", "voiceagent", "worker", "-Q", "high,default", "-c", "1", "--loglevel", "INFO"]


def a_valkey(test: TestCase, *options: str) -> Valkey:
    server = Valkey(*options)
    test.addCleanup(server.close)
    return server


class JudgementTest(SimpleTestCase):
    def test_a_broker_that_drops_jobs_is_refused_and_one_that_forgets_them_is_warned_of(self) -> None:
        for changes, expected in (
            ({}, []),
            ({"maxmemory_policy": "allkeys-lru"}, ["E009"]),
            ({"maxmemory_policy": "allkeys-random", "aof_enabled": 0}, ["E009", "W002"]),
            ({"maxmemory_policy": "volatile-lru"}, []),  # jobs do not expire
            ({"aof_enabled": 0}, ["W002"]),
        ):
            with self.subTest(changes):
                messages = list(checks.check_broker(AS_IT_SHOULD_BE | changes))
                self.assertEqual(ids(messages), expected)
                self.assertTrue(all(message.hint for message in messages))

    def test_clocks_that_are_apart(self) -> None:
        for ahead, expected in {
            0.0: [],
            1.9: [],
            -2.1: ["W003"],
            29.0: ["W003"],
            30.5: ["E010"],
            -3600: ["E010"],
        }.items():
            with self.subTest(ahead):
                messages = list(checks.check_clock("broker", ahead))
                self.assertEqual(ids(messages), expected)
                self.assertTrue(all(message.hint for message in messages))

    def test_the_limit_for_clocks_leaves_every_job_its_time(self) -> None:
        longest = settings.CELERY_TASK_TIME_LIMIT + checks.LONGEST_RETRY_SECONDS
        between = settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"] - longest
        self.assertLess(2 * checks.CLOCK_REFUSED_SECONDS, between)


class AskingTest(SimpleTestCase):
    databases = "__all__"

    def check(self, url: str) -> list[str]:
        with override_settings(REDIS_URL=url):
            return ids(checks.check_servers())

    def test_a_private_valkey_has_no_problem(self) -> None:
        self.assertEqual(self.check(own_valkey(self).url), [])

    def test_a_real_server_that_evicts_or_keeps_nothing(self) -> None:
        evicting = a_valkey(self, "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes")
        self.assertEqual(self.check(evicting.url), ["E009"])
        self.assertEqual(self.check(a_valkey(self).url), ["W002"])

    def test_each_clock_is_compared_with_this_machines(self) -> None:
        server = a_valkey(self, "--appendonly", "yes")
        with mock.patch.object(servers, "_broker_time", lambda: time.time() - 40):
            self.assertEqual(self.check(server.url), ["E010"])
        with mock.patch.object(servers, "_database_time", lambda: time.time() + 5):
            self.assertEqual(self.check(server.url), ["W003"])

    def skipped(self, url: str) -> list[tuple[str, str]]:
        with capture_logs() as logs:
            self.assertEqual(self.check(url), [])
        return [(line["what"], line["error"]) for line in logs if line["event"] == "start_check_skipped"]

    def test_a_server_that_does_not_answer_is_passed_over(self) -> None:
        gone = f"redis://127.0.0.1:{free_port()}/0"
        self.assertEqual(self.skipped(gone), [("broker", "ConnectionError")])
        with mock.patch.object(servers, "_database_time", side_effect=OperationalError):
            self.assertEqual(self.skipped(gone), [("broker", "ConnectionError"), ("database", "OperationalError")])

    def test_a_server_that_hangs_is_not_waited_for(self) -> None:
        server = a_valkey(self)
        server.hang()
        self.addCleanup(server.go_on)  # before it is closed
        with mock.patch.object(servers, "TIMEOUT_SECONDS", 0.1):
            self.assertEqual(self.skipped(server.url), [("broker", "TimeoutError")])
        with mock.patch.object(checks, "ASKING_SECONDS", 0.1):  # on a busy machine the database may be late as well
            self.assertIn(("broker", "TimeoutError"), self.skipped(server.url))

    def test_only_what_is_serious_stops_a_start_and_everything_is_logged(self) -> None:
        warned = Warning("forgets", hint="keep", id="voiceagent.W002")
        refused = Error("drops", hint="stop that", id="voiceagent.E009")
        for found, stops in (([], False), ([warned], False), ([warned, refused], True)):
            with mock.patch("django.core.checks.run_checks", return_value=found), capture_logs() as logs:
                if stops:
                    with self.assertRaisesMessage(SystemCheckError, "(voiceagent.E009) drops\n\tHINT: stop that"):
                        checks.before_start()
                else:
                    checks.before_start()
            self.assertEqual([line["id"] for line in logs], [message.id for message in found])
        with (
            override_settings(SILENCED_SYSTEM_CHECKS=["voiceagent.E009"]),
            mock.patch("django.core.checks.run_checks", return_value=[refused]),
            capture_logs(),
        ):
            checks.before_start()


class ProcessTest(SimpleTestCase):
    """The real processes, each with files of its own."""

    def setUp(self) -> None:
        self.var = Path(tempfile.mkdtemp(prefix="start-"))
        self.addCleanup(shutil.rmtree, self.var, ignore_errors=True)

    def start(self, arguments: list[str], redis_url: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "VOICEAGENT_VAR": str(self.var), "DATABASE_URL": "", "REDIS_URL": redis_url}
        with (self.var / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=log
            )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[Any]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)

    def log(self) -> str:
        return (self.var / "log").read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.log(), 30, f"the process says {text!r}")

    def serve(self) -> list[str]:
        return ["manage.py", "serve", "--port", str(free_port())]

    def test_neither_web_nor_worker_starts_on_a_broker_that_drops_jobs(self) -> None:
        evicting = a_valkey(self, "--maxmemory-policy", "allkeys-lru")
        for arguments in (self.serve(), WORKER):
            with self.subTest(arguments[-1]):
                self.assertEqual(self.start(arguments, evicting.url).wait(30), 1, self.log())
                self.assertIn("voiceagent.E009", self.log())
                self.assertIn("Set maxmemory-policy noeviction", self.log())
                self.assertNotIn("Traceback", self.log())

    def test_a_broker_that_keeps_nothing_is_only_warned_of(self) -> None:
        forgetful = a_valkey(self)
        for arguments, started in ((self.serve(), "Listening on"), (WORKER, " ready.")):
            with self.subTest(started):
                self.start(arguments, forgetful.url)
                self.wait_for(started)
                self.assertIn("voiceagent.W002", self.log())

    def test_web_starts_without_a_broker(self) -> None:
        self.start(self.serve(), f"redis://127.0.0.1:{free_port()}/0")
        self.wait_for("Listening on")
        self.assertIn("start_check_skipped", self.log())
