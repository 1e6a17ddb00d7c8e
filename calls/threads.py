"""Work that may hang (a database, a cache) done in a few threads, so that its caller can keep a deadline.

Not concurrent.futures.ThreadPoolExecutor: Python joins its threads at exit, so that one hung query would keep the whole
process from ending. These are daemon threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from django.db import close_old_connections

Result = TypeVar("Result")


class PoolBusy(Exception):
    """Every thread is at work and the pool's short queue is full."""


class BoundedPool:
    """`threads` daemon threads, started at the first use, and at most `queued` jobs waiting for one."""

    def __init__(self, name: str, threads: int = 4, queued: int = 64) -> None:
        self._name = name
        self._threads = threads
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(queued)
        self._lock = threading.Lock()
        self._started = 0
        self._idle = 0

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Start `work` in a thread. Raise PoolBusy rather than wait. A future cancelled before it began is skipped."""
        future: Future[Result] = Future()
        try:
            self._jobs.put_nowait((future, work))
        except queue.Full:
            raise PoolBusy(self._name) from None
        with self._lock:
            if self._idle < self._jobs.qsize() and self._started < self._threads:
                self._started += 1
                threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def run(self, work: Callable[[], Result], seconds: float) -> Result:
        """Do `work` in a thread and wait for it. Raise TimeoutError after `seconds`, PoolBusy, or what `work` raised.

        After a timeout the work may still be done: it has to be something that may happen twice.
        """
        future = self.submit(work)
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            raise

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            future, work = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if future.set_running_or_notify_cancel():
                self._do(future, work)
            del future, work  # an idle thread must not keep a call's words alive

    def _do(self, future: Future[Any], work: Callable[[], Any]) -> None:
        close_old_connections()  # a connection that the server has dropped in the meantime is opened again
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
            close_old_connections()
            future.set_exception(error)
        else:
            close_old_connections()
            future.set_result(result)
