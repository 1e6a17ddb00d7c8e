"""What is demanded of the product, and whether a set of runs meets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare import Run, middle


@dataclass(frozen=True, slots=True)
class Demand:
    """`reached` must not be above `limit`; NaN, nothing was reached, is a miss."""

    name: str
    reached: float
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.reached <= self.limit

    def __str__(self) -> str:
        reached = "nothing" if math.isnan(self.reached) else f"{self.reached:.3g}{self.unit}"
        return f"{self.name} {reached} (at most {self.limit:.3g}{self.unit}): {'yes' if self.met else 'no'}"


def of_comparison(runs: Sequence[Run], product: str, calls: int, few: int) -> list[Demand]:
    """The ratios that `make bench` states: at `calls` to the relay and Twilio's sample, at `few` to pipecat-ai."""

    def cpu(system: str, number: int) -> float:
        return middle(_of(runs, system, number), lambda run: run.cpu_ms)

    def of_name(system: str, name: str, share: str) -> float:
        return middle(_of(runs, system, calls), lambda run: run.figure(name, share))

    at = f"at {calls} calls"
    lost = sum(run.lost for run in runs if run.system == product)
    return [
        Demand(f"CPU to the relay's {at}", cpu(product, calls) / cpu("relay in C", calls), 2.5, "x"),
        Demand(f"CPU to Twilio's sample's {at}", cpu(product, calls) / cpu("Twilio's sample", calls), 0.5, "x"),
        Demand(f"CPU to pipecat's at {few} calls", cpu(product, few) / cpu("pipecat-ai", few), 0.125, "x"),
        Demand(
            f"added delay p99 above the relay's {at}",
            of_name(product, "up", "p99") - of_name("relay in C", "up", "p99"),
            1.0,
            " ms",
        ),
        Demand(f"clear p50 {at}", of_name(product, "clear", "p50"), 0.3, " ms"),
        Demand(f"clear p99 {at}", of_name(product, "clear", "p99"), 2.0, " ms"),
        Demand("frames lost", math.nan if any(run.failure for run in runs if run.system == product) else lost, 0),
    ]


def _of(runs: Sequence[Run], system: str, calls: int) -> list[Run]:
    return [run for run in runs if run.system == system and run.calls == calls]


def sentence(demands: Sequence[Demand]) -> str:
    """All of them in one line."""
    return "; ".join(map(str, demands))
