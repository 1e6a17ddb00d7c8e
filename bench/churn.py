"""What steady calls hear while others start and end beside them, with the broker well, gone, and hung."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.compare import WARM_UP_SECONDS, Run
from bench.load import Entrance
from bench.rivals import Rival, voiceagent
from bench.system import cpu_seconds, memory_kb

STEADY, COMING = 25, 50
ROUNDS = 8
ROUND_SECONDS = 1.0
ASKING = 8  # webhooks at a time
FIRST, SECOND = 1000, 2000  # numbers of those that come and go, by turns


def measure_all() -> list[Run]:
    """Steady calls alone, and beside churn with each state of the broker; a fresh server each."""
    runs = []
    for state in ("calm", "broker up", "broker refused", "broker hung"):
        with voiceagent() as rival:
            run = _measure(rival, state)
        print(f"{state}: added delay p99 {run.figure('up', 'p99'):.2f} ms, lost {run.lost}", flush=True)
        runs.append(run)
    return runs


def _measure(rival: Rival, state: str) -> Run:
    assert rival.system is not None
    for number in range(STEADY):
        rival.load.place(number, rival.entrance(number))
    rival.load.wait_until_up(range(STEADY))
    if state == "broker refused":
        rival.system.broker.kill()
        rival.system.broker.wait()
    elif state == "broker hung":
        os.kill(rival.system.broker.pid, signal.SIGSTOP)
    try:
        time.sleep(WARM_UP_SECONDS)
        churning = threading.Thread(target=_come_and_go, args=(rival,)) if state != "calm" else None
        cpu, began = cpu_seconds(rival.pid), time.monotonic()
        rival.load.begin()
        if churning is not None:
            churning.start()
            churning.join()
        else:
            time.sleep(ROUNDS * ROUND_SECONDS)
        report = rival.load.end()
        cpu, took = cpu_seconds(rival.pid) - cpu, time.monotonic() - began
        return Run(f"voiceagent, {state}", STEADY, took, cpu, memory_kb(rival.pid), report)
    finally:
        if state == "broker hung":
            os.kill(rival.system.broker.pid, signal.SIGCONT)


def _come_and_go(rival: Rival) -> None:
    """Each second 50 calls ask and start at once, and the 50 of the second before hang up at once."""
    due = time.monotonic()
    with ThreadPoolExecutor(ASKING) as asking:
        for round_ in range(ROUNDS):
            coming, leaving = (FIRST, SECOND) if round_ % 2 == 0 else (SECOND, FIRST)
            entrances = list(asking.map(_asked(rival), range(coming, coming + COMING)))
            for number, entrance in enumerate(entrances, coming):
                if entrance is not None:
                    rival.load.place(number, entrance, measured=False)
            if round_:
                rival.load.hang_up(range(leaving, leaving + COMING))
            due += ROUND_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))


def _asked(rival: Rival) -> Callable[[int], Entrance | None]:
    def entrance(number: int) -> Entrance | None:
        try:
            return rival.entrance(number)
        except OSError:  # it took longer than a carrier waits: that call is not connected
            return None

    return entrance
