"""What a call costs when there are many, and what is left of it when it is over."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from bench.compare import Run, line, measure, middle
from bench.rivals import Rival, voiceagent
from bench.system import memory_kb, sockets, threads

FEW, MANY = 50, 200
ROUNDS = 3
SECONDS = 4.0
IN_A_ROW = 500
AT_A_TIME = 5
FIRST = 3000  # their numbers


@dataclass(frozen=True, slots=True)
class State:
    """Of the server process, when it has no call."""

    after: int  # calls since the first look
    memory_kb: int
    sockets: int
    threads: int


def measure_load() -> list[Run]:
    """Few and many calls by turns on one server."""
    with voiceagent() as rival:
        runs = []
        for _ in range(ROUNDS):
            for calls in (FEW, MANY):
                run = measure(rival, calls, SECONDS)
                print(line(run), flush=True)
                runs.append(run)
        return runs


def kb_a_call(runs: list[Run]) -> float:
    """Memory of one live call, by what many need beyond what few do."""
    if any(run.failure for run in runs):
        return math.nan
    few, many = ([run.memory_kb for run in runs if run.calls == calls] for calls in (FEW, MANY))
    return (max(many) - min(few)) / (MANY - FEW)


def cpu_ratio(runs: list[Run]) -> float:
    """CPU of a call among many to that of a call among few."""
    few, many = (middle([run for run in runs if run.calls == calls], lambda run: run.cpu_ms) for calls in (FEW, MANY))
    return many / few


def in_a_row() -> list[State]:
    """A server's state after 100, 300 and 500 more short calls, from when the first 100 are over."""
    with voiceagent() as rival:
        _short_calls(rival, 100)
        states = [_state(rival, 0)]
        done = 0
        for until in (100, 300, IN_A_ROW):
            _short_calls(rival, until - done)
            done = until
            states.append(_state(rival, done))
            print(states[-1], flush=True)
        return states


def _short_calls(rival: Rival, calls: int) -> None:
    for _ in range(calls // AT_A_TIME):
        numbers = range(FIRST, FIRST + AT_A_TIME)
        for number in numbers:
            rival.load.place(number, rival.entrance(number))
        rival.load.wait_until_up(numbers)
        time.sleep(0.25)
        rival.load.hang_up(numbers)
        time.sleep(0.1)


def _state(rival: Rival, after: int) -> State:
    time.sleep(8.0)  # what a call leaves to be done later is done
    return State(after, memory_kb(rival.pid), sockets(rival.pid), threads(rival.pid))
