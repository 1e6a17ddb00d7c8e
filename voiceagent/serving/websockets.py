"""Websockets for uvicorn by picows: a handshake as ASGI has it, then picows' protocol on the same socket.

Why our own: a media stream is 50 small messages a second in each direction, and what the ready-made protocols of
uvicorn do for each of them is most of what a call costs (performance 3.1, docs/performance.md). Whoever distrusts it
sets WEB_SERVER=daphne: nothing else depends on this file.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import unquote

from picows import WSAutoPingStrategy, WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeResponse
from picows.common import WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in its stubs: what ws_create_server makes
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

HANDSHAKE_SECONDS = 15.0  # for the application to accept or refuse: as long as Twilio waits
IDLE_SECONDS = 20.0  # without a frame, and then without a pong: the peer is gone
CLOSING_SECONDS = 5.0  # for the peer to answer our close
_NO_STATUS, _ABNORMAL = 1005, 1006  # RFC 6455 §7.4.1: never on the wire
_TEXT = WSMsgType.TEXT  # looked up once: finding a member of an enumeration costs as much as reading a frame

_logger = logging.getLogger("voiceagent.websockets")
_picows_logger = logging.getLogger("picows.server")
_picows_logger.setLevel(logging.WARNING)  # it tells of every connection


class WebsocketConnection(asyncio.Protocol):
    """One connection that asked for an upgrade. Uvicorn makes it, and hands it the socket and the request."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._connections = server_state.connections
        self._tasks = server_state.tasks
        self._loop = _loop or asyncio.get_running_loop()
        self._request = b""
        self._inbox: deque[dict[str, Any]] = deque()
        self._waiter: asyncio.Future[None] | None = None  # the application waits for a message
        self._reader: Callable[[bytes], bool] | None = None
        self._socket: asyncio.Transport
        self._websocket: WSTransport | None = None  # from the moment of acceptance
        self._writable = asyncio.Event()
        self._writable.set()
        self._answered = False  # accepted, or refused
        self._gone = False
        self._deadline: asyncio.TimerHandle | None = None

    # --- The handshake ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._connections.add(self)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        begins = not self._request
        self._request += data  # a client that does not wait for our answer: kept for after it
        if len(self._request) > self._config.ws_max_size:
            self._socket.abort()
        elif begins:
            self._deadline = self._loop.call_later(HANDSHAKE_SECONDS, self._socket.abort)
            task = self._loop.create_task(self._run(self._scope()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """Before it was accepted; afterwards picows has the socket."""
        self.lost(_ABNORMAL)

    def shutdown(self) -> None:
        """Uvicorn is about to end; whoever is still here is told to come again."""
        if self._websocket is not None:
            self._websocket.send_close(WSCloseCode.SERVICE_RESTART)
        else:
            self._refuse(503, b"Service Unavailable")

    def _scope(self) -> dict[str, Any]:
        head, *lines = self._request.partition(b"\r\n\r\n")[0].split(b"\r\n")
        target = head.split(b" ")[1]
        path, _, query = target.partition(b"?")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        protocols = b",".join(value for name, value in headers if name == b"sec-websocket-protocol").decode("latin-1")
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._socket) else "ws",
            "server": get_local_addr(self._socket),
            "client": get_remote_addr(self._socket),
            "root_path": self._config.root_path,
            "path": unquote(path.decode("ascii", "replace")),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "subprotocols": [word.strip() for word in protocols.split(",") if word.strip()],
            "extensions": {"voiceagent.direct": {"write": self.write, "read": self._read_by}},
        }

    async def _run(self, scope: dict[str, Any]) -> None:
        self._inbox.append({"type": "websocket.connect"})
        try:
            await self._config.loaded_app(scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:
            _logger.exception("websocket application failed", extra={"client": get_client_addr(cast(Any, scope))})
        if self._websocket is not None:
            self._close(1000 if self._gone else 1011)
        else:
            self._refuse(500, b"Internal Server Error")

    def _refuse(self, status: int, reason: bytes) -> None:
        if self._answered or self._gone:
            return
        self._answered = True
        self._stop_the_clock()
        head = b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
        self._socket.write(head % (status, reason, len(reason), reason))
        self._socket.close()

    def _accept(self, message: dict[str, Any]) -> None:
        self._answered = True
        self._stop_the_clock()
        extra = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers") or ()]
        if message.get("subprotocol"):
            extra.append(("Sec-WebSocket-Protocol", message["subprotocol"]))
        answer = WSUpgradeResponse.create_101_response(extra)
        listener = _Listener(self, self._config.ws_max_size)
        protocol = WSProtocol(
            *(None, None, False),  # whom to connect to: nobody, we are the server
            lambda _request: WSUpgradeResponseWithListener(answer, listener),
            _picows_logger,
            True,  # an exception of ours ends the connection
            *(None, True, IDLE_SECONDS, IDLE_SECONDS, WSAutoPingStrategy.PING_WHEN_IDLE, True),
            *(self._config.ws_max_size, None, 4096),
        )
        # Reading is begun anew, since a transport reads into the buffer of its protocol, or not, from the start.
        self._socket.pause_reading()
        protocol.connection_made(self._socket)
        self._socket.set_protocol(protocol)
        _feed(protocol, self._request)
        self._request = b""
        if not self._gone:
            self._socket.resume_reading()

    def _stop_the_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # --- What the application asks for -----------------------------------------------------------------------

    async def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._inbox.popleft()

    async def _send(self, message: Any) -> None:
        match message["type"]:
            case "websocket.send":
                await self._writable.wait()
                self._write(message)
            case "websocket.accept":
                if self._gone:
                    raise ClientDisconnected
                self._accept(message)
            case "websocket.close" if self._websocket is None:
                self._refuse(403, b"Forbidden")
            case "websocket.close":
                self._close(message.get("code") or 1000)
            case kind:
                raise RuntimeError(f"a websocket does not know {kind}")

    def write(self, texts: Sequence[bytes]) -> bool:
        """Send texts now. False, and nothing is sent: the peer has not read what was sent before, or is gone."""
        if self._gone or self._websocket is None or not self._writable.is_set():
            return False
        if len(texts) == 1:
            self._websocket.send(_TEXT, texts[0])
        else:  # one packet and one system call for all of them: picows makes one for each
            self._websocket.underlying_transport.write(b"".join([part for text in texts for part in _frame(text)]))
        return True

    def _read_by(self, reader: Callable[[bytes], bool]) -> None:
        self._reader = reader

    def _write(self, message: dict[str, Any]) -> None:
        if self._gone or self._websocket is None:
            raise ClientDisconnected
        text = message.get("text")
        if text is not None:
            self._websocket.send(_TEXT, text.encode())
        else:
            self._websocket.send(WSMsgType.BINARY, message["bytes"])

    def _close(self, code: int) -> None:
        if self._gone or self._websocket is None or self._websocket.is_close_frame_sent:
            return
        self._websocket.send_close(cast(WSCloseCode, code))
        self._deadline = self._loop.call_later(CLOSING_SECONDS, self._websocket.disconnect, False)

    # --- What the peer does ----------------------------------------------------------------------------------

    def opened(self, websocket: WSTransport) -> None:
        self._websocket = websocket

    def reads(self, text: bytes) -> bool:
        """Give the application a text at once, if it takes it that way."""
        return not self._inbox and self._reader is not None and self._reader(text)  # texts keep their order

    def got(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def lost(self, code: int) -> None:
        if self._gone:
            return
        self._gone = True
        self._stop_the_clock()
        self._connections.discard(self)
        self._writable.set()  # whoever waits to write learns that it is too late
        self.got({"type": "websocket.disconnect", "code": code})
        # They have us: without a circle a call's memory is free at its end, and no collection stops the others for it.
        self._reader = self._websocket = None

    def may_write(self, allowed: bool) -> None:
        if allowed:
            self._writable.set()
        else:
            self._writable.clear()


class _Listener(WSListener):
    """What picows says of the connection: whole messages from frames, and how it ended."""

    def __init__(self, connection: WebsocketConnection, max_bytes: int) -> None:
        self._connection = connection
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._is_text = True
        self._code = _ABNORMAL

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._connection.opened(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT and frame.fin and not self._parts:  # 50 times a second in every call
            if self._connection.reads(frame.get_payload_as_bytes()):
                return
            try:
                text = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self._end(transport, WSCloseCode.INVALID_TEXT)
                return
            self._connection.got({"type": "websocket.receive", "text": text})
        elif kind == WSMsgType.CLOSE:
            self._closed(transport, frame)
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._part(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._connection.lost(self._code)

    def pause_writing(self) -> None:
        self._connection.may_write(False)

    def resume_writing(self) -> None:
        self._connection.may_write(True)

    def _closed(self, transport: WSTransport, frame: WSFrame) -> None:
        code = int(cast(Any, frame.get_close_code()))
        self._code = code or _NO_STATUS
        if not transport.is_close_frame_sent:
            transport.send_close(cast(WSCloseCode, code or 1000))
        transport.disconnect()

    def _part(self, transport: WSTransport, frame: WSFrame) -> None:
        """Of a message in several frames, or of bytes (RFC 6455 §5.4)."""
        goes_on = frame.msg_type == WSMsgType.CONTINUATION
        if goes_on != bool(self._parts):
            self._end(transport, WSCloseCode.PROTOCOL_ERROR)
            return
        if not goes_on:
            self._is_text = frame.msg_type == WSMsgType.TEXT
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > self._max_bytes:
            self._end(transport, WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            whole, self._parts = b"".join(self._parts), []
            try:
                content = {"text": whole.decode()} if self._is_text else {"bytes": whole}
            except UnicodeDecodeError:
                self._end(transport, WSCloseCode.INVALID_TEXT)
                return
            self._connection.got({"type": "websocket.receive", **content})

    def _end(self, transport: WSTransport, code: WSCloseCode) -> None:
        self._parts = []
        transport.send_close(code)
        transport.disconnect()


def _frame(text: bytes) -> tuple[bytes, bytes]:
    """A whole text message of a server, which does not mask: its head, and the text (RFC 6455 §5.2)."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)), text
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big"), text
    return b"\x81\x7f" + size.to_bytes(8, "big"), text


def _feed(protocol: Any, data: bytes) -> None:
    """Give a protocol that reads into its own buffer what was read before it."""
    while data:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
