"""`python -m bench clear`: measure, print, and end with 1 when it is not what it has to be."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sys
from collections.abc import Callable, Sequence
from statistics import median

from bench.clear import Run, measure
from bench.figures import circumstances, percentile, put_on_page, table
from bench.line import MAX_LINES
from bench.system import GENERATOR_CORE, REPOSITORY, WEB_CORE, System

ROUNDS = 3
LIMIT_MS = 5.0
PAGE = REPOSITORY / "docs" / "performance.md"
HEAD = (
    "Calls", "Interruptions", "p50 ms", "p90 ms", "p99 ms", "max ms", "p99 of each run", "CPU ms per call-second",
    "Core busy", "Agent speaks", "Generator late p99 ms",
)  # fmt: skip


def main() -> int:
    arguments = _arguments()
    # One for the web process, one for everything else: what is left to the scheduler is measured as the product's.
    if not {GENERATOR_CORE, WEB_CORE} <= os.sched_getaffinity(0):
        print(f"This needs the cores {GENERATOR_CORE} and {WEB_CORE}.", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {GENERATOR_CORE})
    baseline: list[Run] = []
    loaded: list[Run] = []
    with System() as system:
        for turn in range(ROUNDS):
            for runs, calls in ((baseline, 1), (loaded, arguments.calls)):
                run = asyncio.run(measure(system, calls, arguments.seconds, arguments.seed + turn))
                runs.append(run)
                print(_line(run), flush=True)
                if not run.is_sound:
                    print(system.log(), file=sys.stderr)
    report = _report(arguments, baseline, loaded)
    print(f"\n{report}")
    if arguments.page:
        put_on_page(PAGE, "clear", report)
    return _verdict(baseline, loaded)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    clear = parser.add_subparsers(required=True).add_parser(
        "clear", help="from the model's speech_started to `clear` on the wire, with many calls on one core"
    )
    clear.add_argument("--calls", type=int, default=25, choices=range(1, MAX_LINES), metavar="N")
    clear.add_argument("--seconds", type=float, default=40.0, help="of each of the runs (default: %(default)s)")
    clear.add_argument("--seed", type=int, default=1)
    clear.add_argument("--page", action="store_true", help=f"write the result to {PAGE.relative_to(REPOSITORY)}")
    return parser.parse_args()


def _line(run: Run) -> str:
    figures = "  ".join(f"p{share:.0%}"[:-1] + f" {percentile(run.delays, share):.2f}" for share in (0.5, 0.9, 0.99))
    text = f"{run.calls:3} calls: {len(run.delays)} interruptions, {figures}  max {max(run.delays, default=0):.2f} ms"
    wrong = {
        "without a clear": run.missed,
        "clears unasked for": run.unasked,
        "calls lost": run.lost,
        "unknown to the model": ", ".join(run.unknown),
    }
    return text + "".join(f"; {name}: {value}" for name, value in wrong.items() if value)


def _report(arguments: argparse.Namespace, baseline: Sequence[Run], loaded: Sequence[Run]) -> str:
    options = f"--calls {arguments.calls} --seconds {arguments.seconds:g} --seed {arguments.seed}"
    missed = sum(run.missed for run in (*baseline, *loaded))
    lost = sum(run.lost for run in (*baseline, *loaded))
    return (
        f"`python -m bench clear {options}`, {circumstances()}\n\n"
        + table(HEAD, [_row(baseline), _row(loaded)])
        + f"\nMedians of {ROUNDS} runs of {arguments.seconds:g} s each, one call and {arguments.calls} by turns; "
        + f"interruptions and the maximum are over all of them. Without a clear: {missed}. Calls lost: {lost}.\n"
    )


def _row(runs: Sequence[Run]) -> list[str]:
    def middle(figure: Callable[[Run], float]) -> float:
        return median(figure(run) for run in runs)

    shares = [_percentile_of(share) for share in (0.5, 0.9, 0.99)]
    return [
        str(runs[0].calls),
        str(sum(len(run.delays) for run in runs)),
        *(f"{middle(share):.2f}" for share in shares),
        f"{max((delay for run in runs for delay in run.delays), default=math.nan):.2f}",
        " ".join(f"{_p99(run):.2f}" for run in runs),
        f"{middle(lambda run: run.cpu_ms_per_call_second):.1f}",
        f"{middle(lambda run: run.cpu_seconds / run.seconds):.0%}",
        f"{middle(lambda run: run.agent_share):.0%}",
        f"{middle(lambda run: run.generator_late):.2f}",
    ]


def _percentile_of(share: float) -> Callable[[Run], float]:
    return lambda run: percentile(run.delays, share)


_p99 = _percentile_of(0.99)


def _verdict(baseline: Sequence[Run], loaded: Sequence[Run]) -> int:
    reached = median(_p99(run) for run in loaded)
    good = reached <= LIMIT_MS and all(run.is_sound for run in (*baseline, *loaded))
    if not good:
        print(f"Not good: p99 {reached:.2f} ms (limit {LIMIT_MS:g} ms), or a run is not sound.", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
