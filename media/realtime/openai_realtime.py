"""OpenAI Realtime, and every server that speaks its protocol: connected by the `openai` package, audio moved raw.

The SDK's typed path costs 160 us for a frame sent and 65 us for one received, its raw path a tenth of that
(`send_raw`, `recv_bytes`), so messages are translated by media.wire.openai. The SDK's own reconnecting is left off:
it reopens a blank session (protocols, openai-realtime B9).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from openai import AsyncOpenAI, OpenAIError
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from businesses.snapshots import AgentSnapshot
from media import tools
from media.engine.commands import CloseModel, ModelCommand
from media.engine.config import ModelTraits
from media.engine.events import Event, ModelClosed, ModelError
from media.realtime.base import ModelUnavailable
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
        except InvalidStatus as error:
            status = error.response.status_code
            raise ModelUnavailable(f"http_{status}", permanent=status in PERMANENT_STATUSES) from error
        except ConnectionClosed as error:
            raise ModelUnavailable(_close_code(error), permanent=False) from error
        except TimeoutError as error:
            raise ModelUnavailable("handshake_timeout", permanent=False) from error
        except ConnectionRefusedError as error:
            raise ModelUnavailable("connection_refused", permanent=False) from error
        except OSError as error:  # DNS, TLS, routing
            raise ModelUnavailable("connection_failed", permanent=False) from error
        except WebSocketException as error:
            raise ModelUnavailable("handshake_failed", permanent=False) from error
        except OpenAIError as error:
            raise ModelUnavailable("misconfigured", permanent=True) from error

    async def _open(self, agent: AgentSnapshot) -> OpenAIRealtimeSession:
        client = _client(settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL)
        options = cast(Any, _connection_options(settings.OPENAI_BASE_URL))
        connection = await client.realtime.connect(
            model=agent.model or settings.OPENAI_REALTIME_MODEL, websocket_connection_options=options
        ).enter()
        try:
            await _wait_until_created(connection)
            await connection.send_raw(_configuration(agent))
        except BaseException:  # also when the open timeout strikes: a half-open session would cost until it expires
            with contextlib.suppress(OSError, WebSocketException):
                await connection.close()
            raise
        return OpenAIRealtimeSession(connection)


class OpenAIRealtimeSession:
    """One open session; owns its socket."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self._connection = connection
        self._fatal_code = ""

    async def events(self) -> AsyncIterator[list[Event]]:
        while True:
            try:
                raw = await self._connection.recv_bytes()
            except ConnectionClosed as closed:
                # 1001 after `session_expired` is a failure, though the close looks normal: the error names it.
                yield [ModelClosed(self._fatal_code or _close_code(closed))]
                return
            events = wire.decode(raw)
            for event in events:
                if isinstance(event, ModelError) and event.fatal:
                    self._fatal_code = event.code
            if events:
                yield events

    async def perform(self, command: ModelCommand) -> None:
        if isinstance(command, CloseModel):
            await self.close()
            return
        try:
            for message in wire.encode(command):
                await self._connection.send_raw(message)
        except ConnectionClosed as closed:
            raise ModelUnavailable(self._fatal_code or _close_code(closed), permanent=False) from closed

    async def close(self) -> None:
        # A peer that does not answer the close is left after 2 s; the socket goes with the process's reference.
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._connection.close()


async def _wait_until_created(connection: AsyncRealtimeConnection) -> None:
    """Read up to `session.created`, which is first; an error in its place is a refusal (protocols B1, B6)."""
    while True:
        raw = await connection.recv_bytes()
        for event in wire.decode(raw):
            if isinstance(event, ModelError):
                raise ModelUnavailable(event.code, permanent=event.fatal)
        if _type_of(raw).type == "session.created":
            return


def _configuration(agent: AgentSnapshot) -> str:
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


def _connection_options(base_url: str) -> dict[str, Any]:
    options: dict[str, Any] = {"compression": None, "max_size": MAX_MESSAGE_BYTES}
    if _is_loopback(urlsplit(base_url).hostname or ""):
        options["proxy"] = None  # websockets would ask the proxy of the environment for this machine's own address
    return options


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _close_code(closed: ConnectionClosed) -> str:
    return f"closed_{closed.rcvd.code if closed.rcvd is not None else 1006}"
