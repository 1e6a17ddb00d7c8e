"""Looks after the journal of this process: asks the database what it has, writes what it lacks, deletes what is done.

Every few seconds a look shows what the database has of the calls with unconfirmed facts. A call that it does not
have whole is written again, straight from the journal: at once when neither broker nor database took a fact of it,
after 30 s otherwise, since a broker may lose what it took. The file goes when the call has ended, or nothing more has
come for a minute, and the database has everything. Every 30 s the files of dead processes are replayed too.

Runs in a thread of its own, and asks the database in other threads, with a deadline: a database that hangs costs the
journal one of them, and nobody else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from django.db import Error as DatabaseError

from calls.journal import files, records, replay
from calls.journal.claims import Known
from calls.journal.journal import Journal
from calls.journal.open_calls import OpenCall
from calls.journal.replay import DatabaseAway, Left, Outcome, Report
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

POLL_SECONDS = 3.0
RESEND_SECONDS = 30.0
QUIET_SECONDS = 60.0
REPLAY_SECONDS = 30.0
DEADLINE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 30.0
_TRIES = 3  # with a database that is away


@dataclass(slots=True)
class Retry:
    """When a call that could not be written is tried again: after 1, 2, 4 ... 30 s. Times are the journal's clock."""

    pause: float = 0.0
    due_at: float = 0.0

    def failed(self, now: float) -> None:
        self.pause = min(max(1.0, 2 * self.pause), _LONGEST_PAUSE_SECONDS)
        self.due_at = now + self.pause


class Keeper:
    """One for each journal."""

    def __init__(self, journal: Journal, *, run: Callable[[Callable[[], Any]], Any] | None = None) -> None:
        """`run`: how to do something with the database; in a thread with a deadline, unless a test says otherwise."""
        self._journal = journal
        pool = BoundedPool("keep-journal", threads=2, queued=1)
        self._run = run or (lambda work: pool.run(work, DEADLINE_SECONDS))
        self._retry = Retry()
        self._replayed_at: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="journal-keeper", daemon=True)
            self._thread.start()

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def poll(self) -> None:
        """Confirm, write again, delete; all that is due now. A database that is away is tried again later."""
        now = self._journal.clock()
        if now < self._retry.due_at:
            return
        try:
            self._look_after(self._journal.open_calls(), now)
        except (DatabaseAway, DatabaseError, TimeoutError, PoolBusy) as error:
            self._retry.failed(now)
            logger.warning("the journal waits for the database", extra={"error": type(error).__name__})
        else:
            self._retry = Retry()

    def replay(self) -> Report:
        """Replay the files of dead processes."""
        return replay.replay(self._journal.directory, self._write, self._write_together)

    def _look_after(self, calls: list[OpenCall], now: float) -> None:
        open_questions = [call for call in calls if call.unconfirmed_since is not None]
        known = self._run(lambda: _look_up(open_questions)) if open_questions else {}
        lacking: list[OpenCall] = []
        for call in calls:
            if call.unconfirmed_since is None:
                self._retire(call, now)
            elif call.claim.holds(known.get(call.call_sid)):
                self._confirm(call, now)
            elif call.not_taken or now - call.unconfirmed_since >= RESEND_SECONDS:
                lacking.append(call)
        self._write_again(lacking, now)

    def _confirm(self, call: OpenCall, now: float) -> None:
        self._journal.confirm(call)
        self._retire(call, now)

    def _retire(self, call: OpenCall, now: float) -> None:
        if call.claim.is_over or now - call.appended_at >= QUIET_SECONDS:
            self._journal.retire(call)

    def _write_again(self, lacking: list[OpenCall], now: float) -> None:
        """Raise DatabaseAway, once the others are written: the row of one may only be locked."""
        by_path = {self._path(call): call for call in lacking}
        failures: list[DatabaseAway] = []
        for group in replay.in_groups(self._read(by_path)):
            for left, failure in replay.write_group(group, Report(), self._write, self._write_together):
                call = by_path[left.path]
                if failure is None:
                    told = {"call_sid": call.call_sid, "facts": len(left.records)}
                    logger.warning("wrote a call out of its journal", extra=told)
                    self._confirm(call, now)
                elif isinstance(failure, DatabaseAway):
                    failures.append(failure)
                    if len(failures) == _TRIES:
                        raise failure
                else:
                    _log_unreadable(call, failure)
        if failures:
            raise failures[0]

    def _read(self, calls: dict[Path, OpenCall]) -> Iterator[Left]:
        for path, call in calls.items():
            try:
                on_disk = call.path.read_bytes()[: call.size] if call.path is not None else b""
            except OSError as error:
                _log_unreadable(call, error)
            else:
                yield Left(path, records.pieces(on_disk) + records.pieces(call.unwritten))

    def _path(self, call: OpenCall) -> Path:
        """Of its file; without one, the name that its quarantine would have."""
        return call.path or self._journal.directory / f"{files.name_for(call.call_sid)}.memory"

    def _write_together(self, facts: Sequence[records.Record]) -> bool:
        """Write many facts within the deadline. Raise DatabaseAway."""
        return self._within_deadline(lambda: replay.write_together(facts))

    def _write(self, record: records.Record) -> Outcome:
        """Write one fact within the deadline. Raise DatabaseAway."""
        return self._within_deadline(lambda: replay.write(record))

    def _within_deadline(self, work: Callable[[], Result]) -> Result:
        failure = ""
        try:
            result: Result = self._run(work)
        except (TimeoutError, PoolBusy) as error:
            failure = type(error).__name__
        else:
            return result
        raise DatabaseAway(failure)

    def _loop(self) -> None:
        while True:
            now = self._journal.clock()
            try:
                if self._replayed_at is None or now - self._replayed_at >= REPLAY_SECONDS:
                    self._replayed_at = now
                    self.replay()
                self.poll()
            except Exception:  # the edge of the thread: tomorrow's calls need it too
                logger.exception("the journal's keeper failed")
            if self._stopping.wait(POLL_SECONDS):
                return


def _log_unreadable(call: OpenCall, error: OSError) -> None:
    logger.error("a journal cannot be read", extra={"call_sid": call.call_sid, "error": type(error).__name__})


def _look_up(calls: list[OpenCall]) -> dict[str, Known]:
    from calls.journal.confirmation import look_up  # the models need a configured Django

    return look_up(call.call_sid for call in calls)
