"""Numbers for people: percentiles, a table, what it was measured on, and its place on a page."""

from __future__ import annotations

import contextlib
import math
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "django", "channels", "daphne", "twisted", "uvicorn", "uvloop", "picows", "websockets", "openai", "msgspec",
    "redis",
)  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed (nearest rank: no value is made up)."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; the first column is text, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def circumstances() -> str:
    """Date, machine and versions, in two sentences."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores ({processor()}), Linux {platform.release()}, Python {platform.python_version()}"
    return f"{now}, {machine}. Versions: {', '.join(f'{name} {number}' for name, number in versions().items())}."


def versions() -> dict[str, str]:
    """Of the packages that matter for speed, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def processor() -> str:
    """What it calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def put_on_page(page: Path, name: str, text: str) -> None:
    """Replace what stands between the page's markers of that name. Raise ValueError when it has none."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{page} has no markers {begin.strip()} ... {end}")
    page.write_text(before + begin + text + end + after)
