"""Children are started again when they die, and stopped in order; their noise is kept from the terminal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from django.test import SimpleTestCase

from voiceagent.supervisor import LONGEST_DELAY, Child, Supervisor, is_loud, next_delay, tied


def never() -> bool:
    return False


class DelayTests(SimpleTestCase):
    def test_the_delay_doubles_is_bounded_and_is_forgiven_after_a_steady_life(self) -> None:
        delays = [next_delay(0, lived=1)]
        while delays[-1] < LONGEST_DELAY:
            delays.append(next_delay(delays[-1], lived=1))
        self.assertEqual(delays, [1, 2, 4, 8, 16, 30])
        self.assertEqual(next_delay(30, lived=1), 30)
        self.assertEqual(next_delay(30, lived=61), 1)


class LoudTests(SimpleTestCase):
    def test_warnings_and_errors_are_shown_and_the_rest_is_not(self) -> None:
        for line in (
            "2026-11-24T00:18:21Z [error    ] model_unavailable [media.bridge]",
            "2026-11-24T00:18:21Z [warning  ] not_ready",
            "[2026-11-24 00:06:16,105: WARNING/MainProcess] No hostname was supplied",
            "Traceback (most recent call last):",
            "ImportError: cannot import name 'x'",
        ):
            self.assertTrue(is_loud(line), line)
        for line in (
            "2026-11-24T00:18:21Z [info     ] call_finished stale_marks=38",
            "/usr/lib/celery/platforms.py:841: SecurityWarning: You're running the worker with superuser privileges",
            " -------------- celery@vm v5.6.3 (recovery)",
        ):
            self.assertFalse(is_loud(line), line)


class SupervisorTests(SimpleTestCase):
    def setUp(self) -> None:
        self.logs = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.logs)
        self.said: list[str] = []
        self.supervisor = Supervisor(self.logs, self.said.append)
        self.addCleanup(lambda: self.supervisor.stop([child.name for child in self.supervisor.children], 0, never))

    def start(self, code: str, name: str = "child", *, on_line: Callable[[str], None] | None = None) -> Child:
        child = Child(name, [sys.executable, "-c", code], on_line=on_line)
        self.supervisor.start(child, now=0)
        return child

    def wait(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), give_up, "it did not happen")
            time.sleep(0.01)

    def test_a_dead_child_is_started_again_when_its_time_has_come(self) -> None:
        child = self.start("raise SystemExit(3)")
        self.wait(lambda: not child.is_running())
        first = child.process
        self.supervisor.tick(now=5)
        self.assertEqual((child.deaths, child.start_again_at), (1, 6))
        self.assertIn("child ended by itself (code 3)", self.said[0])
        self.supervisor.tick(now=5.9)
        self.assertIs(child.process, first)
        self.supervisor.tick(now=6)
        self.assertIsNot(child.process, first)

    def test_every_line_is_logged_and_only_the_loud_ones_are_shown(self) -> None:
        child = self.start("print('quiet'); print('ERROR: loud'); print('quiet again')")
        assert child.reader is not None
        child.reader.join(10)
        self.assertEqual((self.logs / "child.log").read_text(), "quiet\nERROR: loud\nquiet again\n")
        self.assertEqual(self.said, ["child | ERROR: loud"])

    def test_stopping_waits_for_a_child_that_still_has_something_to_do(self) -> None:
        seen: list[str] = []
        child = self.start(
            "import signal, sys\n"
            "def end(*_):\n    print('finished its call'); sys.exit(0)\n"
            "signal.signal(signal.SIGTERM, end)\nprint('ready')\nsignal.pause()\nsignal.pause()",
            on_line=seen.append,
        )
        self.wait(lambda: "ready" in seen)
        self.supervisor.stop(["child"], 10, never)
        assert child.process is not None
        self.assertEqual((child.process.returncode, seen[-1]), (0, "finished its call"))
        self.supervisor.tick(now=100)
        self.assertFalse(child.is_running(), "a stopped child is not started again")

    def test_a_child_that_does_not_listen_is_killed_with_what_it_started(self) -> None:
        seen: list[str] = []
        child = self.start(
            "import signal, subprocess, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
            "print(inner.pid, flush=True)\nsignal.pause()",
            on_line=seen.append,
        )
        self.wait(lambda: bool(seen))
        self.supervisor.stop(["child"], 0.05, never)
        assert child.process is not None
        self.assertEqual(child.process.returncode, -signal.SIGKILL)
        self.wait(lambda: not is_alive(int(seen[0])))

    def test_only_the_named_are_stopped(self) -> None:
        pause = "import signal; signal.pause()"
        web, worker = self.start(pause, "web"), self.start(pause, "worker")
        self.supervisor.stop(["web"], 5, never)
        self.assertFalse(web.is_running())
        self.assertTrue(worker.is_running())


class TiedTests(SimpleTestCase):
    def test_a_child_ends_when_its_parent_is_killed(self) -> None:
        if sys.platform != "linux":
            self.skipTest("only Linux tells a child that its parent died")
        code = (
            "import subprocess, sys, signal\nfrom voiceagent.supervisor import tied\n"
            "command = [sys.executable, '-c', 'import signal; print(1, flush=True); signal.pause()']\n"
            "child = subprocess.Popen(tied(command), stdout=subprocess.PIPE, start_new_session=True)\n"
            "child.stdout.readline()\n"
            "print(child.pid, flush=True)\nsignal.pause()"
        )
        parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        with parent.stdout:
            child = int(parent.stdout.readline())
        self.assertTrue(is_alive(child))
        parent.kill()
        parent.wait()
        give_up = time.monotonic() + 10
        while is_alive(child):
            self.assertLess(time.monotonic(), give_up)
            time.sleep(0.01)

    def test_a_tied_command_keeps_its_arguments_and_its_code(self) -> None:
        command = tied([sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "a b", "--c"])
        ended = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stdout), (7, "['a b', '--c']\n"))


def is_alive(pid: int) -> bool:
    """Running; a zombie that nobody waited for has ended."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"
