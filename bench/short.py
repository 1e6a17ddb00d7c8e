"""`python -m bench.short` (make bench): the product and its rivals by turns, three minutes; ends with 1 on a miss."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from bench import demands
from bench.compare import by_turns, summary
from bench.figures import circumstances, put_on_page
from bench.native import NoCompiler
from bench.results import save
from bench.rivals import peers_python, pipecat, relay, twilio_sample, voiceagent
from bench.system import GENERATOR_CORE, REPOSITORY, WEB_CORE

PAGE = REPOSITORY / "docs" / "performance.md"
CALLS, FEW = 100, 20


def main() -> int:
    arguments = _arguments()
    if not {GENERATOR_CORE, WEB_CORE} <= os.sched_getaffinity(0):
        print(f"This needs the cores {GENERATOR_CORE} and {WEB_CORE}.", file=sys.stderr)
        return 2
    os.sched_setaffinity(0, {GENERATOR_CORE})
    try:
        peers_python()
        runs = by_turns([voiceagent, relay, twilio_sample], CALLS, arguments.rounds, arguments.seconds)
        runs += by_turns([voiceagent, pipecat], FEW, arguments.rounds, arguments.seconds)
    except (NoCompiler, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    wanted = demands.of_comparison(runs, "voiceagent", CALLS, FEW)
    command = f"python -m bench.short --rounds {arguments.rounds} --seconds {arguments.seconds:g}"
    text = summary(runs, "relay in C")
    print(f"\n{text}")
    if arguments.keep:
        verdicts = [{"demand": one.name, "reached": one.reached, "limit": one.limit, "met": one.met} for one in wanted]
        save("short", command, {"demands": verdicts, "runs": [run.as_json() for run in runs]})
        verdict = "".join(f"- {one}\n" for one in wanted)
        put_on_page(PAGE, "short", f"`{command}`, {circumstances()}\n\n{text}\n{verdict}")
    print(demands.sentence(wanted))
    return 0 if all(one.met for one in wanted) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.short", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write bench/results/short.json and docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
