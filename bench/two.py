"""Two web processes on two cores beside one: whether a second one costs the first anything.

The loads need the same two cores, each the one its process does not have, so that delays say nothing here: CPU does.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from bench.compare import Run, line, measure
from bench.rivals import process_of
from bench.system import GENERATOR_CORE, WEB_CORE, System

CALLS = 60  # for each process
SECONDS = 5.0
ROUNDS = 3
ONE, TWO = "voiceagent, one process", "voiceagent, one of two"


def by_turns() -> list[Run]:
    """One process with its calls, then two with as many each, by turns: the same database and broker for both."""
    runs: list[Run] = []
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(System())
        stack.enter_context(system.worker(GENERATOR_CORE))
        first = stack.enter_context(process_of(system, ONE))
        second = stack.enter_context(process_of(system, TWO, core=GENERATOR_CORE, load_core=WEB_CORE))
        beside = stack.enter_context(process_of(system, TWO))
        with ThreadPoolExecutor(2) as both:
            for _ in range(ROUNDS):
                done = [measure(first, CALLS, SECONDS)]
                done += both.map(lambda rival: measure(rival, CALLS, SECONDS), (second, beside))
                print("\n".join(map(line, done)), flush=True)
                runs += done
    return runs
