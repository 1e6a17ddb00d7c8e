"""OpenAI Realtime, and every server that speaks its protocol: addressed by the `openai` package, audio moved raw.

The SDK knows the address and the keys. Its connection is left out: its typed path costs 160 us for a frame sent and 65
for one received, its raw path still four times what a socket of our own does (performance 3.3), and its reconnecting
reopens a blank session (protocols, openai-realtime B9). Messages are translated by media.wire.openai.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from openai import AsyncOpenAI, OpenAIError
from picows import WSError

from businesses.snapshots import AgentSnapshot
from media import tools
from media.engine.commands import CloseModel, ModelCommand
from media.engine.config import ModelTraits
from media.engine.events import Event, ModelClosed, ModelError
from media.realtime.base import ModelUnavailable
from media.realtime.socket import ModelSocket, Refused, SocketClosed, connect
from media.wire import openai as wire

OPEN_TIMEOUT_SECONDS = 8.0  # connect, TLS, upgrade and `session.created` together
CLOSE_TIMEOUT_SECONDS = 2.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
PERMANENT_STATUSES = frozenset({400, 401, 403, 404})  # protocols, openai-realtime B6: a wrong key, model or address


class _TypeOnly(msgspec.Struct):
    type: str


_type_of = msgspec.json.Decoder(_TypeOnly).decode


class OpenAIRealtime:
    """Opens sessions with the server and model that the settings name."""

    def traits(self, agent: AgentSnapshot) -> ModelTraits:
        # Semantic detection waits as long as it thinks right: that is not known here.
        silence_ms = agent.turn_detection.get("silence_duration_ms", 500)
        waits = agent.turn_detection.get("type") == "server_vad"
        return ModelTraits(silence_seconds=silence_ms / 1000 if waits else 0.5)

    async def open(self, agent: AgentSnapshot) -> OpenAIRealtimeSession:
        if not settings.OPENAI_API_KEY:
            raise ModelUnavailable("no_api_key", permanent=True)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                return await self._open(agent)
        except Refused as error:
            raise ModelUnavailable(f"http_{error.status}", permanent=error.status in PERMANENT_STATUSES) from error
        except SocketClosed as closed:
            raise ModelUnavailable(f"closed_{closed.code}", permanent=False) from closed
        except TimeoutError as error:
            raise ModelUnavailable("handshake_timeout", permanent=False) from error
        except ConnectionRefusedError as error:
            raise ModelUnavailable("connection_refused", permanent=False) from error
        except OSError as error:  # DNS, TLS, routing
            raise ModelUnavailable("connection_failed", permanent=False) from error
        except WSError as error:
            raise ModelUnavailable("handshake_failed", permanent=False) from error
        except OpenAIError as error:
            raise ModelUnavailable("misconfigured", permanent=True) from error

    async def _open(self, agent: AgentSnapshot) -> OpenAIRealtimeSession:
        client = _client(settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL)
        address = str(client.base_url).rstrip("/").replace("http", "ws", 1)
        query = urlencode({"model": agent.model or settings.OPENAI_REALTIME_MODEL})
        socket = await connect(f"{address}/realtime?{query}", client.auth_headers, MAX_MESSAGE_BYTES)
        try:
            await _wait_until_created(socket)
            await socket.send(_configuration(agent))
        except BaseException:  # also when the open timeout strikes: a half-open session would cost until it expires
            socket.abandon()
            raise
        return OpenAIRealtimeSession(socket)


class OpenAIRealtimeSession:
    """One open session; owns its socket."""

    def __init__(self, socket: ModelSocket) -> None:
        self._socket = socket
        self._fatal_code = ""

    async def events(self, at_once: Callable[[list[Event]], None] | None = None) -> AsyncIterator[list[Event]]:
        if at_once is not None:
            self._socket.read_by(lambda raw: at_once(self._decoded(raw)))
        while True:
            try:
                raw = await self._socket.receive()
            except SocketClosed as closed:
                # 1001 after `session_expired` is a failure, though the close looks normal: the error names it.
                yield [ModelClosed(self._fatal_code or f"closed_{closed.code}")]
                return
            if events := self._decoded(raw):
                yield events

    def _decoded(self, raw: bytes) -> list[Event]:
        events = wire.decode(raw)
        for event in events:
            if isinstance(event, ModelError) and event.fatal:
                self._fatal_code = event.code
        return events

    def perform_now(self, command: ModelCommand) -> bool:
        if isinstance(command, CloseModel) or not self._socket.writable:
            return False
        for message in wire.encode(command):
            self._socket.send_now(message)
        return True

    def forward_now(self, payload: str) -> bool:
        if not self._socket.writable:
            return False
        self._socket.send_now(wire.append(payload))
        return True

    async def perform(self, command: ModelCommand) -> None:
        if isinstance(command, CloseModel):
            await self.close()
            return
        try:
            for message in wire.encode(command):
                await self._socket.send(message)
        except SocketClosed as closed:
            raise ModelUnavailable(self._fatal_code or f"closed_{closed.code}", permanent=False) from closed

    async def close(self) -> None:
        # A peer that does not answer the close is left after 2 s; the socket goes with it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._socket.close()


async def _wait_until_created(socket: ModelSocket) -> None:
    """Read up to `session.created`, which is first; an error in its place is a refusal (protocols B1, B6)."""
    while True:
        raw = await socket.receive()
        for event in wire.decode(raw):
            if isinstance(event, ModelError):
                raise ModelUnavailable(event.code, permanent=event.fatal)
        if _type_of(raw).type == "session.created":
            return


def _configuration(agent: AgentSnapshot) -> bytes:
    return wire.session_update(
        instructions=agent.instructions,
        voice=agent.voice,
        language=agent.language,
        transcription_model=agent.transcription_model or settings.OPENAI_TRANSCRIPTION_MODEL,
        turn_detection=agent.turn_detection,
        tools=tools.schemas(agent),
    )


@functools.lru_cache(maxsize=8)
def _client(api_key: str, base_url: str) -> AsyncOpenAI:
    """Return one client for each key and address: making one costs milliseconds, and it holds no socket here."""
    return AsyncOpenAI(api_key=api_key, base_url=base_url)
