"""The container's worker: one that dies is started again, and a stop leaves nobody behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import skipUnless

from django.conf import settings
from django.test import SimpleTestCase

from tests.calls.valkey import Valkey
from tests.e2e.processes import wait_until
from tests.project.test_supervisor import is_alive

SUPERVISE = [sys.executable, "-m", "voiceagent.supervise"]
SET_CHILD_SUBREAPER = 36  # prctl(2): to inherit orphans as the first process of a container does
AS_FIRST_PROCESS = (
    f"import ctypes, sys; ctypes.CDLL(None).prctl({SET_CHILD_SUBREAPER}, 1)\n"
    "from voiceagent.supervise import main; sys.exit(main(sys.argv[1:]))"
)


def children(pid: int) -> dict[int, str]:
    """State (R, S, Z ...) of each process that `pid` is the parent of."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == pid:
            found[int(path.parent.name)] = state
    return found


@skipUnless(sys.platform == "linux", "Containers run Linux: /proc, orphans and zombies are its own")
class SuperviseTests(SimpleTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="supervise-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        base = {**os.environ, "PATH": path, "VOICEAGENT_VAR": str(self.directory), "LOG_FORMAT": "json"}
        with (self.directory / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=settings.BASE_DIR, env={**base, **environment}, stdout=log, stderr=log
            )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
        process.wait(10)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log().count(text) >= times, 30, f"{times} times {text!r}")

    def only_child(self, pid: int) -> int:
        [child] = children(pid)
        return child

    def test_the_worker_of_the_container_is_started_again_and_stopped_with_all_it_started(self) -> None:
        broker = Valkey("--appendonly", "yes")
        self.addCleanup(broker.close)
        entrypoint = str(Path(settings.BASE_DIR) / "docker" / "entrypoint.sh")
        container = self.start([entrypoint, "worker"], REDIS_URL=broker.url, DATABASE_URL="")
        self.wait_for(" ready.")
        first = self.only_child(container.pid)
        pool = children(first)
        self.assertGreaterEqual(len(pool), 2)
        os.kill(first, signal.SIGKILL)
        self.wait_for(" ready.", times=2)
        second = self.only_child(container.pid)
        self.assertNotEqual(first, second)
        self.assertEqual([pid for pid in pool if is_alive(pid)], [])
        [line] = [line for line in self.log().splitlines() if "worker ended by itself" in line]
        self.assertIn("worker ended by itself (code -9), starting it again in 1 s", json.loads(line)["event"])
        family = [second, *children(second)]
        container.send_signal(signal.SIGTERM)
        self.assertEqual(container.wait(30), 0, self.log())
        self.assertEqual([pid for pid in family if is_alive(pid)], [])

    def test_who_does_not_listen_is_killed_at_the_second_wish_and_that_shows_in_the_code(self) -> None:
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
        supervisor = self.start([*SUPERVISE, "deaf", sys.executable, "-c", deaf])
        self.wait_for("deaf")
        child = self.only_child(supervisor.pid)
        supervisor.send_signal(signal.SIGTERM)

        again_at = time.monotonic() + 1.2  # within a second it is still the first wish
        wait_until(lambda: time.monotonic() > again_at, 5, "a second has passed")
        self.assertIsNone(supervisor.poll())
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(10)
        self.assertEqual(supervisor.returncode, 1)
        self.assertFalse(is_alive(child))

    def test_orphans_are_buried(self) -> None:
        """A program whose child has a child of its own and ends first: the grandchild is nobody's then."""
        grandchild = (
            "import subprocess, signal; subprocess.run(['sh', '-c', 'sleep 0.1 & echo orphan $!']); signal.pause()"
        )
        first = self.start([sys.executable, "-c", AS_FIRST_PROCESS, "program", sys.executable, "-c", grandchild])
        orphan = wait_until(lambda: re.search(r"orphan (\d+)\n", self.log()), 10, "there is an orphan")[1]
        wait_until(lambda: not Path(f"/proc/{orphan}").exists(), 10, "it is not even a zombie")
        self.assertEqual(len(children(first.pid)), 1)
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(10), 0)

    def test_what_to_type(self) -> None:
        ended = subprocess.run([*SUPERVISE, "worker"], cwd=settings.BASE_DIR, capture_output=True, text=True)
        self.assertEqual((ended.returncode, ended.stderr.startswith("Usage: ")), (64, True))
