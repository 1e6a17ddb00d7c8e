"""Uvicorn on uvloop, with websockets by picows (`voiceagent.serving.websockets`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
import uvloop

from media import turns
from voiceagent.serving import MAX_MESSAGE_BYTES, CannotListen, Ready
from voiceagent.serving.beside import Arrivals, Beside, Door, ServeHere
from voiceagent.serving.websockets import WebsocketConnection

KEEP_ALIVE_SECONDS = 75  # longer than the proxies in front keep theirs: they, not we, close an idle connection
LAST_ANSWERS_SECONDS = 3


Begin = Callable[[ServeHere], Door | Arrivals]


class _Server(uvicorn.Server):
    """`begin`: where its connections come from, when they are not its own listener's."""

    def __init__(self, config: uvicorn.Config, ready: Ready, begin: Begin | None = None) -> None:
        super().__init__(config)
        self._ready = ready
        self._begin = begin
        self._connecting: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets if self._begin is None else [])
        if self._begin is not None:
            self.servers.append(self._begin(self._serve_here))  # type: ignore[arg-type]  # what is asked of one, it has
        self._ready(_Uvicorn(self, sockets or []))

    def _serve_here(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        """As uvicorn's own `startup` makes the protocol of a connection."""
        await turns.mine()
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                    config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
                ),
                connection,
            )
        except OSError:  # it was closed meanwhile
            connection.close()

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


def run(application: Any, host: str, port: int, ready: Ready, beside: Beside | None = None) -> None:
    """With `beside`, everything but media streams and what is asked about this process is answered there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise CannotListen from error
    with listener:
        if beside is None:
            _serve(_Server(_config(application), ready), [listener])
        else:
            connections = beside.connections
            begin: Begin = lambda serve_here: Door(listener, connections, serve_here)  # noqa: E731
            _serve(_Server(_config(application, is_one_of_two=True), ready, begin), [listener])


def run_beside(application: Any, arriving: socket.socket, ready: Ready) -> None:
    """Serve the connections that are handed over."""
    begin: Begin = lambda serve_here: Arrivals(arriving, serve_here)  # noqa: E731
    _serve(_Server(_config(application, is_one_of_two=True), ready, begin), [])


def _serve(server: _Server, sockets: list[socket.socket]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=sockets))


def _config(application: Any, *, is_one_of_two: bool = False) -> uvicorn.Config:
    # A connection belongs to the process that answered its first request. So that each request is answered where it
    # should be, it has a connection of its own: a proxy pays 0.1 ms for it.
    headers = [("connection", "close")] if is_one_of_two else []
    return uvicorn.Config(
        application,
        http="httptools",
        ws=WebsocketConnection,
        ws_max_size=MAX_MESSAGE_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is in front of us, and what is believed of it, is the settings' business
        server_header=False,
        headers=headers,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
