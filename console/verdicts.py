"""Figures in, advice out: what is wrong, in one sentence, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from console.figures import Figures, Journal, Queue, WebProcess


class Level(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class LookAt(StrEnum):
    """Pages of admin that show more."""

    NOTHING = ""
    DEAD_LETTERS = "dead letters"
    FAILED_JOBS = "failed jobs"
    WEB_PROCESSES = "web processes"


@dataclass(frozen=True, slots=True)
class Advice:
    level: Level
    about: str
    text: str
    command: str = ""
    look_at: LookAt = LookAt.NOTHING


@dataclass(frozen=True, slots=True)
class Limits:
    """Over these something is said. Seconds; of `oldest` and `to_row` by queue, others as "default"."""

    loop_late: float
    journal_bytes: int
    oldest: tuple[tuple[str, float], ...] = (("high", 10.0), ("default", 60.0), ("offline", 1800.0))
    to_row: tuple[tuple[str, float], ...] = (("high", 2.0), ("default", 5.0), ("offline", 600.0))
    success_rate: float = 0.99
    jobs_to_judge_by: int = 20  # of fewer, one failure says nothing about a rate


DOCTOR = "manage.py doctor"
_TOGETHER = ("high", "default")  # the one worker of `make run` and of the image takes both


def judge(figures: Figures, limits: Limits) -> list[Advice]:
    """Everything that is wrong, the worst first; empty when nothing is."""
    found = [
        *_servers(figures),
        *(advice for queue in figures.queues for advice in _queue(queue, limits)),
        *_orphans(figures),
        *_web(figures, limits),
        *_journal(figures.journal, limits),
    ]
    return sorted(found, key=lambda advice: advice.level is not Level.BAD)


def overall(advice: list[Advice]) -> Level:
    return max((item.level for item in advice), key=list(Level).index, default=Level.GOOD)


def worker_command(queue: str) -> str:
    return f"celery -A voiceagent worker -Q {','.join(_TOGETHER) if queue in _TOGETHER else queue}"


def limit_for(queue: str, table: tuple[tuple[str, float], ...]) -> float:
    known = dict(table)
    return known.get(queue, known["default"])


def span(seconds: float) -> str:
    """Write a length of time as short as it is read: 3 ms, 2.4 s, 5 min, 3 h, 2 days."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((2 * 86400, "days"), (2 * 3600, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _servers(figures: Figures) -> Iterator[Advice]:
    if figures.broker_error:
        yield Advice(
            Level.BAD,
            "broker",
            "Redis does not answer. Calls go on and are written to the database directly; jobs that wait in the "
            "queues stand still. Start Redis again, or look why it hangs.",
            DOCTOR,
        )
    if figures.database_error:
        yield Advice(
            Level.BAD,
            "database",
            "The database does not answer. Calls go on; what they say stays in the journals and is written when it is "
            "back. Start it again, and keep an eye on the disk under the journals.",
            DOCTOR,
        )


def _queue(queue: Queue, limits: Limits) -> Iterator[Advice]:
    about = f"queue {queue.name}"
    if queue.workers == 0:
        waiting = f", and {queue.depth:,} wait" if queue.depth else ""
        yield Advice(
            Level.BAD, about, f"No worker takes jobs from this queue{waiting}. Start one.", worker_command(queue.name)
        )
    elif queue.oldest_seconds is not None and queue.oldest_seconds > limit_for(queue.name, limits.oldest):
        yield Advice(
            Level.WARNING,
            about,
            f"The oldest job has waited for {span(queue.oldest_seconds)}: the workers do not keep up. Start another "
            "one, here or on another machine.",
            worker_command(queue.name),
        )
    if queue.hour is not None and _fails(queue, limits):
        yield Advice(
            Level.BAD,
            about,
            f"{queue.hour.failed:,} of {queue.hour.count:,} jobs failed in the last hour. Open the failed jobs, mend "
            "what their results name, then replay the dead letters.",
            look_at=LookAt.FAILED_JOBS,
        )
    if queue.fact_to_row is not None and queue.fact_to_row.p95 > limit_for(queue.name, limits.to_row):
        yield Advice(
            Level.WARNING,
            about,
            f"One job in twenty takes more than {span(queue.fact_to_row.p95)} until its row stands, so that pages lag "
            "behind the calls. If jobs wait, start another worker; if none do, the database is slow.",
            worker_command(queue.name),
        )
    if queue.retrying:
        yield Advice(
            Level.WARNING,
            about,
            f"Waiting for a next try: {_count(queue.retrying, 'job')}. The database, or a service they ask, was away. "
            "They run again by themselves; if the number does not fall within a minute, look at the workers' logs.",
            DOCTOR,
        )
    if queue.dead_letters:
        yield Advice(
            Level.BAD,
            about,
            f"Set aside after failing too often: {_count(queue.dead_letters, 'job')}. Mend what their reason names, "
            "choose them on the page of dead letters and run the action Replay.",
            look_at=LookAt.DEAD_LETTERS,
        )


def _fails(queue: Queue, limits: Limits) -> bool:
    rate = queue.hour.rate if queue.hour else None
    return (
        rate is not None
        and queue.hour is not None
        and queue.hour.count >= limits.jobs_to_judge_by
        and rate < limits.success_rate
    )


def _orphans(figures: Figures) -> Iterator[Advice]:
    if figures.orphaned:
        yield Advice(
            Level.WARNING,
            "workers",
            f"Taken by a worker that is gone: {_count(figures.orphaned, 'job')}. They go back to their queue within a "
            "minute of a worker running; if they do not, start one.",
            worker_command("high"),
        )


def _web(figures: Figures, limits: Limits) -> Iterator[Advice]:
    if figures.processes is None:
        return
    if not figures.beating:
        yield Advice(Level.BAD, "web", "No web process beats: nobody answers calls. Start one.", "manage.py serve")
    for process in figures.processes:
        yield from _process(process, limits)


def _process(process: WebProcess, limits: Limits) -> Iterator[Advice]:
    about = f"web {process.host} {process.pid}"
    if not process.beats:
        yield Advice(
            Level.WARNING,
            about,
            f"This web process has been silent for {span(process.silent_seconds)}. If it died, its calls go on "
            "elsewhere or are ended within 90 s, and its row goes by itself; if it still runs, its database hangs.",
            "manage.py serve",
            LookAt.WEB_PROCESSES,
        )
    elif process.loop_late_seconds is not None and process.loop_late_seconds > limits.loop_late:
        yield Advice(
            Level.BAD,
            about,
            f"Its event loop is {span(process.loop_late_seconds)} late, so that new calls are turned away. Start "
            "another web process, or set MAX_CALLS_PER_PROCESS lower.",
            "manage.py serve --port 8001",
            LookAt.WEB_PROCESSES,
        )
    elif process.loop_late_seconds is not None and process.loop_late_seconds > limits.loop_late / 5:
        yield Advice(
            Level.WARNING,
            about,
            f"Its event loop is {span(process.loop_late_seconds)} late: callers may hear gaps. Start another web "
            "process before more calls come.",
            "manage.py serve --port 8001",
            LookAt.WEB_PROCESSES,
        )


def _journal(journal: Journal | None, limits: Limits) -> Iterator[Advice]:
    if journal is None:
        return
    if journal.bytes > limits.journal_bytes:
        yield Advice(
            Level.BAD,
            "journal",
            f"The journals hold {journal.bytes // 1_000_000:,} MB, more than JOURNAL_MAX_BYTES: new calls are turned "
            "away. Mend what keeps them from the database, then write them.",
            "manage.py replay_journal",
        )
    if journal.left:
        yield Advice(
            Level.WARNING,
            "journal",
            f"Not touched for minutes: {_count(journal.left, 'journal')}. What these calls said is not in the "
            "database yet. A process that runs writes them every half minute; by hand:",
            "manage.py replay_journal",
        )
