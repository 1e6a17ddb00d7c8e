"""Uvicorn on uvloop, with websockets by picows (`voiceagent.serving.websockets`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop

from voiceagent.serving import MAX_MESSAGE_BYTES, CannotListen, Ready
from voiceagent.serving.websockets import WebsocketConnection

KEEP_ALIVE_SECONDS = 75  # longer than the proxies in front keep theirs: they, not we, close an idle connection
LAST_ANSWERS_SECONDS = 3


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Ready) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready(_Uvicorn(self, sockets or []))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Its own handlers would cut every call."""
        yield


class _Uvicorn:
    def __init__(self, server: _Server, sockets: list[socket.socket]) -> None:
        self._server, self._sockets = server, sockets
        self.loop = asyncio.get_running_loop()

    def addresses(self) -> list[tuple[str, int]]:
        return [listener.getsockname()[:2] for listener in self._sockets]

    def answers(self) -> set[asyncio.Future[Any]]:
        return {task for task in self._server.server_state.tasks if not task.done()}

    def stop(self) -> None:
        self._server.should_exit = True


def run(application: Any, host: str, port: int, ready: Ready) -> None:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise CannotListen from error
    config = uvicorn.Config(
        application,
        http="httptools",
        ws=WebsocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is in front of us, and what is believed of it, is the settings' business
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Server(config, ready).serve(sockets=[listener]))
