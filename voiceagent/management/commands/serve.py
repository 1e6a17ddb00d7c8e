"""Serve HTTP and media streams, with a stop that cuts no call and finishes every record.

On its own, a server ends every call at SIGTERM: daphne within a fraction of a second, and not even a `finally` runs
(reliability 0.4, 1.6), uvicorn with a close of its own. So neither gets signal handlers, and this command stops it when
the calls are done (media/draining.py).
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from voiceagent import serving
from voiceagent.serving import beside
from voiceagent.serving.beside import Beside

if TYPE_CHECKING:
    from calls.heartbeats import Heart

log = structlog.get_logger(__name__)

SAME_WISH_SECONDS = 1.0  # a second signal within this time is no second wish: terminals and make send two at once
ANSWERS_SECONDS = 3.0  # no answer takes longer to make
RECORDER_SECONDS = 3.0
HEART_SECONDS = 2.0
JOURNAL_SECONDS = 0.5
BESIDE_SECONDS = ANSWERS_SECONDS + RECORDER_SECONDS + HEART_SECONDS + 1.0
SWITCH_SECONDS = 0.0005
SMALL_COLLECTIONS = 1000


class Command(BaseCommand):
    help = "Serve HTTP and media streams on one address, by two processes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one (default: %(default)s).")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        from voiceagent import checks

        # Under daphne, and where the kernel does not end a process with its parent, one process does everything.
        is_one_of_two = settings.WEB_SERVER == "uvicorn" and sys.platform == "linux"
        self._beside = self._fork() if is_one_of_two else None  # first: before there are threads
        checks.before_start()
        from voiceagent.asgi import application  # here: it takes a second, which other commands need not pay

        options = {}
        if self._beside is not None:
            self._beside.begin()
            options["beside"] = self._beside
        try:
            serving.run(settings.WEB_SERVER, application, host, port, self._ready, **options)
        except serving.CannotListen:
            message = f"Cannot listen on {host}:{port}: the port is in use, or the address is not ours."
            raise CommandError(message) from None

    def _fork(self) -> Beside:
        # What both need and takes long: loaded once, and its memory shared.
        import voiceagent.urls  # noqa: F401

        gc.collect()
        gc.freeze()  # collections would write into the memory that is shared
        return beside.fork(self._serve_beside)

    def _serve_beside(self, connections: socket.socket, questions: socket.socket) -> None:
        """The other process: pages and webhooks."""
        from channels.routing import ProtocolTypeRouter
        from django.core.asgi import get_asgi_application

        from calls import switchboard
        from media.routing import refuse
        from voiceagent.serving import by_uvicorn

        switchboard.is_elsewhere(beside.Questions(questions).ask)
        application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": refuse})
        by_uvicorn.run_beside(application, connections, self._ready_beside)

    def _ready_beside(self, server: serving.Running) -> None:
        heart = _heart()
        server.loop.add_signal_handler(beside.END, Stopping(server, heart).begin)

    def _ready(self, server: serving.Running) -> None:
        from calls import switchboard
        from calls.admission import get_admission
        from voiceagent.pulse import Pulse

        # First: it takes a moment, which must not count as a late loop, for which calls are turned away.
        # What exists now lives as long as the process; collections need not walk over it in the middle of a call.
        gc.collect()
        gc.freeze()
        # A call leaves no circle behind (decision 50), and at two hundred calls a full collection stops all of them for
        # 50 ms: once in a thousand of the smaller ones is enough for what is left.
        gc.set_threshold(700, 10, SMALL_COLLECTIONS)
        # A thread that stores facts or answers a webhook gives way to the calls' audio after this long, not after 5 ms.
        sys.setswitchinterval(SWITCH_SECONDS)
        heart = _heart()
        Pulse(server.loop, get_admission().loop_was_late)
        if self._beside is not None:
            questions = beside.answer_questions(self._beside.questions, switchboard.answer)
            self._answering = server.loop.create_task(questions)
        stopping = Stopping(server, heart, self._beside)
        for number in (signal.SIGTERM, signal.SIGINT):
            server.loop.add_signal_handler(number, stopping.begin)
        for host, port in server.addresses():
            self.stdout.write(f"Listening on http://{host}:{port}")
        self.stdout.flush()


def _heart() -> Heart:
    from calls.heartbeats import Heart

    heart = Heart()
    heart.start()
    return heart


class Stopping:
    """How this server stops. First signal: calls go on for a while and elsewhere, records are handed over, exit code 0.
    Second signal: now, as if killed; others go on with its calls and its journals."""

    def __init__(self, server: serving.Running, heart: Heart, beside: Beside | None = None) -> None:
        self._server = server
        self._beside = beside
        self._loop = server.loop
        self._heart = heart
        self._began_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        now = self._loop.time()
        if self._task is None:
            self._began_at = now
            self._task = self._loop.create_task(self._stop())
        elif now - self._began_at >= SAME_WISH_SECONDS:
            self._leave_now()

    async def _stop(self) -> None:
        from calls.recorder import get_recorder
        from media import live
        from media.draining import drain
        from media.tools import http

        try:
            await drain(live.calls, settings.DRAIN_SECONDS)
            await self._finish_answers()
            if self._beside is not None and not await asyncio.to_thread(self._beside.stop, BESIDE_SECONDS):
                log.error("other_web_process_left_at_stop")
            if not await asyncio.to_thread(get_recorder().close, RECORDER_SECONDS):
                log.error("records_left_at_stop")
            if not await asyncio.to_thread(self._heart.stop, HEART_SECONDS):
                log.warning("heartbeat_left_at_stop")
            await http.close()
        finally:
            self._server.stop()

    async def _finish_answers(self) -> None:
        """Requests that came in already get their answer: the carrier drops a call whose webhook gives none."""
        if waiting := self._server.answers():
            await asyncio.wait(waiting, timeout=ANSWERS_SECONDS)

    def _leave_now(self) -> None:
        from calls.journal import get_journal
        from media import live

        log.warning("server_stopped_at_once", live_calls=len(live.calls))
        # In a thread, so that a disk that hangs does not keep us.
        flushing = threading.Thread(target=lambda: get_journal().flush(JOURNAL_SECONDS), daemon=True)
        flushing.start()
        flushing.join(JOURNAL_SECONDS)
        os._exit(1)
