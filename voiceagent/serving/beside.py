"""The process beside the one that has the live calls: pages and webhooks are made there, so that audio waits for none.

In one process they share an interpreter: while a page is made, the event loop waits for it at every system call, as
long as another thread may keep the interpreter (docs/decisions.md, 50). So `manage.py serve` forks, while it has no
threads to lose, a keeper, which forks the process beside, and does so again when that one dies.

Between them are two sockets. Over one go connections: the process with the calls accepts all, looks at how a request
begins without reading it, keeps media streams and what is asked about itself, and hands over the rest (SCM_RIGHTS, see
unix(7)). Over the other go the questions of webhooks (calls.switchboard), a line of JSON each, and their answers.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import msgspec
import structlog

log = structlog.get_logger(__name__)

# What the process with the calls answers itself: the media stream, and what is asked about its own state.
ITS_OWN = (b"GET /media/", b"GET /healthz", b"GET /readyz", b"HEAD /healthz", b"HEAD /readyz", b"GET /metrics")
_LONGEST = max(map(len, ITS_OWN))
FIRST_BYTES_SECONDS = 15.0
ACCEPT_AT_ONCE = 64
NO_FILES_SECONDS = 1.0  # no more connections can be opened: wait for some to close
ANSWER_SECONDS = 1.0
QUESTION_BYTES = 4 * 1024 * 1024  # an agent's sentences in its own voice are the longest
BORN_AGAIN_SECONDS = 1.0
# Audio first, where both have one core: with this niceness and a policy that takes no core from who is at work, frames
# waited for it 355 ms in each second of the churn of docs/performance.md; with a niceness of 5 alone 500 ms.
NICE = 10
PR_SET_PDEATHSIG = 1  # prctl(2)
END = signal.SIGUSR1  # from the process with the calls, or from its death
# systemd sends the first to all processes of a service, a terminal the second. The process with the calls says when it
# is time: while it drains, webhooks are still to be answered.
NOT_FOR_US = (signal.SIGTERM, signal.SIGINT)

ServeHere = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Beside:
    """What the process with the calls has of the one beside it. Linux only: elsewhere nothing ends that one with it."""

    keeper: int
    connections: socket.socket
    questions: socket.socket

    def begin(self) -> None:
        """Until now there was only a keeper that waits."""
        self.connections.send(b"b")

    def stop(self, seconds: float) -> bool:
        """Let it answer what it was asked and hand over its records. Blocks; return whether it ended well in time."""
        with suppress(ProcessLookupError):
            os.kill(self.keeper, END)
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            try:
                ended, status = os.waitpid(self.keeper, os.WNOHANG)
            except ChildProcessError:
                return False
            if ended:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.02)
        return False


def fork(serve: Callable[[socket.socket, socket.socket], None]) -> Beside:
    """Make ready for a process beside this one. `serve` is called there with its ends of both sockets, and returns at
    its end.

    To be called while there is no thread and no connection to a server: the child would have neither.
    """
    connections, their_connections = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    questions, their_questions = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        connections.close()
        questions.close()
        _end_with(parent)
        for number in NOT_FOR_US:
            signal.signal(number, signal.SIG_IGN)
        if not their_connections.recv(1):  # the parent did not come to begin
            os._exit(0)
        _keep(lambda: serve(their_connections, their_questions))
    their_connections.close()
    their_questions.close()
    connections.setblocking(False)
    questions.setblocking(False)
    return Beside(keeper, connections, questions)


def _keep(serve: Callable[[], None]) -> NoReturn:
    """Have one such process until told to stop, and end with its exit code."""
    child, stopping = 0, False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if child:
            with suppress(ProcessLookupError):
                os.kill(child, END)

    signal.signal(END, stop)
    code = 0
    while not stopping:
        signal.pthread_sigmask(signal.SIG_BLOCK, {END})  # until it is known whom to pass it on to
        child = os.fork()
        if child == 0:
            _become(os.getppid(), serve)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {END})
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        child = 0
        if not stopping:
            log.error("web_process_died", code=code, again_in=BORN_AGAIN_SECONDS)
            time.sleep(BORN_AGAIN_SECONDS)
    os._exit(min(abs(code), 255))


def _become(keeper: int, serve: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        signal.signal(END, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {END})
        _end_with(keeper)
        os.nice(NICE)
        with suppress(OSError):  # a sandbox that does not allow it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        serve()
        code = 0
    except BaseException:
        log.exception("web_process_failed")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the parent has registered for its own end is not this one's to do


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, END)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


class Door:
    """Accepts every connection and sends each to where it is answered. To uvicorn it is one of its servers."""

    def __init__(self, listener: socket.socket, beside: socket.socket, serve_here: ServeHere) -> None:
        self._listener = listener
        self._beside = beside
        self._serve_here = serve_here
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}
        listener.setblocking(False)
        self._open()

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        for connection in list(self._waiting):
            self._forget(connection)
            connection.close()

    async def wait_closed(self) -> None:
        """Nothing is left after `close`."""

    def _open(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of files: the listener would call again at once, and for ever
                log.error("connection_not_accepted", error=type(error).__name__)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(NO_FILES_SECONDS, self._open)
                return
            connection.setblocking(False)
            self._waiting[connection] = self._loop.call_later(FIRST_BYTES_SECONDS, self._drop, connection)
            self._loop.add_reader(connection, self._look, connection)

    def _look(self, connection: socket.socket) -> None:
        try:
            beginning = connection.recv(_LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            beginning = b""
        if not beginning:
            self._drop(connection)
            return
        self._forget(connection)
        # A request of ours that comes in pieces this small is answered beside, as 404 or 403: nobody real sends it so.
        if beginning.startswith(ITS_OWN) or not self._handed_over(connection):
            self._serve_here(connection)

    def _handed_over(self, connection: socket.socket) -> bool:
        """False: nobody is there to take it, or has taken the last few hundred. Then it is answered here, as before."""
        try:
            socket.send_fds(self._beside, [b"c"], [connection.fileno()])
        except OSError as error:
            log.error("connection_not_handed_over", error=type(error).__name__)
            return False
        connection.close()
        return True

    def _drop(self, connection: socket.socket) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: socket.socket) -> None:
        self._loop.remove_reader(connection)
        self._waiting.pop(connection).cancel()


class Arrivals:
    """The other end: takes the connections that are handed over. To uvicorn it is one of its servers."""

    def __init__(self, arriving: socket.socket, serve_here: ServeHere) -> None:
        self._arriving = arriving
        self._serve_here = serve_here
        self._loop = asyncio.get_running_loop()
        arriving.setblocking(False)
        self._loop.add_reader(arriving, self._take)

    def close(self) -> None:
        self._loop.remove_reader(self._arriving)

    async def wait_closed(self) -> None:
        """Nothing is left after `close`."""

    def _take(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                message, files, _, _ = socket.recv_fds(self._arriving, 1, 1)
            except BlockingIOError:
                return
            if not message:  # the process with the calls is gone, and END is on its way to us
                self.close()
                return
            for file in files:  # none: this process may open no more of them
                connection = socket.socket(fileno=file)
                connection.setblocking(False)
                self._serve_here(connection)


class Questions:
    """Asks the process with the calls, from any thread, one question at a time."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._line.settimeout(ANSWER_SECONDS)
        self._lock = threading.Lock()
        self._number = 0
        self._read = b""

    def ask(self, name: str, arguments: Sequence[Any]) -> Any:
        """Raise OSError when there is no answer in time."""
        with self._lock:
            self._number += 1
            self._line.sendall(msgspec.json.encode((os.getpid(), self._number, name, arguments)) + b"\n")
            while True:
                pid, number, answer = msgspec.json.decode(self._next())
                # Another is one that we, or the process before us, did not wait for.
                if (pid, number) == (os.getpid(), self._number):
                    return answer

    def _next(self) -> bytes:
        while b"\n" not in self._read:
            piece = self._line.recv(65536)
            if not piece:
                raise ConnectionResetError
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return line


async def answer_questions(line: socket.socket, answer: Callable[[str, Sequence[Any]], Any]) -> None:
    """Answer what is asked, on this loop: `answer` must not block. Returns when nobody is left to ask."""
    reader, writer = await asyncio.open_connection(sock=line, limit=QUESTION_BYTES)
    while True:
        try:
            question = await reader.readline()
        except ValueError:  # longer than any: it is dropped, and what is left of it is no question
            log.error("question_too_long")
            continue
        except OSError:
            return
        if not question:
            return
        try:
            pid, number, name, arguments = msgspec.json.decode(question)
            reply = msgspec.json.encode((pid, number, answer(name, arguments)))
        except Exception as error:  # noqa: BLE001 - half a question of a process that died, or a fault of ours: the next one counts
            log.error("question_not_answered", error=type(error).__name__)
            continue
        writer.write(reply + b"\n")
