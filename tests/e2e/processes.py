"""Child processes of a test: started with a log file, waited for by what they do, stopped in order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first true value of `condition`; fail with `what` when there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


class Child:
    """One process with its output in a file."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                arguments,
                cwd=REPOSITORY,
                env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_for_output(self, text: str, seconds: float = 30) -> None:
        def seen() -> bool:
            if not self.is_alive():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.output()[-3000:]}")
            return text in self.output()

        wait_until(seen, seconds, f"{self.name} says {text!r}; it said:\n{self.output()[-3000:]}")

    def first_line(self) -> dict[str, Any]:
        """The first line of output, as JSON: how the simulators say where they listen."""
        self.wait_for_output("\n")
        line: dict[str, Any] = json.loads(self.output().splitlines()[0])
        return line

    def kill(self) -> None:
        if self.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = 20) -> int:
        """Ask to stop, then kill what does not; return the exit code."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
