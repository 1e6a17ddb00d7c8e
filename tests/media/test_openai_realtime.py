"""The OpenAI Realtime client against a small server of its own: what it sends, and what becomes of every failure."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from unittest import mock

from django.test import SimpleTestCase, override_settings
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from media.engine.commands import CloseModel, ForwardAudio
from media.engine.events import CallerSpeechStarted, Event, ModelClosed, ModelError, ModelReady
from media.realtime import get_model
from media.realtime.base import ModelSession, ModelUnavailable
from tests.media.fakes import FRAME, agent

CREATED = {"type": "session.created", "event_id": "e1", "session": {"id": "sess_1", "expires_at": 1_900_000_000}}
UPDATED = {"type": "session.updated", "event_id": "e2", "session": {"id": "sess_1", "expires_at": 1_900_000_000}}
EXPIRED = {
    "type": "error",
    "event_id": "e3",
    "error": {
        "type": "invalid_request_error",
        "code": "session_expired",
        "message": "Your session hit the maximum duration of 60 minutes.",
    },
}
KEY = "sk-test-1"
SILENT = logging.getLogger("tests.media.model_server")
SILENT.setLevel(logging.CRITICAL)

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def model_server(handler: Handler, status: HTTPStatus | None = None) -> AsyncIterator[None]:
    """Serve the protocol by `handler` (or refuse every upgrade with `status`) and point the settings at it."""

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(status, "no") if status else None

    async with serve(handler, "127.0.0.1", 0, process_request=refuse, logger=SILENT) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1"):
            yield


async def say(connection: ServerConnection, *messages: dict[str, Any]) -> None:
    for message in messages:
        await connection.send(json.dumps(message))


async def take_events(session: ModelSession) -> list[Event]:
    async with asyncio.timeout(5):
        return [event async for events in session.events() for event in events]


async def never(connection: ServerConnection) -> None:
    raise AssertionError("the upgrade was to be refused")


class TraitsTests(SimpleTestCase):
    def test_it_neither_answers_nor_stops_by_itself_and_waits_as_long_as_it_is_told(self) -> None:
        traits = get_model().traits(agent(turn_detection={"type": "server_vad", "silence_duration_ms": 700}))
        self.assertEqual((traits.answers_itself, traits.cancels_itself, traits.silence_seconds), (False, False, 0.7))


class OpenTests(SimpleTestCase):
    async def refusal(self) -> ModelUnavailable:
        with self.assertRaises(ModelUnavailable) as raised:
            async with asyncio.timeout(5):
                await get_model().open(agent())
        return raised.exception

    async def test_it_names_the_model_configures_the_session_and_reports_that_it_is_ready(self) -> None:
        requests: list[Request] = []
        received: list[dict[str, Any]] = []

        async def handler(connection: ServerConnection) -> None:
            assert connection.request is not None
            requests.append(connection.request)
            await say(connection, CREATED)
            received.append(json.loads(await connection.recv()))
            await say(connection, UPDATED)
            received.append(json.loads(await connection.recv()))

        with override_settings(OPENAI_REALTIME_MODEL="gpt-realtime-9", OPENAI_TRANSCRIPTION_MODEL="gpt-transcribe-9"):
            async with model_server(handler):
                session = await get_model().open(agent(voice="cedar", instructions="Be brief."))
                await session.perform(ForwardAudio(FRAME))
                events = await take_events(session)
        (request,) = requests
        self.assertEqual(request.path, "/v1/realtime?model=gpt-realtime-9")
        self.assertEqual(request.headers["Authorization"], f"Bearer {KEY}")
        self.assertNotIn("OpenAI-Beta", request.headers)
        self.assertNotIn("Sec-WebSocket-Extensions", request.headers)
        update, append = received
        self.assertEqual((update["type"], update["session"]["instructions"]), ("session.update", "Be brief."))
        audio = update["session"]["audio"]
        self.assertEqual(audio["input"]["transcription"]["model"], "gpt-transcribe-9")
        self.assertEqual((audio["input"]["format"], audio["output"]["format"]), ({"type": "audio/pcmu"},) * 2)
        self.assertEqual(audio["output"]["voice"], "cedar")
        self.assertEqual([tool["name"] for tool in update["session"]["tools"]], ["end_call"])
        self.assertEqual((append["type"], append["audio"]), ("input_audio_buffer.append", FRAME))
        self.assertEqual(events, [ModelReady("sess_1", 1_900_000_000), ModelClosed("closed_1000")])

    async def test_the_agent_may_name_other_models_than_the_settings(self) -> None:
        paths: list[str] = []
        updates: list[dict[str, Any]] = []

        async def handler(connection: ServerConnection) -> None:
            assert connection.request is not None
            paths.append(connection.request.path)
            await say(connection, CREATED)
            updates.append(json.loads(await connection.recv()))

        async with model_server(handler):
            session = await get_model().open(agent(model="own-model", transcription_model="own-ears"))
            await take_events(session)
        self.assertEqual(paths, ["/v1/realtime?model=own-model"])
        self.assertEqual(updates[0]["session"]["audio"]["input"]["transcription"]["model"], "own-ears")

    async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(self) -> None:
        async def handler(connection: ServerConnection) -> None:
            await say(connection, CREATED)
            await connection.recv()

        proxies = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        with mock.patch.dict("os.environ", proxies):
            async with model_server(handler):
                session = await get_model().open(agent())
                await session.close()

    async def test_a_refused_upgrade_is_named_by_its_status(self) -> None:
        cases = [(HTTPStatus.UNAUTHORIZED, "http_401", True), (HTTPStatus.TOO_MANY_REQUESTS, "http_429", False)]
        for status, code, permanent in cases:
            with self.subTest(status=status):
                async with model_server(never, status):
                    refusal = await self.refusal()
                self.assertEqual((refusal.code, refusal.permanent), (code, permanent))

    async def test_nobody_listening(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=url):
            self.assertEqual((await self.refusal()).code, "connection_refused")

    async def test_a_server_that_does_not_answer_the_upgrade(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
            with (
                override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=url),
                mock.patch("media.realtime.openai_realtime.OPEN_TIMEOUT_SECONDS", 0.1),
            ):
                self.assertEqual((await self.refusal()).code, "handshake_timeout")

    async def test_a_server_that_accepts_and_then_says_nothing(self) -> None:
        async def handler(connection: ServerConnection) -> None:
            await connection.wait_closed()

        with mock.patch("media.realtime.openai_realtime.OPEN_TIMEOUT_SECONDS", 0.2):
            async with model_server(handler):
                self.assertEqual((await self.refusal()).code, "handshake_timeout")

    async def test_a_server_that_speaks_no_websocket(self) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            with override_settings(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=url):
                self.assertEqual((await self.refusal()).code, "handshake_failed")

    async def test_an_error_in_place_of_the_session(self) -> None:
        error = {"type": "invalid_request_error", "code": "insufficient_quota", "message": "canary-message"}

        async def handler(connection: ServerConnection) -> None:
            await say(connection, {"type": "error", "event_id": "e1", "error": error})
            await connection.wait_closed()

        async with model_server(handler):
            refusal = await self.refusal()
        self.assertEqual((refusal.code, refusal.permanent), ("insufficient_quota", True))
        self.assertNotIn("canary", str(refusal))

    async def test_a_close_in_place_of_the_session(self) -> None:
        async def handler(connection: ServerConnection) -> None:
            await connection.close(1011)

        async with model_server(handler):
            self.assertEqual((await self.refusal()).code, "closed_1011")

    async def test_without_a_key_nothing_is_dialled(self) -> None:
        with override_settings(OPENAI_API_KEY=""):
            refusal = await self.refusal()
        self.assertEqual((refusal.code, refusal.permanent), ("no_api_key", True))


class SessionTests(SimpleTestCase):
    @asynccontextmanager
    async def session(self, then: Handler) -> AsyncIterator[ModelSession]:
        """An open, configured session; `then` is what the server does next."""

        async def handler(connection: ServerConnection) -> None:
            await say(connection, CREATED)
            await connection.recv()
            await then(connection)

        async with model_server(handler):
            yield await get_model().open(agent())

    async def test_an_expired_session_is_no_normal_end_though_it_closes_like_one(self) -> None:
        async def expire(connection: ServerConnection) -> None:
            await say(connection, EXPIRED)
            await connection.close(1001)

        async with self.session(expire) as session:
            events = await take_events(session)
        self.assertEqual(events, [ModelError("session_expired", fatal=True), ModelClosed("session_expired")])

    async def test_other_ends_are_named_by_their_close_code(self) -> None:
        for code in (1000, 1001, 1011):
            with self.subTest(code=code):

                async def close(connection: ServerConnection, code: int = code) -> None:
                    await connection.close(code)

                async with self.session(close) as session:
                    self.assertEqual(await take_events(session), [ModelClosed(f"closed_{code}")])

    async def test_what_the_model_says_is_handed_over_at_once_and_its_end_is_yielded(self) -> None:
        async def speak(connection: ServerConnection) -> None:
            for item_id in ("item_1", "item_2"):
                await say(connection, {"type": "input_audio_buffer.speech_started", "item_id": item_id})
            await connection.close(1000)

        said: list[list[Event]] = []
        async with self.session(speak) as session, asyncio.timeout(5):
            yielded = [events async for events in session.events(said.append)]
        self.assertEqual(said, [[CallerSpeechStarted("item_1")], [CallerSpeechStarted("item_2")]])
        self.assertEqual(yielded, [[ModelClosed("closed_1000")]])

    async def test_a_socket_that_just_breaks(self) -> None:
        async def abort(connection: ServerConnection) -> None:
            connection.transport.abort()

        async with self.session(abort) as session:
            self.assertEqual(await take_events(session), [ModelClosed("closed_1006")])

    async def test_sending_to_a_session_that_is_gone_says_so(self) -> None:
        async def close(connection: ServerConnection) -> None:
            await connection.close(1011)

        async with self.session(close) as session:
            await take_events(session)
            with self.assertRaises(ModelUnavailable) as raised:
                await session.perform(ForwardAudio(FRAME))
        self.assertEqual(raised.exception.code, "closed_1011")

    async def test_closing_ends_the_session_at_the_server_and_may_be_repeated(self) -> None:
        closed: list[int | None] = []

        async def wait(connection: ServerConnection) -> None:
            await connection.wait_closed()
            closed.append(connection.close_code)

        async with self.session(wait) as session:
            await session.perform(CloseModel())
            await session.close()
            self.assertEqual(await take_events(session), [ModelClosed("closed_1000")])
        self.assertEqual(closed, [1000])
