"""All figures of this moment, from broker, database and disk, with a deadline on each."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from celery import current_app
from django.conf import settings
from django.db import Error as DatabaseUnwell

from calls import heartbeats
from calls.journal import files
from console import broker, rows
from console.figures import Figures, Journal, Outcomes, Queue, WebProcess
from console.verdicts import Limits

UNTOUCHED_SECONDS = 300.0  # a caller who says nothing is hung up on long before


def collect() -> Figures:
    """Never raises. Takes a second when the broker hangs; a database that hangs is waited for as its settings say."""
    queue_of = tasks()
    names = sorted({"high", "default", *queue_of.values()}, key=_place)
    asked = broker.ask(names)
    try:
        now = heartbeats.database_now()
    except DatabaseUnwell as error:
        queues = tuple(_of_broker(name, asked) for name in names)
        return _figures(datetime.now(UTC), queues, asked, database_error=type(error).__name__)
    outcomes = rows.within_time(lambda: rows.outcomes(queue_of, now))
    letters = rows.within_time(lambda: rows.dead_letters(queue_of))
    by_queue: dict[str, list[str]] = defaultdict(list)
    for task, queue in queue_of.items():
        by_queue[queue].append(task)
    found = []
    for name in names:
        of_broker = _of_broker(name, asked)
        hour, day, retrying = (outcomes or {}).get(name, (Outcomes(), Outcomes(), 0))
        found.append(
            Queue(
                name=name,
                depth=of_broker.depth,
                oldest_seconds=of_broker.oldest_seconds,
                unacknowledged=of_broker.unacknowledged,
                workers=of_broker.workers,
                hour=_with_counted(None if outcomes is None else hour, asked, asked.hour[name]),
                day=_with_counted(None if outcomes is None else day, asked, asked.day[name]),
                retrying=None if outcomes is None else retrying,
                fact_to_row=rows.within_time(partial(rows.fact_to_row, by_queue[name], now, asked.waits.get(name, ()))),
                dead_letters=None if letters is None else letters[name],
            )
        )
    return _figures(now, tuple(found), asked, processes=rows.within_time(lambda: rows.web_processes(now)))


def limits() -> Limits:
    return Limits(loop_late=settings.LOOP_LATE_MS / 1000, journal_bytes=settings.JOURNAL_MAX_BYTES)


def tasks() -> dict[str, str]:
    """Every task of ours and the queue that it goes to."""
    current_app.loader.import_default_modules()
    default = str(current_app.conf.task_default_queue)
    return {name: str(getattr(task, "queue", None) or default) for name, task in current_app.tasks.items()}


def _place(queue: str) -> tuple[int, str]:
    known = ("high", "default", "offline")
    return (known.index(queue) if queue in known else len(known), queue)


def _with_counted(stored: Outcomes | None, asked: broker.Broker, counted: int) -> Outcomes | None:
    """Jobs that keep a result, and those that the broker's Redis counts; None while one of the two does not answer."""
    if stored is None or asked.error:
        return None
    return Outcomes(stored.succeeded + counted, stored.failed)


def _of_broker(name: str, asked: broker.Broker) -> Queue:
    if asked.error:
        return Queue(name)
    sent_at = asked.sent_at.get(name)
    return Queue(
        name,
        depth=asked.depth[name],
        oldest_seconds=None if sent_at is None else max(0.0, asked.now - sent_at),
        unacknowledged=None if asked.unacknowledged is None else asked.unacknowledged.get(name, 0),
        workers=asked.workers[name],
    )


def _figures(
    now: datetime,
    queues: tuple[Queue, ...],
    asked: broker.Broker,
    *,
    database_error: str = "",
    processes: tuple[WebProcess, ...] | None = None,
) -> Figures:
    return Figures(
        at=now,
        queues=queues,
        broker_error=asked.error,
        database_error=database_error,
        unacknowledged=asked.held,
        orphaned=asked.orphaned,
        processes=processes,
        journal=journal(Path(settings.JOURNAL_DIR), time.time()),
    )


def journal(directory: Path, now: float) -> Journal | None:
    """What lies in the directory at that time (time.time); None when it cannot be read."""
    found = size = left = 0
    try:
        for path in files.paths(directory):
            with suppress(FileNotFoundError):  # its owner has just deleted it
                state = path.stat()
                found, size, left = found + 1, size + state.st_size, left + (now - state.st_mtime > UNTOUCHED_SECONDS)
    except OSError:
        return None
    return Journal(found, size, left)
