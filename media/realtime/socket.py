"""A websocket to a speech model's server, by picows: what is sent leaves at once, what comes is kept until asked for.

Measured against the openai package's own connection (websockets), for everything a call does: performance 3.3.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import ssl
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
)
from picows import ws_connect as picows_connect

IDLE_SECONDS = 20.0  # without a frame, and then without a pong: the server is gone
_NO_STATUS, _ABNORMAL = 1005, 1006  # RFC 6455 §7.4.1: never on the wire
_TOO_BIG = 1009
_TEXT = WSMsgType.TEXT  # looked up once: finding a member of an enumeration costs as much as reading a frame

_logger = logging.getLogger("picows.client")
_logger.setLevel(logging.WARNING)  # it tells of every connection


class Refused(Exception):
    """The server answered the upgrade with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class SocketClosed(Exception):
    """The other side, or the network, has ended it. `code`: of the close, 1006 when there was none."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class ModelSocket(WSListener):
    """Made by `connect`. One reader at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._inbox: deque[bytes] = deque()
        self._reader: Callable[[bytes], None] | None = None
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._transport: WSTransport
        self.writable = True  # it is open, and the other side has read what was sent, but for what fits into a buffer
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._gone = asyncio.Event()
        self._code = _ABNORMAL

    # --- What we do ------------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next message. Raise SocketClosed when there will be none."""
        while not self._inbox:
            if self._gone.is_set():
                raise SocketClosed(self._code)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._inbox.popleft()

    def read_by(self, reader: Callable[[bytes], None]) -> None:
        """Give every message to `reader`, as it comes and with no task in between; `receive` then waits for the end."""
        self._reader = reader
        while self._inbox:
            reader(self._inbox.popleft())

    def send_now(self, message: bytes) -> None:
        """Whoever does not look at `writable` first fills this process's memory."""
        self._transport.send(_TEXT, message)

    async def send(self, message: bytes) -> None:
        """Raise SocketClosed."""
        await self._may_write.wait()
        if self._is_closing:
            raise SocketClosed(self._code)
        self.send_now(message)

    def abandon(self) -> None:
        """Leave without waiting for an answer."""
        self._send_close(WSCloseCode.OK)
        self._transport.disconnect()

    async def close(self) -> None:
        """Say goodbye, and wait until the other side has, which the caller may tire of."""
        if self._gone.is_set():
            return
        self._send_close(WSCloseCode.OK)
        try:
            await self._gone.wait()
        finally:
            self._transport.disconnect(False)

    @property
    def _is_closing(self) -> bool:
        return self._gone.is_set() or self._transport.is_close_frame_sent

    def _send_close(self, code: WSCloseCode) -> None:
        self.writable = False
        if not self._transport.is_close_frame_sent:
            self._transport.send_close(code)

    # --- What picows tells -----------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT:
            self._got(frame)
        elif kind == WSMsgType.CLOSE:
            self._code = int(cast(Any, frame.get_close_code())) or _NO_STATUS
            self._send_close(WSCloseCode.OK)
            transport.disconnect()
        elif kind in (WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._got(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.writable = False
        self._gone.set()
        self._may_write.set()
        self._wake_reader()
        self._reader = None  # it has us: without a circle a call's memory is free at its end, with no collection

    def pause_writing(self) -> None:
        self.writable = False
        self._may_write.clear()

    def resume_writing(self) -> None:
        self.writable = not self._is_closing
        self._may_write.set()

    def _got(self, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        if self._parts or not frame.fin:
            self._parts.append(payload)
            if sum(map(len, self._parts)) > self._max_bytes:
                self._code = _TOO_BIG
                self._send_close(WSCloseCode.MESSAGE_TOO_BIG)
                self._transport.disconnect()
                return
            if not frame.fin:
                return
            payload, self._parts = b"".join(self._parts), []
        if self._reader is not None:
            self._reader(payload)
            return
        self._inbox.append(payload)
        self._wake_reader()

    def _wake_reader(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def connect(url: str, headers: Mapping[str, str], max_bytes: int) -> ModelSocket:
    """Open a socket; the caller sets the time limit. Raise Refused, OSError (DNS, TLS, routing), WSError."""
    parts = urlsplit(url)
    try:
        _, listener = await picows_connect(
            lambda: ModelSocket(max_bytes),
            url,
            ssl_context=_tls() if parts.scheme == "wss" else None,
            websocket_handshake_timeout=None,
            logger_name=cast(Any, _logger),
            enable_auto_ping=True,
            auto_ping_idle_timeout=IDLE_SECONDS,
            auto_ping_reply_timeout=IDLE_SECONDS,
            auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            max_frame_size=max_bytes,
            extra_headers=dict(headers),
            max_redirects=0,
            proxy=_proxy(parts.scheme, parts.hostname or ""),
            use_aiofastnet=False,
        )
    except WSInvalidStatusError as error:
        response = error.response
        raise Refused(int(response.status) if response is not None else 0) from error
    if listener is None:  # the other side left in the middle of it
        raise WSError("no handshake")
    return cast(ModelSocket, listener)


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY ...) for that host, as every other client here takes it."""
    if _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get("https" if scheme == "wss" else "http")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
