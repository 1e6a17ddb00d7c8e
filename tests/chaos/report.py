"""The table: for the terminal and for docs/reliability.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.judge import PROMISED
from tests.chaos.run import Result
from tests.e2e.processes import REPOSITORY

PAGE = REPOSITORY / "docs" / "reliability.md"
HEAD = (
    "Fault", "Live calls", "Turned away", "Live turns", "Fact turns",
    *(name.replace("_", " ").capitalize() for name in PROMISED),
    "Calls cut", "Settled s", "Empty s", "Loop ms", "of it ours", "Caller late ms", "Gap heard ms",
)  # fmt: skip


def table(results: Sequence[Result]) -> str:
    lines = [_row(HEAD), _row(["---"] + ["--:"] * (len(HEAD) - 1))]
    for result in results:
        if result.skipped:
            lines.append(_row([result.name, f"left out: {result.skipped}", *[""] * (len(HEAD) - 2)]))
        else:
            lines.append(_row(_cells(result)))
    ran = [result for result in results if not result.skipped]
    if len(ran) > 1:
        lines.append(_row(_total(ran)))
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> list[str]:
    counts = [result.calls, result.turned_away, result.live_turns, result.fact_turns]
    counts += [getattr(result.verdict, name) for name in PROMISED]
    settled = "never" if result.settled is None else f"{result.settled:.1f}"
    emptied = "-" if result.emptied is None else f"{result.emptied:.1f}"
    name = f"{result.name} (did not come about: {result.missed})" if result.missed else result.name
    times = [result.loop_ms, result.own_ms, result.heard_ms, result.under_run_ms]
    return [name, *map(str, counts), str(result.cut), settled, emptied, *map(_ms, times)]


def _total(results: Sequence[Result]) -> list[str]:
    counts = [sum(getattr(result, name) for result in results) for name in _COUNTS]
    counts += [sum(getattr(result.verdict, name) for result in results) for name in PROMISED]
    slowest = "never" if any(r.settled is None for r in results) else f"{max(r.settled or 0 for r in results):.1f}"
    return ["**all**", *map(str, counts), str(sum(result.cut for result in results)), slowest, "", "", "", "", ""]


_COUNTS = ("calls", "turned_away", "live_turns", "fact_turns")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def remains(results: Sequence[Result]) -> str:
    """What was still in queues and journals when the records were settled."""
    lines = [
        f"{result.name}: " + ", ".join(f"{number} {what}" for what, number in result.left.items() if number)
        for result in results
        if any(result.left.values())
    ]
    return "\n".join(lines)


def write(section: str, command: str, database: str, results: Sequence[Result]) -> None:
    """Put the table between the page's markers for `section`."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    text = f"`{command}`, {when}, {machine}, {database}.\n\n{table(results)}"
    replace(PAGE, section, text)


def replace(path: Path, section: str, text: str) -> None:
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    page = path.read_text()
    if begin not in page or end not in page:
        raise ValueError(f"{path} has no markers for {section}")
    path.write_text(
        re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{text}{end}", page, flags=re.S)
    )
