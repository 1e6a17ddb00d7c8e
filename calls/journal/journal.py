"""The journal of this process: what must not be lost until the database has it.

1. `append` puts a fact on a bounded queue and returns: the audio loop waits for nothing.
2. One writer thread takes all that waits, appends it to the files of its calls and then waits for the disk once for
   each file. What comes meanwhile is the next group: nothing lingers, and a group is as large as the disk is slow.
3. What the disk does not take stays in memory, in order, and is tried again; `reason` says why, so that no new calls
   are let in.
4. `calls.journal.keeper` asks the database what it has, and has the files deleted whose facts are all there.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from calls.boot import boot_id
from calls.journal import files, kinds, records
from calls.journal.files import Disk, OwnFile
from calls.journal.open_calls import CallState, OpenCall
from calls.journal.records import NotStorable, Record

logger = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024 * 1024
MAX_WAITING = 10_000
_GROUP = 1000
_TURNS_SHARE = 0.9  # of the cap; the rest is for what no later fact repairs
_SLOW_SECONDS = 2.0
_LOOK_SECONDS = 5.0  # between two counts of the directory
_PROBE_SECONDS = 1.0  # between two tries while the disk does not take anything


@dataclass(frozen=True, slots=True, repr=False)
class _Append:
    call_sid: str
    kind: str
    at: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Retire:
    call_sid: str
    seq: int


@dataclass(frozen=True, slots=True)
class _NotTaken:
    call_sid: str


@dataclass(frozen=True, slots=True)
class _Reached:
    """A place in the queue that somebody waits for."""

    event: threading.Event


_Item = _Append | _Retire | _NotTaken | _Reached


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the process began; `waiting` and `in_memory` are now: not yet tried, and tried without success."""

    appended: int
    durable: int
    dropped: int
    waiting: int
    in_memory: int
    open_calls: int


class Journal:
    """One for each process, from `calls.journal.get_journal()`."""

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = MAX_BYTES,
        max_waiting: int = MAX_WAITING,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self.boot_id = boot_id()  # as on the call's row: tells whose file it is
        self.clock = clock
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._disk = disk or Disk()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # never taken by append
        self._calls: dict[str, CallState] = {}
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._trouble = ""
        self._busy_since: float | None = None
        self._used = 0
        self._looked_at: float | None = None
        self._in_memory = 0
        self._appended = self._durable = self._dropped = 0

    def append(self, kind: str, arguments: dict[str, Any]) -> bool:
        """Journal a fact. Never waits and never raises. The caller leaves `arguments` alone from now on.

        Return whether it was taken; unless `healthy` says otherwise it is then on the disk in a moment.
        """
        # Turns leave room for the facts that nothing else would repair: these have as much again.
        limit = self._max_waiting if kind in kinds.REPEATED else 2 * self._max_waiting
        if self._queue.qsize() >= limit:
            self._dropped += 1
            return False
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._queue.put(_Append(str(arguments.get("call_sid", "")), kind, at, arguments))
        if self._thread is None:
            self.start()
        return True

    def start(self) -> None:
        """Start the writer, if it is not running: earlier than the first call, to whom it would cost a moment."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
                self._thread.start()

    @property
    def reason(self) -> str:
        """Why facts may not be safe: disk_full, over_cap, disk_error, disk_slow or queue_full. Empty: they are."""
        if self._queue.qsize() >= self._max_waiting:
            return "queue_full"
        busy_since = self._busy_since
        if busy_since is not None and self.clock() - busy_since > _SLOW_SECONDS:
            return "disk_slow"
        return self._trouble

    @property
    def healthy(self) -> bool:
        return not self.reason

    def counters(self) -> Counters:
        with self._lock:
            open_calls = len(self._calls)
        return Counters(self._appended, self._durable, self._dropped, self._queue.qsize(), self._in_memory, open_calls)

    def not_taken(self, call_sid: str) -> None:
        """Neither broker nor database took a fact of this call: no need to wait for it to be confirmed."""
        self._queue.put(_NotTaken(call_sid))  # behind the fact itself

    def open_calls(self) -> list[OpenCall]:
        with self._lock:
            return [call.snapshot() for call in self._calls.values()]

    def confirm(self, seen: OpenCall) -> None:
        """The database has everything that `seen` shows."""
        with self._lock:
            if call := self._calls.get(seen.call_sid):
                call.confirm(seen.seq)

    def retire(self, seen: OpenCall) -> None:
        """Delete the call's file, unless something has been appended since."""
        self._queue.put(_Retire(seen.call_sid, seen.seq))

    def flush(self, timeout: float) -> bool:
        """Wait until all that was appended before is on the disk. Return whether it is."""
        if self._thread is None:
            return self._queue.empty()
        reached = threading.Event()
        self._queue.put(_Reached(reached))
        return reached.wait(timeout) and self._in_memory == 0

    def close(self, timeout: float) -> bool:
        """Flush, and let go of the files, which anybody may replay from now on. Return whether all is on the disk."""
        flushed = self.flush(timeout)
        with self._starting:
            thread = self._thread
            if thread is not None:
                self._queue.put(None)
                thread.join(timeout)
        return flushed

    def forget_after_fork(self) -> None:
        """In the child: its copies of the files would keep them locked after the parent's death."""
        for call in self._calls.values():
            if call.file is not None:
                with contextlib.suppress(OSError):
                    call.file.close()

    def _run(self) -> None:
        while True:
            group, closing = self._next_group()
            self._busy_since = self.clock()
            try:
                self._look_around(self._busy_since)
                self._write([item for item in group if isinstance(item, _Append)])
                for item in group:
                    self._do(item)
            except Exception:  # the edge of the thread: without it nothing would ever be journaled again
                logger.exception("the journal failed on a group of facts")
                self._trouble = "disk_error"
            finally:
                self._busy_since = None
            if closing:
                self._let_go()
                return

    def _next_group(self) -> tuple[list[_Item], bool]:
        """What waits, or nothing after a while; and whether the journal is being closed."""
        group: list[_Item] = []
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(timeout=_PROBE_SECONDS if self._trouble else _LOOK_SECONDS)
            while item is not None:
                group.append(item)
                if len(group) == _GROUP:
                    return group, False
                item = self._queue.get_nowait()
            return group, True
        return group, False

    def _write(self, appends: list[_Append]) -> None:
        for item in appends:
            self._take(item)
        with self._lock:
            waiting = [call for call in self._calls.values() if call.unwritten]
        if not waiting:
            return
        trouble = ""
        written: list[CallState] = []
        for call in waiting:
            try:
                self._write_one(call)
                written.append(call)
            except OSError as error:
                trouble = trouble or _name(error)
        if written:
            trouble = self._sync(written) or trouble
        self._say(trouble)

    def _do(self, item: _Item) -> None:
        match item:
            case _Retire():
                self._delete(item)
            case _NotTaken():
                with self._lock:
                    if call := self._calls.get(item.call_sid):
                        call.not_taken = True
            case _Reached():
                item.event.set()
            case _Append():  # written before, with its group
                pass

    def _take(self, item: _Append) -> None:
        """Make the fact a record of its call, still in memory."""
        with self._lock:
            call = self._calls.get(item.call_sid)
            record = Record(
                v=records.VERSION,
                event_id=uuid.uuid4().hex,
                seq=call.seq + 1 if call else 1,
                kind=item.kind,
                at=item.at,
                arguments=item.arguments,
            )
            is_repeated = item.kind in kinds.REPEATED
            if self._in_memory >= (self._max_waiting if is_repeated else 2 * self._max_waiting):
                self._dropped += 1
                return
            try:
                data = records.encode(record)
            except NotStorable as error:
                self._dropped += 1
                logger.error("a fact cannot be journaled", extra={"fact": item.kind, "error": str(error)})
                return
            if call is None:
                call = self._calls[item.call_sid] = CallState(item.call_sid)
            now = self.clock()
            call.seq += 1
            call.unwritten.append(data)
            call.has_finals |= not is_repeated
            call.appended_at = now
            if call.unconfirmed_since is None:
                call.unconfirmed_since = now
            call.claim.add(item.kind, item.arguments)
            self._appended += 1
            self._in_memory += 1

    def _write_one(self, call: CallState) -> None:
        """Append what the call has in memory, not waiting for the disk. Raise OSError."""
        data = b"".join(call.unwritten)
        cap = self._max_bytes if call.has_finals else int(_TURNS_SHARE * self._max_bytes)
        if self._used + len(data) > cap:
            raise OSError(errno.EDQUOT, "the journal is over its cap")
        if call.file is None:
            files.prepare(self.directory)
            call.file = OwnFile(self.directory, call.call_sid, self.boot_id, self._disk)
        call.file.write(data)
        self._used += len(data)

    def _sync(self, written: list[CallState]) -> str:
        """Wait for the disk. Only what it has then leaves the memory. Return what went wrong, or nothing."""
        trouble = ""
        for call in written:
            assert call.file is not None, "it has just been written"
            size = call.file.size + sum(len(data) for data in call.unwritten)
            try:
                call.file.sync(size)
            except OSError as error:
                trouble = trouble or _name(error)
                continue
            with self._lock:
                self._durable += len(call.unwritten)
                self._in_memory -= len(call.unwritten)
                call.unwritten = []
                call.has_finals = False
        return trouble

    def _delete(self, order: _Retire) -> None:
        with self._lock:
            call = self._calls.get(order.call_sid)
            if call is None or call.seq != order.seq:
                return
            del self._calls[order.call_sid]
            self._in_memory -= len(call.unwritten)
        if call.file is not None:
            self._used -= call.file.size
            call.file.delete()

    def _look_around(self, now: float) -> None:
        """From time to time: how much all processes keep here, and whether the disk takes something again."""
        pause = _PROBE_SECONDS if self._trouble else _LOOK_SECONDS
        if self._looked_at is not None and now - self._looked_at < pause:
            return
        self._looked_at = now
        try:
            self._used = files.used_bytes(self.directory)
            if self._trouble and self._in_memory == 0:
                if self._used > _TURNS_SHARE * self._max_bytes:
                    raise OSError(errno.EDQUOT, "the journal is over its cap")
                self._probe()
                self._say("")
        except OSError as error:
            self._say(_name(error))

    def _probe(self) -> None:
        """Write something. Raise OSError."""
        files.prepare(self.directory)
        path = self.directory / f"{self.boot_id}.probe"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            if self._disk.write(descriptor, b"\0" * 4096) < 4096:
                raise OSError(errno.ENOSPC, "the disk took a part")
            self._disk.sync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            logger.error("the journal cannot be written", extra={"reason": trouble})
        elif self._trouble and not trouble:
            logger.warning("the journal can be written again", extra={"was": self._trouble})
        self._trouble = trouble

    def _let_go(self) -> None:
        with self._lock:
            calls = list(self._calls.values())
            self._calls = {}
            self._in_memory = 0
        for call in calls:
            if call.file is not None:
                call.file.close()
        self._thread = None


def _name(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC:
            return "disk_full"
        case errno.EDQUOT:
            return "over_cap"
        case _:
            return "disk_error"
