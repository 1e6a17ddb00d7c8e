"""Serve HTTP and media streams. Daphne, with a stop that finishes the record of every live call.

On its own, daphne kills its applications at SIGTERM within a fraction of a second and not even their `finally` runs
(reliability 0.4, 1.6). So it gets no signal handlers, and this command stops it when the calls are done.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

import structlog
from django.core.management.base import BaseCommand, CommandError

if TYPE_CHECKING:
    from calls.heartbeats import Heart

log = structlog.get_logger(__name__)

CALLS_SECONDS = 6.0  # for live calls to end: longer than the engine waits for late transcripts
RECORDER_SECONDS = 3.0
HEART_SECONDS = 2.0
MAX_MESSAGE_BYTES = 64 * 1024  # the same for every websocket here; a media frame has about 400


class Command(BaseCommand):
    help = "Serve HTTP and media streams on one address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument("--port", type=int, default=8000, help="Port; 0 takes a free one (default: %(default)s).")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        # Imported here: loading them installs an event loop and takes a second, which other commands need not pay.
        from daphne.endpoints import build_endpoint_description_strings
        from daphne.server import Server, twisted_loop

        from voiceagent.asgi import application

        server: Any = Server(
            application,
            endpoints=build_endpoint_description_strings(host=host, port=port),
            signal_handlers=False,
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            websocket_max_frame_size=MAX_MESSAGE_BYTES,
            ready_callable=lambda: self._ready(server, twisted_loop),
        )
        server.run()
        if server.abort_start:
            raise CommandError(f"Cannot listen on {host}:{port}: the port is in use, or the address is not ours.")

    def _ready(self, server: Any, loop: asyncio.AbstractEventLoop) -> None:
        from calls.admission import get_admission
        from calls.heartbeats import Heart
        from voiceagent.pulse import Pulse

        heart = Heart()
        heart.start()
        Pulse(loop, get_admission().loop_was_late)
        stopping = Stopping(server, loop, heart)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.begin)
        # What exists now lives as long as the process; collections need not walk over it in the middle of a call.
        gc.collect()
        gc.freeze()
        for host, port in server.listening_addresses:
            self.stdout.write(f"Listening on http://{host}:{port}")
        self.stdout.flush()


class Stopping:
    """How this server stops: refuse new streams, end live calls, hand over what is recorded, then leave."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, heart: Heart) -> None:
        self._server = server
        self._loop = loop
        self._heart = heart
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The first signal stops in order; the second stops now."""
        if self._task is None:
            self._task = self._loop.create_task(self._stop())
        else:
            log.warning("server_stopped_at_once")
            os._exit(1)

    async def _stop(self) -> None:
        from calls.recorder import get_recorder
        from media import live

        live.calls.stop_accepting()
        log.info("server_stopping", live_calls=len(live.calls))
        live.calls.end_all()
        try:
            if not await live.calls.wait_until_empty(CALLS_SECONDS):
                log.error("calls_left_at_stop", live_calls=len(live.calls))
            if not await asyncio.to_thread(get_recorder().close, RECORDER_SECONDS):
                log.error("records_left_at_stop")
            if not await asyncio.to_thread(self._heart.stop, HEART_SECONDS):
                log.warning("heartbeat_left_at_stop")
        finally:
            self._server.stop()
