"""The figures in words, for the page and for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from console.figures import Figures, Outcomes, Queue, Waits
from console.verdicts import Advice, overall, span

UNKNOWN = "not known"


def queue_cells(queue: Queue) -> list[tuple[str, str]]:
    """(name, value) in the order in which they are read."""
    return [
        ("Workers", number(queue.workers)),
        ("Waiting", number(queue.depth)),
        ("Oldest waits", _oldest(queue)),
        ("Unacknowledged", number(queue.unacknowledged)),
        ("Succeeded, last hour", share(queue.hour)),
        ("Succeeded, last day", share(queue.day)),
        ("Fact to row, p50 / p95", _waits(queue.fact_to_row)),
        ("Waiting for next try", number(queue.retrying)),
        ("Dead letters", number(queue.dead_letters)),
    ]


def server_cells(figures: Figures) -> list[tuple[str, str]]:
    journal = figures.journal
    return [
        ("Broker", f"does not answer ({figures.broker_error})" if figures.broker_error else "answers"),
        ("Database", f"does not answer ({figures.database_error})" if figures.database_error else "answers"),
        ("Live calls", number(figures.live_calls)),
        ("Web processes", number(figures.beating)),
        ("Journals here", UNKNOWN if journal is None else f"{journal.files:,} ({journal.bytes / 1000:,.0f} kB)"),
        ("Of these left behind", UNKNOWN if journal is None else number(journal.left)),
        ("Unacknowledged jobs", number(figures.unacknowledged)),
        ("Of these without a worker", number(figures.orphaned)),
    ]


def process_cells(figures: Figures) -> list[dict[str, str]]:
    return [
        {
            "name": f"{process.host} {process.pid}",
            "live_calls": number(process.live_calls),
            "late": UNKNOWN if process.loop_late_seconds is None else span(process.loop_late_seconds),
            "seen": f"{span(process.silent_seconds)} ago",
        }
        for process in figures.processes or ()
    ]


def number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def share(outcomes: Outcomes | None) -> str:
    """A rate is rounded down: 100 % says that none failed."""
    if outcomes is None:
        return UNKNOWN
    if outcomes.rate is None:
        return "no jobs"
    return f"{int(outcomes.rate * 1000) / 10:g} % of {outcomes.count:,}"


def _oldest(queue: Queue) -> str:
    if queue.oldest_seconds is not None:
        return span(queue.oldest_seconds)
    return "none waits" if queue.depth == 0 else UNKNOWN


def _waits(waits: Waits | None) -> str:
    if waits is None:
        return UNKNOWN
    retried = f", {waits.retried} retried" if waits.retried else ""
    return f"{span(waits.p50)} / {span(waits.p95)} (of {waits.count}{retried})"


def lines(figures: Figures, advice: list[Advice]) -> Iterator[str]:
    """The page as text."""
    yield f"{overall(advice).value:<8} {figures.at:%Y-%m-%d %H:%M:%S} UTC"
    for item in advice:
        yield f"{item.level.value:<8} {item.about}: {item.text}"
        if item.command:
            yield f"{'':<9}-> {item.command}"
        if item.look_at:
            yield f"{'':<9}-> admin: {item.look_at.value}"
    yield ""
    for name, value in server_cells(figures):
        yield f"{name:<26} {value}"
    for queue in figures.queues:
        yield f"\nqueue {queue.name}"
        for name, value in queue_cells(queue):
            yield f"  {name:<24} {value}"
    for process in process_cells(figures):
        yield (
            f"\nweb {process['name']}: {process['live_calls']} calls, event loop {process['late']} late, "
            f"seen {process['seen']}"
        )


def as_json(figures: Figures, advice: list[Advice]) -> dict[str, Any]:
    """Times in seconds; null: not known."""
    return {
        "level": overall(advice),
        "advice": [asdict(item) for item in advice],
        **asdict(figures),
        "at": figures.at.isoformat(),
    }
