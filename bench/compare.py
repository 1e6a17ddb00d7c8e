"""Measures systems by turns, and sums up what their runs came to."""

from __future__ import annotations

import contextlib
import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException
from statistics import median
from typing import Any

from bench.carrier import Refused
from bench.figures import table
from bench.load import CallFailed
from bench.rivals import Rival
from bench.system import cpu_seconds, memory_kb

WARM_UP_SECONDS = 2.5  # until every agent speaks
AFTERWARDS_SECONDS = 1.0  # what the end of its calls costs a system must not be its successor's
HEAD = (
    "System", "Calls", "Runs", "CPU ms per call-second (least to most)", "x relay", "Added delay p50 ms", "p99 ms",
    "speech_started to clear p50 ms", "p99 ms", "Frames lost", "Generator late p99 ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one system came to. Times in milliseconds unless the name says otherwise."""

    system: str
    calls: int
    seconds: float
    cpu_seconds: float
    memory_kb: int
    report: dict[str, Any]  # what the load saw
    failure: str = ""  # why there is nothing to be seen

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per second of one call."""
        return math.nan if self.failure else self.cpu_seconds * 1000 / (self.calls * self.seconds)

    @property
    def lost(self) -> int:
        """Frames that the model never got, and calls that the system ended, as fifty frames each."""
        if self.failure:
            return 0
        return int(self.report["sent"] - self.report["arrived"] + 50 * self.report["lost_calls"])

    def figure(self, name: str, share: str) -> float:
        """`share` (p50 ...) of what is called `name` in the report."""
        return math.nan if self.failure else float(self.report[name].get(share, math.nan))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(rival: Rival, calls: int, seconds: float) -> Run:
    """Place the calls, look at them for `seconds` once they are warm, and end them."""
    numbers = range(calls)
    try:
        for number in numbers:
            rival.load.place(number, rival.entrance(number))
        rival.load.wait_until_up(numbers)
        time.sleep(WARM_UP_SECONDS)
        cpu, began = cpu_seconds(rival.pid), time.monotonic()
        report = rival.load.measure(seconds)
        cpu, took = cpu_seconds(rival.pid) - cpu, time.monotonic() - began
        return Run(rival.name, calls, took, cpu, memory_kb(rival.pid), report)
    except (CallFailed, Refused, HTTPException, OSError) as error:
        return Run(rival.name, calls, seconds, 0.0, 0, {}, failure=f"{type(error).__name__}: {str(error)[:100]}")
    finally:
        rival.load.hang_up(numbers)
        time.sleep(AFTERWARDS_SECONDS)


def by_turns(
    systems: Sequence[Callable[[], contextlib.AbstractContextManager[Rival]]], calls: int, rounds: int, seconds: float
) -> list[Run]:
    """Measure all of them, one after another, `rounds` times over. Those whose turn it is not have no calls."""
    runs = []
    with contextlib.ExitStack() as stack:
        rivals = [stack.enter_context(system()) for system in systems]
        for _ in range(rounds):
            for rival in rivals:
                run = measure(rival, calls, seconds)
                runs.append(run)
                print(line(run), flush=True)
    return runs


def line(run: Run) -> str:
    """One run, for whoever waits."""
    if run.failure:
        return f"{run.system}, {run.calls} calls: {run.failure}"
    return (
        f"{run.system}, {run.calls} calls: {run.cpu_ms:.2f} CPU ms per call-second, added delay "
        f"{run.figure('up', 'p50'):.2f} / {run.figure('up', 'p99'):.2f} ms, clear {run.figure('clear', 'p50'):.2f} / "
        f"{run.figure('clear', 'p99'):.2f} ms, lost {run.lost}"
    )


def middle(runs: Sequence[Run], figure: Callable[[Run], float]) -> float:
    """The median over the runs; NaN when one of them failed or shows nothing."""
    values = [figure(run) for run in runs]
    return median(values) if values and not any(map(math.isnan, values)) else math.nan


def summary(runs: Sequence[Run], floor: str) -> str:
    """A table, a line for each system and number of calls; ratios are to the system called `floor`."""
    groups: dict[tuple[int, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.calls, run.system), []).append(run)
    rows = [_row(group, groups.get((calls, floor), [])) for (calls, _), group in sorted(groups.items())]
    return table(HEAD, rows)


def _row(runs: Sequence[Run], floor: Sequence[Run]) -> list[str]:
    first = runs[0]
    if failure := next((run.failure for run in runs if run.failure), ""):
        return [first.system, str(first.calls), str(len(runs)), f"failed: {failure}", *["-"] * (len(HEAD) - 4)]
    cpu = [run.cpu_ms for run in runs]
    ratio = median(cpu) / middle(floor, lambda run: run.cpu_ms)
    shares = (("up", "p50"), ("up", "p99"), ("clear", "p50"), ("clear", "p99"))
    values = [middle(runs, operator.methodcaller("figure", *share)) for share in shares]
    return [
        first.system,
        str(first.calls),
        str(len(runs)),
        f"{median(cpu):.2f} ({min(cpu):.2f} to {max(cpu):.2f})",
        _number(ratio),
        *map(_number, values),
        str(sum(run.lost for run in runs)) if first.report["sent"] else "-",
        _number(middle(runs, lambda run: run.figure("late", "p99"))),
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
