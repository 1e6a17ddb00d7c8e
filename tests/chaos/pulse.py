"""Asks /healthz every 20 ms over one connection until SIGTERM, then prints the longest round trip in milliseconds.

    python -m tests.chaos.pulse PORT

/healthz is answered on the web process's event loop and by nothing else, so a loop that stands still shows here, with
what the machine's other processes add. A process of its own, because the load's threads would add theirs.
"""

from __future__ import annotations

import http.client
import signal
import sys
import time
from types import FrameType

EVERY_SECONDS = 0.02


class Over(Exception):
    pass


def stop(number: int, frame: FrameType | None) -> None:
    raise Over


def beat(port: int) -> float:
    """Until the signal. Raise Over."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while True:
        began = time.monotonic()
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()  # killed, or being started: not what is measured here
            time.sleep(0.2)
            continue
        took = time.monotonic() - began
        Longest.ms = max(Longest.ms, took * 1000)
        time.sleep(max(0.0, EVERY_SECONDS - took))


class Longest:
    ms = 0.0


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    try:
        beat(int(sys.argv[1]))
    except Over:
        sys.stdout.write(f"{Longest.ms:.0f}\n")


if __name__ == "__main__":
    main()
