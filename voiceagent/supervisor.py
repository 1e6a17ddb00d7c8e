"""Child processes: started, watched, started again when they die, stopped in order (`manage.py run`, supervise.py)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

TIED = str(Path(__file__).with_name("tied.py"))
FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
WORKER_GRACE = 40.0  # a job may take 30 s
STEADY_SECONDS = 60.0  # who lived this long did not die of its start; the next delay is the first again

# Celery's, structlog's and Python's ways to say that something is wrong.
LOUD = re.compile(r"\[(warning|error|critical) *\]|\b(WARNING|ERROR|CRITICAL)\b|^Traceback |^\w*(Error|Exception):")


def tied(command: Sequence[str]) -> list[str]:
    """The command, made to end with this process even when this process is killed (Linux; see tied.py)."""
    return [sys.executable, "-I", "-S", TIED, str(os.getpid()), *command]


def next_delay(previous: float, lived: float) -> float:
    """Seconds to wait before a dead child is started again: doubling, bounded, forgiven after a steady life."""
    if lived >= STEADY_SECONDS or previous <= 0:
        return FIRST_DELAY
    return min(previous * 2, LONGEST_DELAY)


def is_loud(line: str) -> bool:
    """Whether a log line is worth a person's eye while a transcript is being printed."""
    return LOUD.search(line) is not None


@dataclass
class Child:
    """One program under the supervisor. `on_line` sees every line it writes, from a thread of its own.

    `speaks_for_itself`: what it writes goes where the supervisor's own output goes, untouched, and to no log file.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    on_line: Callable[[str], None] | None = None
    restarts: bool = True
    speaks_for_itself: bool = False

    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    started_at: float = 0.0
    delay: float = 0.0
    start_again_at: float | None = None
    deaths: int = 0

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Call `tick` a few times a second; everything happens there, but for reading what the children write."""

    def __init__(self, log_dir: Path | None, say: Callable[[str], None]) -> None:
        self.log_dir = log_dir
        self.say = say
        self.children: list[Child] = []

    def start(self, child: Child, now: float) -> None:
        if child not in self.children:
            self.children.append(child)
        child.process = subprocess.Popen(
            tied(child.command),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **child.environment},
            stdin=subprocess.DEVNULL,
            stdout=None if child.speaks_for_itself else subprocess.PIPE,
            stderr=None if child.speaks_for_itself else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the children in order
        )
        child.started_at = now
        child.start_again_at = None
        if not child.speaks_for_itself:
            path = self._log_of(child)
            path.parent.mkdir(parents=True, exist_ok=True)
            log = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - the reader's
            child.reader = threading.Thread(target=self._read, args=(child, child.process.stdout, log), daemon=True)
            child.reader.start()

    def tick(self, now: float) -> None:
        """Notice the dead and start them again when their time has come."""
        for child in self.children:
            if child.process is None or not child.restarts:
                continue
            if child.start_again_at is not None:
                if now >= child.start_again_at:
                    self.start(child, now)
            elif child.process.poll() is not None:
                child.deaths += 1
                _kill_group(child)
                child.delay = next_delay(child.delay, now - child.started_at)
                child.start_again_at = now + child.delay
                line = f"{child.name} ended by itself (code {child.process.returncode}), starting it again in "
                where = "" if child.speaks_for_itself else f"; see {self._log_of(child)}"
                self.say(f"{line}{child.delay:.0f} s{where}")

    def stop(self, names: Sequence[str], grace: float, hurry: Callable[[], bool]) -> bool:
        """Ask the named children to end and wait `grace` seconds; kill who is left. `hurry` true cuts the wait.

        Return whether nobody had to be killed.
        """
        children = [child for child in self.children if child.name in names]
        for child in children:
            child.restarts = False
            child.start_again_at = None
            _signal(child, signal.SIGTERM)
        give_up = time.monotonic() + grace
        while any(child.is_running() for child in children) and time.monotonic() < give_up and not hurry():
            time.sleep(0.05)
        deaf = [child for child in children if child.is_running()]
        for child in deaf:
            _kill_group(child)
        for child in children:
            if child.process is not None:
                child.process.wait()
            if child.reader is not None:
                child.reader.join(timeout=2)
        return not deaf

    def _log_of(self, child: Child) -> Path:
        assert self.log_dir is not None, "whoever has none supervises only who speaks for itself"
        return self.log_dir / f"{child.name}.log"

    def _read(self, child: Child, output: IO[str], log: IO[str]) -> None:
        with log, output:
            for line in output:
                log.write(line)
                if child.on_line is not None:
                    child.on_line(line.rstrip("\n"))
                elif is_loud(line):
                    self.say(f"{child.name} | {line.rstrip()}")


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.poll() is None:
        child.process.send_signal(number)


def _kill_group(child: Child) -> None:
    """The child, or what it left: a Celery worker that is killed leaves its pool processes behind."""
    if child.process is not None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS: only zombies are
            os.killpg(child.process.pid, signal.SIGKILL)


class Signals:
    """Ctrl-C and SIGTERM: the first asks for the end, the second for haste."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._again = False
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > 1.0:  # at once it is the same wish: make passes on what the terminal sent already
            self._again = True
        self._asked.set()

    def wait(self, seconds: float) -> bool:
        return self._asked.wait(seconds)

    def hurry(self) -> bool:
        return self._again
