"""The port: a websocket with one session for each connection, frames out in the order they were made; and texts, also
of spoken files, asked for by POST (texts.py)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from simulators.model.core import Core
from simulators.model.faults import Faults
from simulators.model.hearing import Hearing
from simulators.model.ledger import Ledger
from simulators.model.session import Session
from simulators.model.settings import ModelSettings
from simulators.model.texts import TextModel
from simulators.model.texts import serve as serve_text

log = logging.getLogger(__name__)
socket_log = logging.getLogger(f"{__name__}.socket")
socket_log.setLevel(logging.WARNING)  # not a line for every connection
PATH = "/v1/realtime"
MAX_FRAME = 20 * 1024 * 1024  # an append of 15 MiB, and some
NOTED_HEADERS = ("User-Agent", "OpenAI-Beta", "OpenAI-Safety-Identifier", "OpenAI-Organization", "OpenAI-Project")


def _model_of(target: str) -> str:
    return parse_qs(urlsplit(target).query).get("model", [""])[0]


class Outbox:
    """The Wire of a session: everything is queued, one task writes it. Bounded by what a session can say."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._queue: asyncio.Queue[str | bytes | tuple[int, str]] = asyncio.Queue()
        self._done = False

    def send(self, frame: str | bytes) -> None:
        if not self._done:
            self._queue.put_nowait(frame)

    def close(self, code: int, reason: str = "") -> None:
        if not self._done:
            self._queue.put_nowait((code, reason))
        self._done = True

    def abort(self) -> None:
        self._done = True
        self._socket.transport.abort()

    def later(self, seconds: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._guarded, what)

    def _guarded(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception:  # the edge of a session: a mistake in the simulator must not look like a silent model
            log.exception("the simulated model failed")
            self.close(1011, "the simulator failed")

    async def run(self) -> None:
        """Write until the close."""
        while True:
            frame = await self._queue.get()
            if isinstance(frame, tuple):
                await self._socket.close(*frame)
                return
            await self._socket.send(frame)


class FirstBytes(ServerConnection):
    """A connection that its first bytes decide: a POST goes to the text model, anything else is a websocket's."""

    text_model: TextModel
    text_tasks: set[asyncio.Task[None]]
    _undecided: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._undecided = transport

    def data_received(self, data: bytes) -> None:
        transport, self._undecided = self._undecided, None
        if transport is None:
            super().data_received(data)
        elif data.startswith(b"POST "):
            self._hand_over(transport, data)
        else:
            super().connection_made(transport)
            super().data_received(data)

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        def begin(reads: asyncio.StreamReader, writes: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(serve_text(self.text_model, reads, writes))
            self.text_tasks.add(task)
            task.add_done_callback(self.text_tasks.discard)

        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(limit=2**20), begin)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def eof_received(self) -> None:
        if self._undecided is None:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._undecided is None:
            super().connection_lost(exc)


class ModelServer:
    """`async with ModelServer(settings) as server:`, then `server.url`, `.port`, `.ledger`, `.sessions`."""

    def __init__(self, settings: ModelSettings | None = None) -> None:
        self.settings = settings or ModelSettings()
        self.ledger = Ledger(self.settings.ledger)
        self.sessions: list[Session] = []
        self.port = 0
        self._hearing = Hearing(self.settings.dialogue.clips)
        self.text_model = TextModel(self.settings, self.ledger, self._hearing)
        self._text_tasks: set[asyncio.Task[None]] = set()
        self._server: Server | None = None
        self._connections: Counter[str] = Counter()  # by profile; the server's own settings are the profile ""
        self._numbers: dict[ServerConnection, int] = {}

    @property
    def url(self) -> str:
        return f"ws://{self.settings.host}:{self.port}{PATH}"

    async def __aenter__(self) -> Self:
        parts = {"text_model": self.text_model, "text_tasks": self._text_tasks}
        self._server = await serve(
            self._serve, self.settings.host, self.settings.port, process_request=self._handshake,
            compression=None, logger=socket_log, max_size=MAX_FRAME,
            create_connection=type("Connection", (FirstBytes,), parts),
        )  # fmt: skip
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        for task in list(self._text_tasks):
            task.cancel()
        self._server.close()
        await self._server.wait_closed()
        self.ledger.close()

    def _settings(self, model: str) -> ModelSettings:
        return self.settings.profiles.get(model, self.settings)

    def _faults(self, settings: ModelSettings, number: int) -> Faults:
        chosen = settings.fault_sessions
        if chosen is not None and number not in chosen:
            return Faults()
        return Faults(tuple(fault for fault in settings.faults if fault.session in (None, number)))

    async def _handshake(self, socket: ServerConnection, request: Request) -> Response | None:
        model = _model_of(request.path)
        settings = self._settings(model)
        profile = model if model in self.settings.profiles else ""
        self._connections[profile] += 1
        number = self._numbers[socket] = self._connections[profile]
        faults = self._faults(settings, number)
        wait = faults.number("slow-handshake", 3)
        if wait is not None:
            await asyncio.sleep(wait * settings.time_scale)
        refusal = self._refusal(request, faults)
        if refusal is None:
            return None
        status, code, message = refusal
        del self._numbers[socket]
        self.ledger.add("handshake_refused", "", model=model, number=number, status=status.value, code=code)
        kind = "invalid_request_error"
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
        response = socket.respond(status, json.dumps(body))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _refusal(self, request: Request, faults: Faults) -> tuple[HTTPStatus, str, str] | None:
        rejected = faults.number("reject", 429)
        if rejected is not None:
            codes = {
                401: "invalid_api_key",
                403: "unsupported_country",
                404: "model_not_found",
                429: "insufficient_quota",
            }
            code = codes.get(int(rejected), "server_error")
            return HTTPStatus(int(rejected)), code, f"Simulated {code}."
        if urlsplit(request.path).path != PATH:
            return HTTPStatus.NOT_FOUND, "unknown_url", f"Unknown request URL: GET {urlsplit(request.path).path}."
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key or self.settings.api_key not in (None, key):
            return HTTPStatus.UNAUTHORIZED, "invalid_api_key", "Incorrect API key provided."
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        number = self._numbers.pop(socket)
        model = _model_of(socket.request.path)
        settings = self._settings(model)
        outbox = Outbox(socket)
        core = Core(settings, self._faults(settings, number), self.ledger, outbox, model, number)
        session = Session(core, self._hearing, number)
        self.sessions.append(session)
        writer = asyncio.create_task(self._write(outbox))
        try:
            self._open(session, socket.request.headers, model)
            async for frame in socket:
                session.receive(frame)
        except ConnectionClosed:
            pass  # an abnormal end is an end; the ledger has its code
        finally:
            session.closed(socket.close_code)
            self.sessions.remove(session)
            writer.cancel()
            await asyncio.wait([writer])

    async def _write(self, outbox: Outbox) -> None:
        with suppress(ConnectionClosed):
            await outbox.run()

    def _open(self, session: Session, headers: Mapping[str, str], model: str) -> None:
        session.open({name.lower(): headers[name] for name in NOTED_HEADERS if name in headers})
        if "OpenAI-Beta" in headers:
            message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
            session.turn_away("beta_api_shape_disabled", message)
        elif model not in self.settings.models and model not in self.settings.profiles:
            session.turn_away("model_not_found", f"The model `{model}` does not exist or you do not have access to it.")
