"""A web process says every few seconds that it lives, in the database, so that the reaper leaves its calls alone.

Written by a thread of its own within a deadline: neither the event loop nor the end of the process waits for a
database that hangs. The row is gone after a clean exit.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime

from django.db import Error as DatabaseUnwell
from django.db import connection
from django.utils import timezone

from calls import live_calls
from calls.admission import get_admission
from calls.boot import boot_id
from calls.models import WebProcess
from calls.publishing import BrokerUnwell, Publisher
from calls.threads import BoundedPool, PoolBusy

logger = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
AGAIN_SECONDS = 2.0  # after a beat that failed: once the database is back this has to come before the reaper acts
DEADLINE_SECONDS = 3.0


def database_now() -> datetime:
    """The database's clock: processes on machines whose clocks differ are compared by it. SQLite has this machine's."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def beat(now: datetime, live: int, boot: str = "", *, loop_late_ms: int | None = None) -> None:
    """This process (or the one of that boot id) lives, and carries `live` calls. Raise django.db.Error."""
    row = WebProcess(
        boot_id=boot or boot_id(),
        host=socket.gethostname()[:255],
        pid=os.getpid(),
        live_calls=live,
        loop_late_ms=loop_late_ms,
        started_at=now,
        seen_at=now,
    )
    WebProcess.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["boot_id"],
        update_fields=["live_calls", "loop_late_ms", "seen_at"],
    )


def leave(boot: str = "") -> None:
    """This process ends in good order. Raise django.db.Error."""
    WebProcess.objects.filter(boot_id=boot or boot_id()).delete()


class Heart:
    """Beats from `start` to `stop`. With its first beat it asks for a sweep: this process may follow one that died."""

    def __init__(self, *, publisher: Publisher | None = None) -> None:
        self._pool = BoundedPool("heartbeat", threads=2, queued=1)
        self._publisher = publisher or Publisher()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Take the row away. Return whether that was done in time; if not, the reaper finds out by itself."""
        self._stopping.set()
        self._thread.join(timeout / 2)
        # A beat that hangs may still bring the row back after this; then the reaper finds it silent, with no calls.
        return not self._thread.is_alive() and self._within(leave, timeout / 2)

    def _run(self) -> None:
        pause = BEAT_SECONDS if self._within(self._beat, DEADLINE_SECONDS) else AGAIN_SECONDS
        self._ask_for_sweep()
        while not self._stopping.wait(pause):
            pause = BEAT_SECONDS if self._within(self._beat, DEADLINE_SECONDS) else AGAIN_SECONDS

    def _beat(self) -> None:
        if not self._stopping.is_set():
            late = round(get_admission().lateness(time.monotonic()) * 1000)
            beat(database_now(), live_calls.count(), loop_late_ms=late)

    def _within(self, work: Callable[[], None], seconds: float) -> bool:
        try:
            self._pool.run(work, seconds)
        except (DatabaseUnwell, TimeoutError, PoolBusy) as error:
            logger.warning("no heartbeat: database did not take it", extra={"error": type(error).__name__})
            return False
        return True

    def _ask_for_sweep(self) -> None:
        try:
            self._publisher.publish("sweep_unfinished_calls", {})
        except BrokerUnwell as error:
            logger.warning("no sweep at start: broker did not take it", extra={"error": str(error)})
        finally:
            self._publisher.close()
