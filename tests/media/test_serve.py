"""`manage.py serve` as a process: a real socket, and a stop that loses no record."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import SimpleTestCase, TransactionTestCase
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from businesses import demo
from businesses.models import AgentVersion
from calls.models import CallLog
from simulators.model import ModelServer, ModelSettings
from tests.e2e.processes import Child, python
from tests.e2e.system import database_url
from tests.media.fakes import ACCOUNT_SID, CALL_SID, STREAM_SID, eventually
from tests.media.twilio_side import AUTH_TOKEN, SETTINGS, issue, signature

KEY = "sk-serve"


class Server:
    """`serve` on a free port, as a child process with an environment of its own."""

    def __init__(self, directory: str, environment: dict[str, str], *options: str) -> None:
        quiet = {"VOICEAGENT_VAR": directory, "SECRET_KEY": settings.SECRET_KEY, **environment}
        arguments = python("manage.py", "serve", *(options or ("--port", "0")))
        self.child = Child("web", arguments, quiet, Path(directory))

    def port(self) -> int:
        self.child.wait_for_output("Listening on http://")
        found = re.search(r"Listening on http://127\.0\.0\.1:(\d+)", self.child.output())
        assert found
        return int(found[1])


class StartAndStopTests(SimpleTestCase):
    def start(self, *options: str) -> Server:
        directory = self.enterContext(tempfile.TemporaryDirectory(prefix="va-serve-"))
        server = Server(directory, {"REDIS_URL": "redis://127.0.0.1:1/0"}, *options)
        self.addCleanup(server.child.kill)
        return server

    def test_an_idle_server_leaves_at_once_on_ctrl_c(self) -> None:
        server = self.start()
        server.port()
        server.child.process.send_signal(signal.SIGINT)
        self.assertEqual(server.child.process.wait(10), 0, server.child.output())

    def test_a_port_in_use_is_said_in_one_line(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            server = self.start("--port", str(port))
            self.assertEqual(server.child.process.wait(30), 1)
        last_line = server.child.output().strip().splitlines()[-1]
        self.assertIn(f"Cannot listen on 127.0.0.1:{port}", last_line)
        self.assertNotIn("Traceback", server.child.output())


class LiveCallTests(TransactionTestCase):
    """The recorder has no broker here, so that it writes to the database by itself."""

    def setUp(self) -> None:
        self.business = demo.seed()
        self.version = AgentVersion.objects.get()
        self.directory = self.enterContext(tempfile.TemporaryDirectory(prefix="va-serve-"))

    def serve(self, model: ModelServer) -> Server:
        server = Server(
            self.directory,
            {
                "DATABASE_URL": database_url(),
                "REDIS_URL": "redis://127.0.0.1:1/0",
                "PUBLIC_URL": SETTINGS["PUBLIC_URL"],
                "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
                "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
                "DRAIN_SECONDS": "0",  # nobody is there to go on with these calls
            },
        )
        self.addCleanup(server.child.kill)
        return server

    def dial(self, port: int, path: str) -> connect:
        headers = {"X-Twilio-Signature": signature(path)}
        return connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers, proxy=None, compression=None)

    async def start(self, stream: ClientConnection, token: str) -> None:
        start = {
            "accountSid": ACCOUNT_SID,
            "streamSid": STREAM_SID,
            "callSid": CALL_SID,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": token},
        }
        await stream.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        message = {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": STREAM_SID}
        await stream.send(json.dumps(message))

    async def test_a_stop_in_mid_call_closes_the_stream_and_finishes_the_record(self) -> None:
        ticket, token = await asyncio.to_thread(self.issued)
        heard: list[dict[str, Any]] = []
        async with ModelServer(ModelSettings(api_key=KEY, time_scale=0.1)) as model:
            server = await asyncio.to_thread(self.serve, model)
            port = await asyncio.to_thread(server.port)
            async with self.dial(port, f"/media/stream/{CALL_SID}/{ticket}/") as stream:
                await self.start(stream, token)
                reader = asyncio.create_task(self.play(stream, heard))
                await eventually(lambda: model.ledger.of("said") and heard, 20)
                server.child.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(10):
                    await reader
                self.assertEqual(stream.close_code, 1000)
            code = await asyncio.to_thread(server.child.process.wait, 10)
        self.assertEqual(code, 0, server.child.output())
        row = await CallLog.objects.aget(call_sid=CALL_SID)
        self.assertEqual((row.status, row.ended_reason), ("completed", "server_stopped"), server.child.output())
        self.assertIn(demo.GREETING[:20], row.transcript)
        self.assertNotIn(demo.GREETING[:20], server.child.output())
        self.assertNotIn("Traceback", server.child.output())

    async def test_strangers_get_403_and_a_binary_frame_ends_the_stream(self) -> None:
        ticket, token = await asyncio.to_thread(self.issued)
        path = f"/media/stream/{CALL_SID}/{ticket}/"
        async with ModelServer(ModelSettings(api_key=KEY, time_scale=0.1)) as model:
            server = await asyncio.to_thread(self.serve, model)
            port = await asyncio.to_thread(server.port)
            for url, headers in (
                (path, {}),
                (path, {"X-Twilio-Signature": signature(path, "f" * 32)}),
                ("/anything/else/", {"X-Twilio-Signature": signature("/anything/else/")}),
            ):
                with self.subTest(url=url, headers=headers), self.assertRaises(InvalidStatus) as refused:
                    await connect(f"ws://127.0.0.1:{port}{url}", additional_headers=headers, proxy=None)
                self.assertEqual(refused.exception.response.status_code, 403)
            self.assertEqual(model.ledger.facts, [])
            async with self.dial(port, path) as stream:
                await self.start(stream, token)
                await stream.send(b"\x00")
                async with asyncio.timeout(10):
                    await self.play(stream, [])
                self.assertEqual(stream.close_code, 4003, server.child.output())
        self.assertEqual(await asyncio.to_thread(server.child.stop), 0)

    def issued(self) -> tuple[str, str]:
        return issue(business_id=self.business.pk, agent_version_id=self.version.pk)

    async def play(self, stream: ClientConnection, heard: list[dict[str, Any]]) -> None:
        """Take what we are sent until the socket closes, echoing marks as if all had been played."""
        try:
            async for raw in stream:
                message = json.loads(raw)
                heard.append(message)
                if message["event"] == "mark":
                    echo = {"event": "mark", "sequenceNumber": "2", "streamSid": STREAM_SID, "mark": message["mark"]}
                    await stream.send(json.dumps(echo))
        except ConnectionClosed:
            pass  # any end is an end; the close code tells which
