"""Websockets by picows under uvicorn: what ASGI promises an application, with real sockets and a strict client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from django.test import SimpleTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from voiceagent import serving
from voiceagent.serving.websockets import WebsocketConnection

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
LIMIT = 10_000


@asynccontextmanager
async def served(app: App) -> AsyncIterator[str]:
    """The application on a free port; yields the address."""
    config = uvicorn.Config(
        app, ws=WebsocketConnection, ws_max_size=LIMIT, lifespan="off", log_config=None, access_log=False, loop="none"
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def _client(url: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(url, proxy=None, compression=None, **options) as client:
        yield client


class Recorder:
    """An application that accepts, answers each text with itself, and notes all it was told."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self.over = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        try:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept"})
            await self.talk(receive, send)
        finally:
            self.over.set()

    async def talk(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            self.messages.append(message)
            await send({"type": "websocket.send", "text": str(message.get("text", message.get("bytes")))})
        self.messages.append(message)

    @property
    def closed_with(self) -> int:
        assert self.messages[-1]["type"] == "websocket.disconnect"
        code = self.messages[-1]["code"]
        assert isinstance(code, int)
        return code


class HandshakeTest(SimpleTestCase):
    async def test_the_scope_is_what_was_asked_for(self) -> None:
        app = Recorder()
        async with served(app) as url, _client(f"{url}/a%2Fb/?x=1", additional_headers={"X-Twilio-Signature": "s="}):
            scope = app.scope
        self.assertEqual((scope["type"], scope["path"], scope["query_string"]), ("websocket", "/a/b/", b"x=1"))
        self.assertEqual(scope["raw_path"], b"/a%2Fb/")
        self.assertIn((b"x-twilio-signature", b"s="), scope["headers"])
        self.assertEqual(scope["client"][0], "127.0.0.1")

    async def test_who_is_refused_gets_403_and_no_upgrade(self) -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "websocket.close"})

        async with served(app) as url:
            with self.assertRaises(InvalidStatus) as refused:
                async with _client(url):
                    pass
        self.assertEqual(refused.exception.response.status_code, 403)

    async def test_an_application_that_fails_before_it_has_decided_is_a_500(self) -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            raise ValueError("a mistake")

        async with served(app) as url:
            with self.assertLogs("voiceagent.websockets", "ERROR"), self.assertRaises(InvalidStatus) as refused:
                async with _client(url):
                    pass
        self.assertEqual(refused.exception.response.status_code, 500)


class MessagesTest(SimpleTestCase):
    async def test_texts_and_bytes_come_and_go_in_order(self) -> None:
        app = Recorder()
        async with served(app) as url, _client(url) as client:
            for number in range(200):
                await client.send(f"nr {number}, Grüezi")
            self.assertEqual([await client.recv() for _ in range(200)], [f"nr {n}, Grüezi" for n in range(200)])
            await client.send(b"\x00\xff")
            await client.recv()
            self.assertEqual(app.messages[-1], {"type": "websocket.receive", "bytes": b"\x00\xff"})

    async def test_a_message_in_several_frames_is_one(self) -> None:
        app = Recorder()
        async with served(app) as url, _client(url) as client:
            await client.send(["one, ", "two, ", "three"])
            self.assertEqual(await client.recv(), "one, two, three")

    async def test_what_is_too_big_ends_the_connection_in_one_frame_or_in_many(self) -> None:
        for message in ("x" * (LIMIT + 1), ["x" * 4_000] * 3):
            app = Recorder()
            async with served(app) as url:
                with self.assertRaises(ConnectionClosed) as closed:
                    async with _client(url) as client:
                        await client.send(message)
                        await client.recv()
                assert closed.exception.rcvd is not None
                self.assertEqual(closed.exception.rcvd.code, 1009)
                await asyncio.wait_for(app.over.wait(), 5)

    async def test_what_is_no_utf_8_ends_it(self) -> None:
        async with served(Recorder()) as url:
            with self.assertRaises(ConnectionClosed) as closed:
                async with _client(url) as client:
                    frame = Frame(Opcode.TEXT, b"\xff\xfe")
                    client.transport.write(frame.serialize(mask=True))
                    await client.recv()
            assert closed.exception.rcvd is not None
            self.assertEqual(closed.exception.rcvd.code, 1007)

    async def test_pings_are_answered(self) -> None:
        async with served(Recorder()) as url, _client(url) as client:
            await asyncio.wait_for(await client.ping(), 5)


class EndingTest(SimpleTestCase):
    async def test_each_side_learns_the_others_code(self) -> None:
        app = Recorder()
        async with served(app) as url:
            async with _client(url) as client:
                await client.close(4001)
            await asyncio.wait_for(app.over.wait(), 5)
        self.assertEqual(app.closed_with, 4001)

    async def test_the_application_closes_with_a_code_of_its_own(self) -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4008})

        async with served(app) as url, _client(url) as client:
            await client.wait_closed()
            self.assertEqual(client.close_code, 4008)

    async def test_a_connection_that_breaks_is_1006_and_writing_to_it_says_so(self) -> None:
        failed: list[BaseException] = []

        class Writer(Recorder):
            async def talk(self, receive: Receive, send: Send) -> None:
                await super().talk(receive, send)
                try:
                    await send({"type": "websocket.send", "text": "too late"})
                except OSError as error:
                    failed.append(error)

        app = Writer()
        async with served(app) as url:
            async with _client(url) as client:
                client.transport.abort()
            await asyncio.wait_for(app.over.wait(), 5)
        self.assertEqual((app.closed_with, len(failed)), (1006, 1))


class DirectTest(SimpleTestCase):
    """The extension that spares the call path its tasks."""

    async def test_texts_go_to_the_reader_in_order_until_it_declines_one(self) -> None:
        taken: list[bytes] = []

        class Direct(Recorder):
            async def talk(self, receive: Receive, send: Send) -> None:
                def read(text: bytes) -> bool:
                    if text.startswith(b"queue"):
                        return False
                    taken.append(text)
                    return True

                self.scope["extensions"]["voiceagent.direct"]["read"](read)
                await super().talk(receive, send)

        app = Direct()
        async with served(app) as url, _client(url) as client:
            for text in ("one", "two", "queue 1", "three", "queue 2"):
                await client.send(text)
            while (await client.recv()) != "queue 2":
                pass
        queued = [message["text"] for message in app.messages if message["type"] == "websocket.receive"]
        self.assertEqual(taken[:2], [b"one", b"two"])
        self.assertEqual(sorted([*map(bytes.decode, taken), *queued]), ["one", "queue 1", "queue 2", "three", "two"])
        self.assertEqual(queued, [text for text in ("queue 1", "three", "queue 2") if text in queued])

    async def test_texts_written_together_arrive_one_by_one_in_order(self) -> None:
        texts = ["", "x" * 125, "y" * 126, "z" * 65_535, "ä" * 40_000, "end"]

        class Together(Recorder):
            async def talk(self, receive: Receive, send: Send) -> None:
                write = self.scope["extensions"]["voiceagent.direct"]["write"]
                write([b"before"])
                write([text.encode() for text in texts])
                write([b"after"])
                await super().talk(receive, send)

        async with served(Together()) as url, _client(url) as client:
            received = [await asyncio.wait_for(client.recv(), 5) for _ in range(len(texts) + 2)]
        self.assertEqual(received, ["before", *texts, "after"])

    async def test_writing_says_when_the_peer_does_not_read(self) -> None:
        answers: list[bool] = []

        class Flood(Recorder):
            refused = asyncio.Event()

            async def talk(self, receive: Receive, send: Send) -> None:
                write = self.scope["extensions"]["voiceagent.direct"]["write"]
                while not answers or answers[-1]:
                    answers.append(write([b"x" * 9_000]))
                self.refused.set()
                await super().talk(receive, send)
                answers.append(write([b"gone"]))

        app = Flood()
        async with served(app) as url:
            async with _client(url, max_queue=1) as client:
                await asyncio.wait_for(app.refused.wait(), 5)
                client.transport.abort()
            await asyncio.wait_for(app.over.wait(), 5)
        self.assertEqual((answers[0], answers[-2:]), (True, [False, False]))


class ChoiceTest(SimpleTestCase):
    def test_every_server_that_can_be_chosen_is_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for name in serving.SERVERS:
                with self.subTest(name), self.assertRaises(serving.CannotListen):
                    serving.run(name, None, "127.0.0.1", taken.getsockname()[1], lambda _running: None)
