"""`python -m bench.full` (make bench-full): calls per core, churn, growth, writes, two processes; 1 on a miss.

Each part can be asked for alone, and writes its own file of results, so that a part can be measured again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from bench import churn, growth, percore, two, writes
from bench.compare import Run, middle, summary
from bench.demands import Demand
from bench.figures import circumstances, percentile, put_on_page, table
from bench.native import NoCompiler
from bench.results import save
from bench.system import GENERATOR_CORE, REPOSITORY, WEB_CORE

PAGE = REPOSITORY / "docs" / "performance.md"
Part = tuple[dict[str, Any], str, list[Demand]]  # for the file, for the page, and what is demanded


def main() -> int:
    arguments = _arguments()
    if not {GENERATOR_CORE, WEB_CORE} <= os.sched_getaffinity(0):
        print(f"This needs the cores {GENERATOR_CORE} and {WEB_CORE}.", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {GENERATOR_CORE})
    met = True
    for name in arguments.only or PARTS:
        print(f"--- {name}", flush=True)
        try:
            content, text, demands = PARTS[name]()
        except (NoCompiler, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 2
        verdict = "".join(f"- {one}\n" for one in demands)
        print(f"\n{text}\n{verdict}", flush=True)
        if arguments.keep:
            command = f"python -m bench.full --only {name}"
            wanted = [
                {"demand": one.name, "reached": one.reached, "limit": one.limit, "met": one.met} for one in demands
            ]
            save(name, command, {"demands": wanted, **content})
            put_on_page(PAGE, name, f"`{command}`, {circumstances()}\n\n{text}\n{verdict}")
        met = met and all(one.met for one in demands)
    return 0 if met else 1


def _percore() -> Part:
    runs = [run for server in ("uvicorn", "daphne") for run in percore.climb(server)]
    demands = []
    for server, wanted in (("uvicorn", 400), ("daphne", 200)):
        reached = percore.most([run for run in runs if run.system.endswith(server)])
        demands.append(
            Demand(f"calls short of {wanted} on a core under {server} (carried: {reached})", wanted - reached, 0)
        )
    return _as_json(runs), summary(runs, ""), demands


def _churn() -> Part:
    runs = churn.measure_all()
    delays = [(run.system.partition(", ")[2], run.figure("up", "p99")) for run in runs]
    demands = [Demand(f"added delay p99, {state}", delay, 10.0, " ms") for state, delay in delays]
    demands.append(Demand("frames lost", sum(run.lost for run in runs), 0))
    return _as_json(runs), summary(runs, ""), demands


def _growth() -> Part:
    runs, states = growth.measure_load(), growth.in_a_row()
    more = states[-1].memory_kb - states[0].memory_kb
    rows = [[str(state.after), str(state.memory_kb), str(state.sockets), str(state.threads)] for state in states]
    text = summary(runs, "") + "\n" + table(("Calls one after another", "Memory kB", "Sockets", "Threads"), rows)
    demands = [
        Demand("CPU per call at 200 calls to that at 50", growth.cpu_ratio(runs), 1.0, "x"),
        Demand("memory per live call", growth.kb_a_call(runs), 100.0, " kB"),
        Demand("memory that is left of one of 500 calls", more / growth.IN_A_ROW, 1.0, " kB"),
        Demand("sockets left", states[-1].sockets - states[0].sockets, 0),
        Demand("threads left", states[-1].threads - states[0].threads, 0),
    ]
    return _as_json(runs) | {"states": [asdict(state) for state in states]}, text, demands


def _writes() -> Part:
    with writes.system() as (system, url):
        rates = writes.measure(system, url)
        delays = writes.fact_to_row(system, url)
    rows = [[rate.what, f"{rate.per_second:.0f}", f"{rate.to_bare:.3f}"] for rate in rates]
    middle = median(delays)
    text = table(("One process", "Turns a second", "x bare loop"), rows)
    text += f"\nFact to row, idle, {len(delays)} facts: p50 {middle:.1f} ms, p90 {percentile(delays, 0.9):.1f} ms.\n"
    demands = [
        Demand("bare loop to the worker, one by one", 1 / rates[2].to_bare, 5.0, "x"),
        Demand("bare loop to the worker, in batches", 1 / rates[-1].to_bare, 0.5, "x"),
        Demand("fact to row p50", middle, 50.0, " ms"),
    ]
    return {"rates": [asdict(rate) for rate in rates], "fact_to_row_ms": delays}, text, demands


def _as_json(runs: Sequence[Run]) -> dict[str, Any]:
    return {"runs": [run.as_json() for run in runs]}


def _two() -> Part:
    runs = two.by_turns()
    alone, beside = (
        middle([run for run in runs if run.system == name], lambda run: run.cpu_ms) for name in (two.ONE, two.TWO)
    )
    demands = [Demand("CPU per call of one of two processes to that of one alone", beside / alone, 1.15, "x")]
    return _as_json(runs), summary(runs, ""), demands


PARTS: dict[str, Callable[[], Part]] = {
    "percore": _percore,
    "churn": _churn,
    "growth": _growth,
    "writes": _writes,
    "two": _two,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.full", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part alone; may be given again")
    parser.add_argument("--keep", action="store_true", help="write bench/results/PART.json and docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
