"""Drives the load (native/load.c): places calls on a system, ends them, and hands over what it measured."""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from bench.native import program
from bench.system import prefer

OPEN_SECONDS = 20.0
IN_FLIGHT_SECONDS = 1.0  # what has not come after this long is lost


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where one call's media stream goes, and what it says of itself. `signature`: of the handshake, or none."""

    port: int
    path: str
    call_sid: str
    account_sid: str = "AC" + "0" * 32
    host: str = "127.0.0.1"
    signature: str = "-"
    token: str = "-"  # noqa: S105 - none


class CallFailed(Exception):
    """The system did not open the media stream of a call."""


class Load:
    """`with Load(core) as load:`. Calls have numbers below 4096; one number is one call at a time."""

    def __init__(self, core: int, *, in_order: bool = False) -> None:
        arguments = ["taskset", "-c", str(core), str(program("load")), *(["in-order"] if in_order else [])]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        # Nothing else on its core may make it late: that would count as the system's delay.
        prefer(self._process.pid, -15)
        self._read = b""
        self.model_port = int(self._line(5.0).split()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def place(self, number: int, entrance: Entrance, *, measured: bool = True) -> None:
        """Open a call's stream, without waiting for it."""
        stream = "MZ" + secrets.token_hex(16)
        self._say(
            f"call {number} {entrance.port} {int(measured)} {entrance.path} {entrance.host} {entrance.signature} "
            f"{entrance.call_sid} {stream} {entrance.account_sid} {entrance.token}"
        )

    def wait_until_up(self, numbers: Iterable[int]) -> None:
        """Until all of these streams are open. Raise CallFailed."""
        waiting, deadline = set(numbers), time.monotonic() + OPEN_SECONDS
        while waiting:
            word, _, number = self._line(deadline - time.monotonic()).partition(" ")
            if word == "failed":
                raise CallFailed(f"call {number}")
            if word == "up":
                waiting.discard(int(number))

    def hang_up(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._say(f"hang {number}")

    def measure(self, seconds: float) -> dict[str, Any]:
        """What the measured calls see of the system in the next `seconds`. Times in milliseconds."""
        self.begin()
        time.sleep(seconds)
        return self.end()

    def begin(self) -> None:
        self._say("begin")
        self._until("ok")

    def end(self) -> dict[str, Any]:
        self._say("end")
        self._until("ok")
        time.sleep(IN_FLIGHT_SECONDS)
        self._say("report")
        report: dict[str, Any] = json.loads(self._until("{"))
        return report

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def _until(self, beginning: str) -> str:
        while not (line := self._line(OPEN_SECONDS)).startswith(beginning):
            pass
        return line

    def _line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise CallFailed("a call's stream did not open in time")
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise CallFailed("the load has ended")
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()
