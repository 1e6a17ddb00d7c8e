"""A small server to call, with nothing of the product in it: webhooks and the media stream on one plain port."""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from simulators.carrier.audio import Tone, tone
from simulators.carrier.settings import Clip

_QUIET = logging.getLogger("tests.carrier_server")
_QUIET.setLevel(logging.CRITICAL)
HOST = "agent.example.com"
PUBLIC = f"https://{HOST}"
TOKEN = "12345"
ACCOUNT = "AC" + "a" * 32
STREAM = (
    f"<Response><Connect><Stream url='wss://{HOST}/media/'>"
    "<Parameter name='token' value='t1'/></Stream></Connect></Response>"
)
STREAM_AND_ACTION = STREAM.replace("<Connect>", "<Connect action='/ended/'>")
BYE = "<Response><Hangup/></Response>"

# The caller's words: short tones instead of speech, so that tests are quick.
CLIPS = {name: Tone(name, f"words of {name}", tone(440, 200)) for name in ("hello", "wait", "bye")}


def clips(name: str) -> Clip:
    return CLIPS[name]


@dataclass
class Hit:
    """One HTTP request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    params: dict[str, str]


Reply = tuple[int, str, dict[str, str]]


def xml(body: str) -> Reply:
    return 200, body, {"Content-Type": "text/xml"}


class Peer:
    """The server's end of one stream: what came, and the three messages it may send."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.stream_sid = ""
        self.messages: list[dict[str, Any]] = []

    async def read(self) -> dict[str, Any]:
        message = json.loads(await self.socket.recv())
        self.messages.append(message)
        if message["event"] == "start":
            self.stream_sid = message["streamSid"]
        return dict(message)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                message = await self.read()
                if wanted(message):
                    return message

    async def frames(self, count: int) -> None:
        for _ in range(count):
            await self.until(lambda message: message["event"] == "media")

    async def started(self) -> None:
        await self.until(lambda message: message["event"] == "start")

    async def play(self, audio: bytes, mark: str = "") -> None:
        await self.send({"event": "media", "media": {"payload": base64.b64encode(audio).decode()}})
        if mark:
            await self.send({"event": "mark", "mark": {"name": mark}})

    async def marked(self, name: str) -> None:
        await self.until(lambda message: message["event"] == "mark" and message["mark"]["name"] == name)

    async def send(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps({"streamSid": self.stream_sid, **message}))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == name]

    async def drain(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self.read()


async def listen_only(peer: Peer) -> None:
    await peer.drain()


@dataclass
class Server:
    """`pages` answers by path (a Reply, or a function of the Hit), `talk` is what it does on a stream."""

    pages: dict[str, Reply | Callable[[Hit], Reply]] = field(default_factory=dict)
    talk: Callable[[Peer], Awaitable[None]] = listen_only
    refuse: Callable[[dict[str, str]], int] = lambda headers: 0
    hits: list[Hit] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    handshakes: list[dict[str, str]] = field(default_factory=list)
    address: tuple[str, int] = ("", 0)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def hits_of(self, path: str) -> list[Hit]:
        return [hit for hit in self.hits if urlsplit(hit.target).path == path]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        async with serve(
            self._stream, "127.0.0.1", 0, process_request=self._upgrade, ping_interval=None, logger=_QUIET
        ) as streams:
            behind = next(iter(streams.sockets)).getsockname()[1]

            async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                self._tasks.add(task)
                with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await self._connection(reader, writer, behind)
                self._tasks.discard(task)
                writer.close()

            listener = await asyncio.start_server(front, "127.0.0.1", 0)
            self.address = ("127.0.0.1", listener.sockets[0].getsockname()[1])
            try:
                yield self
            finally:
                listener.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        headers = {name.lower(): value for name, value in request.headers.raw_items()} | {":path": request.path}
        self.handshakes.append(headers)
        status = self.refuse(headers)
        return connection.respond(status, "no\n") if status else None

    async def _stream(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.peers.append(peer)
        with suppress(ConnectionClosed):
            await self.talk(peer)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: int) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        if headers.get("upgrade", "").lower() == "websocket":
            await self._splice(head, reader, writer, behind)
            return
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        query = urlsplit(target).query
        hit = Hit(method, target, headers, dict(parse_qsl(body or query, keep_blank_values=True)))
        self.hits.append(hit)
        page = self.pages.get(urlsplit(target).path, (404, "", {}))
        status, text, extra = page if isinstance(page, tuple) else await asyncio.to_thread(page, hit)
        fields = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n{fields}\r\n{text}".encode())
        await writer.drain()

    async def _splice(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, behind: int
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", behind)
        inner_writer.write(head)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        forth = asyncio.create_task(copy(reader, inner_writer))
        try:
            await copy(inner_reader, writer)
            await forth
        finally:
            forth.cancel()
            inner_writer.close()
