"""Daphne, of which everybody who knows Channels knows how it behaves."""

from __future__ import annotations

import asyncio
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server, twisted_loop

from voiceagent.serving import MAX_MESSAGE_BYTES, CannotListen, Ready


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
    server: Any = Server(
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
