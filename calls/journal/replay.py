"""Writes into the database what a dead process left in its journal. Any number of times, by any number of replayers.

Each machine replays its own journal directory: the lock that says whether an owner lives is the kernel's. Containers
that share the directory have to be on one machine (no network file system).

A file goes when each of its facts has been written or refused by calls.services, or is in the quarantine. When the
database is away the file stays as it is, and all of it is written again later: the services are idempotent.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from django.conf import settings
from django.db import DataError, IntegrityError, OperationalError, connections
from django.db import Error as DatabaseError

from calls.away import is_away
from calls.journal import files, kinds, records
from calls.journal.records import Piece, Record

logger = logging.getLogger(__name__)


class Outcome(Enum):
    APPLIED = auto()
    REFUSED = auto()  # the services kept it for a person
    UNUSABLE = auto()  # no service can take it


class DatabaseAway(Exception):
    """The fact was not written, and may be later. The message is the name of an error."""


Write = Callable[[Record], Outcome]
WriteTogether = Callable[[Sequence[Record]], bool]

TOGETHER_FACTS, TOGETHER_BYTES = 500, 1024 * 1024
_TRIES = 3  # with a database that is away; a single call may only be locked


@dataclass(slots=True)
class Report:
    """What a replay did. `held`: files of living processes; `waiting`: files that could not be finished."""

    calls: int = 0
    facts: int = 0
    refused: int = 0
    quarantined: int = 0
    held: int = 0
    waiting: int = 0

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.facts} facts written, {self.refused} refused, {self.quarantined} quarantined; "
            f"{self.held} journals belong to living processes, {self.waiting} wait for the database or the disk"
        )


def write(record: Record) -> Outcome:
    """Write one fact through its service. Raise DatabaseAway."""
    from calls import services  # the models need a configured Django

    if record.kind not in kinds.ALL:
        return Outcome.UNUSABLE
    try:
        applied = getattr(services, record.kind)(**record.arguments)
    except (DataError, IntegrityError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        # The same each time, and not to be in the way of what stands behind it.
        failure = type(error).__name__
        logger.error("a journaled fact cannot be written", extra=identity(record) | {"error": failure})
        return Outcome.UNUSABLE
    except (DatabaseError, OSError) as error:
        failure = type(error).__name__
        if isinstance(error, OperationalError) and not is_away(error):  # a row that is too large for it
            logger.error("a journaled fact cannot be written", extra=identity(record) | {"error": failure})
            return Outcome.UNUSABLE
    else:
        return Outcome.APPLIED if applied else Outcome.REFUSED
    raise DatabaseAway(failure)


def write_together(records: Sequence[Record]) -> bool:
    """Write what journals have of some calls in one transaction. False, and nothing is written: in smaller parts those
    that can be written are. Raise DatabaseAway."""
    from calls import locked_calls, services  # the models need a configured Django
    from calls.facts import BadFact

    if len(records) < 2 or not all(map(_may_stand_with_others, records)):
        return False
    try:
        with locked_calls.together(
            {(record.arguments["call_sid"], record.arguments["business_id"]) for record in records}
        ):
            for record in records:
                if not getattr(services, record.kind)(**record.arguments):
                    raise _Refused
    except (_Refused, BadFact):
        return False
    except (DataError, IntegrityError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return False
    except (DatabaseError, OSError) as error:
        failure = type(error).__name__
        if isinstance(error, OperationalError) and not is_away(error):
            return False
    else:
        return True
    raise DatabaseAway(failure)


class _Refused(Exception):
    """One of several facts was."""


def _may_stand_with_others(record: Record) -> bool:
    """Not the end of a call with a text instead of its turns: what it makes of that depends on what was settled
    before."""
    if record.kind != kinds.FINALIZE:
        return record.kind in kinds.ALL
    return bool(record.arguments.get("turns")) or not record.arguments.get("transcript")


def one_by_one(records: Sequence[Record]) -> bool:
    return False


@dataclass(frozen=True, slots=True, repr=False)  # repr=False: records hold a caller's words
class Left:
    """What there is to write of a call: the journal file, and what was read in it."""

    path: Path
    pieces: list[Piece]

    @property
    def records(self) -> list[Record]:
        return [piece.record for piece in self.pieces if piece.record is not None]


def write_group(
    group: Sequence[Left], report: Report, write: Write, together: WriteTogether
) -> Iterator[tuple[Left, DatabaseAway | OSError | None]]:
    """Write all that is left of these calls: together, or else each call by itself, or else fact by fact, in order.
    What is damaged or unusable is put aside. Yield each call once it is done, with what kept it from being written;
    count into `report`."""
    try:
        are_written = len(group) > 1 and together([record for left in group for record in left.records])
    except DatabaseAway:
        are_written = False  # one of them may only be locked
    for left in group:
        failure: DatabaseAway | OSError | None = None
        try:
            is_written = are_written or together(left.records)
            report.facts += is_written * len(left.records)
            _write_each(
                left.path, [piece for piece in left.pieces if piece.record is None or not is_written], report, write
            )
        except (DatabaseAway, OSError) as error:
            failure = error
        yield left, failure


def in_groups(calls: Iterable[Left]) -> Iterator[list[Left]]:
    """Calls to write together: a transaction's share, unless a single one is more."""
    group: list[Left] = []
    facts = size = 0
    for left in calls:
        group.append(left)
        facts += 1 + len(left.pieces)  # a file without any is one, too: they are open meanwhile
        size += sum(len(piece.data) for piece in left.pieces)
        if facts >= TOGETHER_FACTS or size >= TOGETHER_BYTES:
            yield group
            group, facts, size = [], 0, 0
    if group:
        yield group


def _write_each(path: Path, pieces: Iterable[Piece], report: Report, write: Write) -> None:
    for piece in pieces:
        outcome = write(piece.record) if piece.record is not None else Outcome.UNUSABLE
        match outcome:
            case Outcome.APPLIED:
                report.facts += 1
            case Outcome.REFUSED:
                report.refused += 1
            case Outcome.UNUSABLE:
                files.quarantine(path, piece)
                report.quarantined += 1
                logger.error("a part of a journal was put into quarantine", extra={"journal": path.name})


def replay(directory: Path, write: Write = write, together: WriteTogether = one_by_one) -> Report:
    """Replay every file whose owner is dead. Never raises for one file: that one waits."""
    report = Report()
    found = deque(files.paths(directory))
    failures = 0
    with ExitStack() as locks:
        for group in in_groups(_adopted(found, locks, report)):
            for done, (left, failure) in enumerate(write_group(group, report, write, together), start=1):
                failures += isinstance(failure, DatabaseAway)
                _finish(left, failure, report)
                if failures == _TRIES:
                    report.waiting += len(group) - done + len(found)
                    found.clear()
                    break
            locks.close()  # of this group: no more have been looked at
    if report.calls:
        logger.warning("replayed what dead processes left", extra={"calls": report.calls, "facts": report.facts})
    return report


def _adopted(found: deque[Path], locks: ExitStack, report: Report) -> Iterator[Left]:
    """Take from what was found the files that nobody holds; `locks` holds them from then on."""
    while found:
        path = found.popleft()
        try:
            with ExitStack() as lock:
                data = lock.enter_context(files.adopted(path))
                if data is None:
                    report.held += path.exists()
                    continue
                locks.enter_context(lock.pop_all())
        except OSError as error:
            _finish(Left(path, []), error, report)
        else:
            yield Left(path, records.pieces(data))


def _finish(left: Left, failure: DatabaseAway | OSError | None, report: Report) -> None:
    """Delete the file of a call that was written, or say why it stays."""
    try:
        if failure is not None:
            raise failure
        left.path.unlink()
        report.calls += 1
    except DatabaseAway as error:
        report.waiting += 1
        logger.warning("a journal waits for the database", extra={"journal": left.path.name, "error": str(error)})
    except OSError as error:
        report.waiting += 1
        logger.error("a journal cannot be replayed", extra={"journal": left.path.name, "error": type(error).__name__})


def replay_here() -> Report:
    """Replay this machine's journal directory, over connections that are closed afterwards."""
    try:
        return replay(Path(settings.JOURNAL_DIR), together=write_together)
    finally:
        connections.close_all()


def replay_in_background() -> None:
    """Replay once, in a thread: at the start of a process."""
    threading.Thread(target=replay_here, name="replay-journal", daemon=True).start()


def identity(record: Record) -> dict[str, object]:
    return {"fact": record.kind, "call_sid": str(record.arguments.get("call_sid", ""))[:64], "seq": record.seq}
