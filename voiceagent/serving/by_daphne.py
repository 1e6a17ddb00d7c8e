"""Daphne, of which everybody who knows Channels knows how it behaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server, twisted_loop
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from voiceagent.serving import MAX_MESSAGE_BYTES, CannotListen, Ready


class _Protocol(WebSocketProtocol):  # type: ignore[misc]
    """Daphne's, with a short way past the application's queue (`voiceagent.direct`)."""

    _reader: Callable[[bytes], bool] | None = None

    def write(self, texts: Sequence[bytes]) -> bool:
        if self.state != self.STATE_OPEN or self.muted:
            return False
        for text in texts:
            self.sendMessage(text, False)
        return True

    def read_by(self, reader: Callable[[bytes], bool]) -> None:
        self._reader = reader

    def dataReceived(self, data: bytes) -> None:
        self._dataReceived(data)  # what autobahn puts before it, a line for a log that nobody keeps, is a tenth of all

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        reader = None if isBinary or self.muted or not self.application_queue.empty() else self._reader
        if reader is not None and reader(payload):
            self.last_ping = time.time()  # as in the base: who speaks need not be asked whether they are there
            return
        super().onMessage(payload, isBinary)


class _Server(Server):  # type: ignore[misc]
    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if isinstance(protocol, _Protocol):
            scope["extensions"] = {"voiceagent.direct": {"write": protocol.write, "read": protocol.read_by}}
        return super().create_application(protocol, scope)


class _Daphne:
    def __init__(self, server: Any) -> None:
        self._server = server
        self.loop: asyncio.AbstractEventLoop = twisted_loop

    def addresses(self) -> list[tuple[str, int]]:
        return list(self._server.listening_addresses)

    def answers(self) -> set[asyncio.Future[Any]]:
        running = [details.get("application_instance") for details in self._server.connections.values()]
        return {answer for answer in running if answer is not None and not answer.done()}

    def stop(self) -> None:
        self._server.stop()


def run(application: Any, host: str, port: int, ready: Ready) -> None:
    WebSocketFactory.protocol = _Protocol
    server: Any = _Server(
        application,
        endpoints=build_endpoint_description_strings(host=host, port=port),
        signal_handlers=False,
        websocket_max_message_size=MAX_MESSAGE_BYTES,
        websocket_max_frame_size=MAX_MESSAGE_BYTES,
        ready_callable=lambda: ready(_Daphne(server)),
    )
    server.run()
    if server.abort_start:
        raise CannotListen
