"""How many calls one core carries: more and more of them, until the audio comes late or frames are lost."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare import Run, line, measure
from bench.rivals import voiceagent

STEPS = (100, 200, 300, 400, 500)
LIMIT_MS = 20.0  # of the added delay, 99th percentile
TRIES = 3  # a step whose first run fails is tried again: the machine is shared
SECONDS = 5.0


def climb(server: str, steps: Sequence[int] = STEPS) -> list[Run]:
    """Every run under `server`, up to the first step that is not carried."""
    runs: list[Run] = []
    for calls in steps:
        for _ in range(TRIES):
            with voiceagent(server) as rival:
                run = measure(rival, calls, SECONDS)
            print(line(run), flush=True)
            runs.append(run)
            if carried(run):
                break
        else:
            break
    return runs


def carried(run: Run) -> bool:
    """All calls were placed, no frame was lost, and 99 of 100 frames came in time."""
    return not run.failure and not run.lost and run.figure("up", "p99") < LIMIT_MS


def most(runs: Sequence[Run]) -> int:
    """The largest number of calls that was carried."""
    return max((run.calls for run in runs if carried(run)), default=0)
