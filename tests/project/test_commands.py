"""What people type first works as typed, from a shell with nothing in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.test import SimpleTestCase

from voiceagent import embedded
from voiceagent.management.commands import run
from voiceagent.valkey import PrivateValkey

BASE = Path(settings.BASE_DIR)
BARE = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "VOICEAGENT_ENV_FILE": os.devnull}


class WorkerAloneTests(SimpleTestCase):
    def test_a_worker_typed_alone_brings_its_broker_and_takes_it_away_again(self) -> None:
        var = Path(tempfile.mkdtemp(prefix="voiceagent-var-"))
        self.addCleanup(shutil.rmtree, var)
        broker = PrivateValkey(var)
        self.addCleanup(lambda: broker.acquire().release())  # for when the worker had to be killed
        log = var / "worker.log"
        command = [sys.executable, "-m", "celery", "-A", "voiceagent", "worker", "-Q", "high,default"]
        with open(log, "w") as output:
            worker = subprocess.Popen(
                [*command, "-c", "1", "-l", "INFO"],
                cwd=BASE, env={**BARE, "VOICEAGENT_VAR": str(var)}, stdout=output, stderr=output,
            )  # fmt: skip
        self.addCleanup(worker.kill)
        give_up = time.monotonic() + 60
        while " ready." not in log.read_text():
            self.assertIsNone(worker.poll(), log.read_text())
            self.assertLess(time.monotonic(), give_up, log.read_text())
            time.sleep(0.05)
        self.assertTrue(broker.answers())
        worker.send_signal(signal.SIGTERM)
        self.assertEqual(worker.wait(60), 0, log.read_text())
        self.assertFalse(broker.answers())
        self.assertFalse(embedded.socket_path(var).exists())
        self.assertNotIn("Traceback", log.read_text())


class ConfigurationTests(SimpleTestCase):
    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        var = Path(tempfile.mkdtemp(prefix="voiceagent-var-"))
        self.addCleanup(shutil.rmtree, var)
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE, env={**BARE, "VOICEAGENT_VAR": str(var), **variables}, capture_output=True, text=True,
        )  # fmt: skip

    def test_a_configuration_that_cannot_work_does_not_start(self) -> None:
        ended = self.manage("run", PUBLIC_URL="http://voice.example.com")
        self.assertEqual(ended.returncode, 1)
        self.assertIn("voiceagent.E001", ended.stderr)
        self.assertIn("PUBLIC_URL=https://", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)

    def test_a_public_server_passes_djangos_own_deployment_checks(self) -> None:
        ended = self.manage(
            "check", "--deploy", "--fail-level", "WARNING", PUBLIC_URL="https://voice.example.com",
            TWILIO_ACCOUNT_SID="AC" + "0" * 32, TWILIO_AUTH_TOKEN="t", OPENAI_API_KEY="k",
        )  # fmt: skip
        self.assertEqual(ended.returncode, 0, ended.stderr)

    def test_who_ends_make_run_waits_for_calls_only_when_told_to(self) -> None:
        code = "from django.conf import settings; print(settings.DRAIN_SECONDS, settings.DRAIN_SECONDS_OF_RUN)"
        for variables, expected in (({}, "900 0\n"), ({"DRAIN_SECONDS": "60"}, "60 60\n")):
            with self.subTest(variables=variables):
                self.assertEqual(self.manage("shell", "-v", "0", "-c", code, **variables).stdout, expected)

    def test_make_run_tells_its_web_process_how_long_to_wait_for_calls(self) -> None:
        command = run.Command()
        command.supervisor = supervisor = mock.Mock()
        with self.settings(OPENAI_API_KEY="k", DRAIN_SECONDS_OF_RUN=7):
            command.start_children(8000)
        children = {call.args[0].name: call.args[0] for call in supervisor.start.call_args_list}
        self.assertEqual(children["web"].environment["DRAIN_SECONDS"], "7")

    def test_postgresql_gets_a_pool_and_deadlines_and_sqlite_the_write_ahead_log(self) -> None:
        code = "from django.conf import settings; print(settings.DATABASES['default'])"
        postgresql = self.manage(
            "shell", "-v", "0", "-c", code, DATABASE_URL="postgres://u:p@db.example:5432/name"
        ).stdout
        for expected in (
            "'timeout': 5",
            "statement_timeout=10000",
            "'connect_timeout': 3",
            "'CONN_HEALTH_CHECKS': True",
        ):
            self.assertIn(expected, postgresql)
        for url in ("", "sqlite:////tmp/some.sqlite3"):
            sqlite = self.manage("shell", "-v", "0", "-c", code, DATABASE_URL=url).stdout
            for expected in ("'transaction_mode': 'IMMEDIATE'", "journal_mode=WAL"):
                self.assertIn(expected, sqlite)

    def test_a_secret_may_come_from_a_file(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("from a file")
            file.flush()
            code = "from django.conf import settings; print(settings.OPENAI_API_KEY)"
            ended = self.manage("shell", "-v", "0", "-c", code, OPENAI_API_KEY_FILE=file.name)
        self.assertEqual(ended.stdout.strip(), "from a file")

    def test_a_busy_port_is_one_clear_line(self) -> None:

        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            ended = self.manage("run", PORT=str(port))
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertEqual(len(ended.stderr.strip().splitlines()), 1)
        self.assertIn(f"Port {port} is in use", ended.stderr)


class BootstrapTests(SimpleTestCase):
    def test_a_python_that_cannot_make_environments_is_one_clear_line(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder) / "requirements"
            requirements.mkdir()
            shutil.copy2(BASE / "requirements" / "install.sh", requirements)
            ended = subprocess.run(
                [requirements / "install.sh", "base"],
                env={**BARE, "PYTHON": "false no-such-python"}, capture_output=True, text=True,
            )  # fmt: skip
            self.assertFalse((Path(folder) / ".venv").exists())
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(len(ended.stderr.strip().splitlines()), 1)
        self.assertIn("apt-get install python3-venv", ended.stderr)

    def test_make_explains_every_target(self) -> None:
        makefile = (BASE / "Makefile").read_text()
        phony = makefile.split(".PHONY:")[1].splitlines()[0].split()
        shown = subprocess.run(["make"], cwd=BASE, env=BARE, capture_output=True, text=True).stdout
        for target in phony:
            self.assertIn(f"  make {target} ", shown)


class EntrypointTests(SimpleTestCase):
    def test_an_unknown_role_is_refused_with_the_known_ones(self) -> None:
        ended = subprocess.run([BASE / "docker" / "entrypoint.sh", "webb"], env=BARE, capture_output=True, text=True)
        self.assertEqual(ended.returncode, 64)
        self.assertIn("Known: web, worker, offline, beat, migrate", ended.stderr)
