"""`make scenarios`: scripted calls with real speech over the running system. Ends with 1 when one goes wrong.

    python -m tests.scenarios [--only NAME]... [--plain | --jitter] [--at-once N] [--page] [--list] [--verbose]

Each scenario is played twice, the second time over a rough line (late marks, uneven and bunched frames). All processes
are its own, on free ports. `--page` writes the table into docs/conversation.md.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from types import FrameType

from tests.scenarios.rig import Rig
from tests.scenarios.scenario import parts


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scenarios", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="scenarios whose name contains this"
    )
    parser.add_argument("--item", action="append", default=[], help="scenarios of this item of the issue")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--plain", action="store_true", help="only on a line in good order")
    which.add_argument("--jitter", action="store_true", help="only on the rough line")
    parser.add_argument("--at-once", type=int, default=8, metavar="N", help="calls at the same time (8)")
    parser.add_argument("--page", action="store_true", help="write the table into docs/conversation.md")
    parser.add_argument("--list", action="store_true", help="only print the scenarios")
    parser.add_argument("--verbose", action="store_true", help="print the calls as they happen")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    from tests.scenarios.catalogue import SCENARIOS

    scenarios = [
        scenario
        for scenario in SCENARIOS
        if (not chosen.only or any(name in scenario.name for name in chosen.only))
        and (not chosen.item or scenario.item in chosen.item)
    ]
    if chosen.list or not scenarios:
        say("\n".join(f"{scenario.item:>3}  {scenario.name}" for scenario in scenarios or SCENARIOS))
        return 0 if chosen.list else 2
    signal.signal(signal.SIGTERM, _interrupt)
    playing = parts(scenarios, plain=not chosen.jitter, rough=not chosen.plain)
    with Rig() as rig:
        from tests.scenarios import report, stage  # they need Django, which stands on the rig's database

        rig.seed(playing)
        rig.start()
        ledgers = asyncio.run(stage.play(rig, playing, chosen.at_once, say, narrate=chosen.verbose))
        results = stage.judged(rig, playing, ledgers)
        if any(result.faults for result in results) and chosen.verbose:
            say(stage.logs(rig))
            say(report.details(results))
    say("\n" + report.table(results))
    say(report.faults(results))
    say(report.summary(results))
    if chosen.page:
        report.write("python -m tests.scenarios " + " ".join(sys.argv[1:]), results)
    return 1 if any(result.faults for result in results) else 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
