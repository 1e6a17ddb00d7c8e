"""`manage.py serve` with a probe on its event loop: how long the loop stood still, and how much of that was ours.

    CHAOS_PROBE=FILE python -m tests.chaos.serve --host 127.0.0.1 --port 8000

The loop asks to be woken every 10 ms. How late it was (`wall_ms`) says little on a machine whose cores are all busy: so
the time is taken off during which its thread was ready to run and the kernel gave the core to somebody else (`own_ms`).
What is left is a blocking call, a lock, another thread's GIL or a long callback: our own doing. A thread of ours that
holds the GIL and is kept waiting for a core counts as ours, so the figure is rather too high than too low.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path

from voiceagent.management.commands import serve
from voiceagent.serving import Running

EVERY_SECONDS = 0.01
NOTED_MS = 5.0


class Probe:
    """A line of JSON in `path` for each beat that came late: `at` (unix seconds), `wall_ms`, `own_ms`, and `ran_ms`,
    what the loop's thread ran itself; the rest of its own it was blocked."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._file = path.open("a", buffering=1)
        self._schedstat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._wait()

    def _wait(self) -> None:
        self._ran_ms, self._waited_ms = self._scheduled()
        self._due = time.monotonic() + EVERY_SECONDS
        self._loop.call_later(EVERY_SECONDS, self._beat)

    def _beat(self) -> None:
        wall_ms = (time.monotonic() - self._due) * 1000
        ran_ms, waited_ms = self._scheduled()
        own_ms = max(0.0, wall_ms - (waited_ms - self._waited_ms))
        if wall_ms > NOTED_MS:
            times = {"wall_ms": wall_ms, "own_ms": own_ms, "ran_ms": ran_ms - self._ran_ms}
            note = {"at": time.time(), "pid": os.getpid(), **{name: round(ms, 1) for name, ms in times.items()}}
            self._file.write(json.dumps(note) + "\n")
        self._wait()

    def _scheduled(self) -> tuple[float, float]:
        """How long this thread has run, and has been ready to run without running, since it began: milliseconds."""
        ran, waited, _ = self._schedstat.read_text().split()
        return int(ran) / 1e6, int(waited) / 1e6


class Command(serve.Command):
    def _ready(self, server: Running) -> None:
        super()._ready(server)
        Probe(server.loop, Path(os.environ["CHAOS_PROBE"]))


def longest(path: Path, since: float, until: float) -> tuple[float, float]:
    """The longest of both, in milliseconds, between two unix times."""
    wall = own = 0.0
    for line in path.read_text().splitlines() if path.exists() else ():
        note = json.loads(line)
        if since <= note["at"] <= until:
            wall, own = max(wall, note["wall_ms"]), max(own, note["own_ms"])
    return wall, own


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")
    import django

    django.setup()
    Command().run_from_argv(["manage.py", "serve", *sys.argv[1:]])


if __name__ == "__main__":
    main()
