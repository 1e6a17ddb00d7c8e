"""A TCP proxy that can misbehave: in front of Redis, of PostgreSQL and, as a balancer, of the web processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Literal

Mode = Literal["pass", "refuse", "blackhole", "delay", "reset"]

CHUNK = 65536


class Proxy:
    """Runs in a thread of its own until `close`. `use` changes what it does, for connections that are open too.

    pass: forward. refuse: nobody listens, what was open is reset. blackhole: connections open, and nothing moves until
    it passes again, as with dropped packets. delay: each piece waits `delay_seconds`. reset: forwards half of the
    next piece and resets the connection, once for each connection.
    """

    def __init__(self, *upstreams: int) -> None:
        self.upstreams = list(upstreams)  # ports on 127.0.0.1; one that refuses is passed over
        self.delay_seconds = 0.2
        self.trapped = threading.Event()
        self._needles: tuple[bytes, ...] = ()
        self._let_through = False
        self._mode: Mode = "pass"
        self._turn = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def use(self, mode: Mode) -> None:
        self._do(self._use(mode))

    def trap(self, *needles: bytes, let_through: bool = False) -> None:
        """From now on, on the way to the server, whoever sends a piece with all the needles in it is held there, until
        `release` resets the connection. `let_through`: the piece still arrives. `trapped` is set when it happens."""
        self.trapped.clear()
        self._needles, self._let_through = needles, let_through

    def release(self) -> None:
        self._needles = ()
        self._do(self._release())

    def close(self) -> None:
        if self._thread.is_alive():
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._moving = asyncio.Event()
        self._moving.set()
        self._released = asyncio.Event()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _release(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    async def _use(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "blackhole":
            self._moving.clear()
        else:
            self._moving.set()
        if mode == "refuse":
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._writers):
                _reset(writer)
        elif self._server is None:
            await self._listen()

    async def _close(self) -> None:
        await self._use("refuse")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._moving.wait()
            upstream = await self._connect()
            if upstream is None:
                _reset(writer)
                return
            self._writers.add(upstream[1])
            ways = (self._pipe(reader, upstream[1], to_server=True), self._pipe(upstream[0], writer))
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(upstream[1])
            upstream[1].close()
        except asyncio.CancelledError:
            _reset(writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += 1
        ports = list(self.upstreams)
        for number in range(len(ports)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", ports[(self._turn + number) % len(ports)])
        return None

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool = False
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                await self._moving.wait()
                if self._mode == "delay":
                    await asyncio.sleep(self.delay_seconds)
                if self._mode == "reset" and len(data) > 1:
                    writer.write(data[: len(data) // 2])
                    await writer.drain()
                    _reset(writer)
                    return
                if to_server and self._needles and all(needle in data for needle in self._needles):
                    await self._hold(data, writer)
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            _reset(writer)
        finally:
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _hold(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self._let_through:
            writer.write(data)
            await writer.drain()
        self._needles = ()  # one is enough
        released = self._released
        self.trapped.set()
        await released.wait()
        _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: the other side reads an error, not an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
