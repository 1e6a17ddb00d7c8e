"""Writes into the database what a dead process left in its journal. Any number of times, by any number of replayers.

Each machine replays its own journal directory: the lock that says whether an owner lives is the kernel's. Containers
that share the directory have to be on one machine (no network file system).

A file goes when each of its facts has been written or refused by calls.services, or is in the quarantine. When the
database is away the file stays as it is, and all of it is written again later: the services are idempotent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import groupby
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
WriteTurns = Callable[[Sequence[Record]], bool]

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


def write_turns(records: Sequence[Record]) -> bool:
    """Write turns that stand together at once: one transaction in place of many. False, and nothing is written: they
    are to be written one by one. Raise DatabaseAway."""
    from calls import services  # the models need a configured Django

    turns = [record.arguments for record in records]
    try:
        calls = {(turn["call_sid"], turn["business_id"]) for turn in turns}
        if len(turns) < 2 or len(calls) != 1:
            return False
        return services.save_conversation_turns(*calls.pop(), turns)
    except (DataError, IntegrityError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return False
    except (DatabaseError, OSError) as error:
        failure = type(error).__name__
        if isinstance(error, OperationalError) and not is_away(error):
            return False
    raise DatabaseAway(failure)


def one_by_one(records: Sequence[Record]) -> bool:
    return False


def write_all(
    path: Path, pieces: Iterable[Piece], report: Report, write: Write, write_turns: WriteTurns = one_by_one
) -> None:
    """Write each fact, in order, and put aside what is damaged or unusable; count into `report`. Raise DatabaseAway,
    OSError."""
    for is_turns, group in groupby(pieces, key=_is_turn):
        together = list(group)
        if is_turns and write_turns([piece.record for piece in together if piece.record is not None]):
            report.facts += len(together)
        else:
            _write_each(path, together, report, write)


def _is_turn(piece: Piece) -> bool:
    return piece.record is not None and piece.record.kind == kinds.TURN


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


def replay(directory: Path, write: Write = write, write_turns: WriteTurns = one_by_one) -> Report:
    """Replay every file whose owner is dead. Never raises for one file: that one waits."""
    report = Report()
    found = files.paths(directory)
    failures = 0
    for number, path in enumerate(found, start=1):
        try:
            _replay_one(path, report, write, write_turns)
        except DatabaseAway as error:
            report.waiting += 1
            failures += 1
            logger.warning("a journal waits for the database", extra={"journal": path.name, "error": str(error)})
            if failures == _TRIES:
                report.waiting += len(found) - number
                break
        except OSError as error:
            report.waiting += 1
            logger.error("a journal cannot be replayed", extra={"journal": path.name, "error": type(error).__name__})
    if report.calls:
        logger.warning("replayed what dead processes left", extra={"calls": report.calls, "facts": report.facts})
    return report


def _replay_one(path: Path, report: Report, write: Write, write_turns: WriteTurns) -> None:
    with files.adopted(path) as data:
        if data is None:
            report.held += path.exists()
            return
        write_all(path, records.pieces(data), report, write, write_turns)
        path.unlink()
        report.calls += 1


def replay_here() -> Report:
    """Replay this machine's journal directory, over connections that are closed afterwards."""
    try:
        return replay(Path(settings.JOURNAL_DIR), write_turns=write_turns)
    finally:
        connections.close_all()


def replay_in_background() -> None:
    """Replay once, in a thread: at the start of a process."""
    threading.Thread(target=replay_here, name="replay-journal", daemon=True).start()


def identity(record: Record) -> dict[str, object]:
    return {"fact": record.kind, "call_sid": str(record.arguments.get("call_sid", ""))[:64], "seq": record.seq}
