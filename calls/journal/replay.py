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
WriteTogether = Callable[[Sequence[Record]], bool]

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
    """Write all that a journal has of a call in one transaction. False, and nothing is written: its facts are to be
    written one by one, so that those that can be written are. Raise DatabaseAway."""
    from calls import services  # the models need a configured Django
    from calls.facts import BadFact

    try:
        calls = {(record.arguments["call_sid"], record.arguments["business_id"]) for record in records}
        if len(records) < 2 or len(calls) != 1 or not all(map(_may_stand_with_others, records)):
            return False
        call = calls.pop()
        with services.one_call(*call):
            for is_turns, group in groupby(records, key=lambda record: record.kind == kinds.TURN):
                if is_turns:
                    _must_be(services.save_conversation_turns(*call, [record.arguments for record in group]))
                    continue
                for record in group:
                    _must_be(getattr(services, record.kind)(**record.arguments))
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


def _must_be(accepted: bool) -> None:
    if not accepted:
        raise _Refused


def _may_stand_with_others(record: Record) -> bool:
    """Not the end of a call without its turns: what it makes of the transcript depends on what was settled before."""
    return record.kind in kinds.ALL and (record.kind != kinds.FINALIZE or bool(record.arguments.get("turns")))


def one_by_one(records: Sequence[Record]) -> bool:
    return False


def write_all(
    path: Path, pieces: Iterable[Piece], report: Report, write: Write, together: WriteTogether = one_by_one
) -> None:
    """Write each fact, in order, and put aside what is damaged or unusable; count into `report`. Raise DatabaseAway,
    OSError."""
    all_pieces = list(pieces)
    if together([piece.record for piece in all_pieces if piece.record is not None]):
        report.facts += sum(piece.record is not None for piece in all_pieces)
        all_pieces = [piece for piece in all_pieces if piece.record is None]
    _write_each(path, all_pieces, report, write)


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
    found = files.paths(directory)
    failures = 0
    for number, path in enumerate(found, start=1):
        try:
            _replay_one(path, report, write, together)
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


def _replay_one(path: Path, report: Report, write: Write, together: WriteTogether) -> None:
    with files.adopted(path) as data:
        if data is None:
            report.held += path.exists()
            return
        write_all(path, records.pieces(data), report, write, together)
        path.unlink()
        report.calls += 1


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
