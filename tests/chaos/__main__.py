"""`make chaos`: every fault under load, then ledgers against the database. Ends with 1 when a promised zero is not 0.

    python -m tests.chaos [--short] [--only NAME]... [--seed N] [--soak SECONDS] [--obvious] [--list]

All processes are its own, on free ports. The table of a whole run goes into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from tests.chaos import report
from tests.chaos.faults import FAULTS, Fault, shortened
from tests.chaos.rig import Rig
from tests.chaos.run import Result, Trial, main_say, reason_to_skip


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--short", action="store_true", help="the most telling faults only, about five minutes")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="faults whose name contains this")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of the load; a soak's order too")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="faults in random order for so long")
    parser.add_argument("--obvious", action="store_true", help="the same over plain .delay() with Celery's defaults")
    parser.add_argument("--no-page", action="store_true", help="do not write the table into docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="only print the names of the faults")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    faults = [shortened(fault) for fault in FAULTS if fault.in_short] if chosen.short else list(FAULTS)
    if chosen.only:
        faults = [fault for fault in faults if any(name.lower() in fault.name.lower() for name in chosen.only)]
    if chosen.list or not faults:
        main_say("\n".join(fault.name for fault in FAULTS))
        return 0 if chosen.list else 2
    signal.signal(signal.SIGTERM, _interrupt)
    main_say(f"seed {chosen.seed}")
    with Rig(obvious=chosen.obvious) as rig:
        results = _run(rig, faults, random.Random(chosen.seed), chosen.soak)
        database = rig.database.name
    main_say("\n" + report.table(results))
    if left := report.remains(results):
        main_say("Left when the records were settled:\n" + left)
    if not (chosen.only or chosen.soak or chosen.no_page):
        words = [word for word in sys.argv[1:] if word != "--no-page"]
        section = "obvious" if chosen.obvious else "short" if chosen.short else "full"
        command = " ".join(
            ["python -m tests.chaos", *words, *([] if "--seed" in words else ["--seed", str(chosen.seed)])]
        )
        report.write(section, command, database, results)
    return 0 if all(result.is_as_promised for result in results) else 1


def _run(rig: Rig, faults: list[Fault], chance: random.Random, soak: float | None) -> list[Result]:
    results: list[Result] = []
    began = time.monotonic()
    for fault in faults if soak is None else _endless(faults, chance, began + soak):
        skipped = reason_to_skip(fault, rig)
        if skipped:
            results.append(Result(fault.name, skipped=skipped))
            continue
        result = Trial(rig, fault, chance, main_say).run()
        results.append(result)
        main_say(_line(result))
        for example in result.verdict.examples[:10]:
            main_say(f"  {example}")
    return results


def _endless(faults: list[Fault], chance: random.Random, until: float) -> Iterator[Fault]:
    while time.monotonic() < until:
        yield chance.choice(faults)


def _line(result: Result) -> str:
    settled = "not settled" if result.settled is None else f"settled in {result.settled:.1f} s"
    turns = result.live_turns + result.fact_turns
    if result.missed:
        settled += f"; DID NOT COME ABOUT: {result.missed}"
    loop = f"loop {result.loop_ms} ms, ours {result.own_ms}"
    return (
        f"{result.name}: {result.calls} calls, {turns} turns, {result.cut} cut, {settled}, {loop}, left {result.left}"
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
