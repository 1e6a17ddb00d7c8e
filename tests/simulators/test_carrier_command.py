"""`python -m simulators.carrier` as it is typed, and the scripts a caller can follow."""

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase

from simulators import speech
from simulators.carrier.script import SCRIPTS, HangUp, Interrupt, Listen, Say, from_json, load
from tests.simulators.carrier_server import ACCOUNT, PUBLIC, STREAM_AND_ACTION, TOKEN, Server, xml
from tests.simulators.test_carrier_call import FROM, TO, greet_and_listen, server

ROOT = Path(__file__).parents[2]
QUICK: dict[str, Any] = {
    "ends_by": "caller",
    "steps": [
        {"Listen": {"silent_ms": 100, "timeout_ms": 3000}},
        {"Say": {"clip": "bye", "only_ms": 200}},
        {"HangUp": {}},
    ],
}


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "simulators.carrier", *arguments]
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)


def common(fake: Server) -> list[str]:
    address = f"{fake.address[0]}:{fake.address[1]}"
    return ["--public-url", PUBLIC, "--connect-to", address, "--account-sid", ACCOUNT, "--auth-token", TOKEN]


class CommandTests(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "quick.json").write_text(json.dumps(QUICK))

    async def call(self, fake: Server, *options: str) -> tuple[int | None, str, str]:
        script = ["--script", str(self.folder / "quick.json"), "--from", FROM, "--to", TO, "--status-path", "/status/"]
        process = await start("call", *common(fake), *script, *options)
        async with asyncio.timeout(15):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def test_a_call_is_narrated_line_by_line(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            code, out, err = await self.call(fake)
        self.assertEqual((code, err), (0, ""))
        for words in (
            "voice /twilio/voice/ answered 200",
            "stream open",
            "agent speaking",
            f'caller says: "{speech.load("bye").text}"',
            "caller hangs up",
            "stream closed by carrier",
            "action /ended/ answered 200",
            "status completed /status/ answered 204",
            "call over: caller, hung up; status completed",
        ):
            self.assertIn(words, out)

    async def test_ledgers_of_several_calls_are_written_as_json(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            path = self.folder / "ledger.json"
            options = ("--calls", "2", "--stagger-ms", "50", "--json", "--ledger", str(path))
            code, out, err = await self.call(fake, *options)
        self.assertEqual(code, 0, err)
        ledgers = json.loads(out)
        self.assertEqual(ledgers, json.loads(path.read_text()))
        self.assertEqual([ledger["ok"] for ledger in ledgers], [True, True])
        self.assertEqual(ledgers[0]["streams"][0]["utterances"][0]["clip"], "bye")
        self.assertIn("  2 ", err)

    async def test_complaints_and_failures_make_it_fail(self) -> None:
        pages = {"/twilio/voice/": xml(STREAM_AND_ACTION.replace("wss:", "ws:"))}
        async with server(pages=pages).running() as fake:
            code, _, err = await self.call(fake)
        self.assertEqual(code, 1)
        self.assertIn("complaint 31922 Stream url is not wss", err)
        self.assertIn("the call ended (agent, Hangup) during step 1 of quick, Listen", err)

    async def test_told_to_stop_the_caller_hangs_up(self) -> None:
        async with server(talk=greet_and_listen).running() as fake:
            arguments = ["call", *common(fake), "--script", "demo", "--from", FROM, "--to", TO]
            process = await start(*arguments)
            assert process.stdout is not None
            async with asyncio.timeout(15):
                while b"agent speaking" not in await process.stdout.readline():
                    pass
                process.send_signal(signal.SIGTERM)
                out, err = await process.communicate()
        self.assertIn(b"call over: caller, told to stop; status completed", out)
        self.assertEqual((process.returncode, err), (0, b""))
        self.assertEqual(fake.peers[0].messages[-1]["event"], "stop")

    async def test_an_unknown_script_or_fault_is_a_usage_error(self) -> None:
        async with server().running() as fake:
            for options in (("--script", "opera"), ("--fault", "gravity")):
                code, _, err = await self.call(fake, *options)
                self.assertEqual(code, 2)
                self.assertIn("known:", err)

    async def test_the_rest_api_names_its_port_first_and_stops_when_told(self) -> None:
        async with server().running() as fake:
            process = await start("rest", *common(fake))
            assert process.stdout is not None
            async with asyncio.timeout(10):
                port = json.loads(await process.stdout.readline())["port"]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /2010-04-01/Accounts/AC/Calls.json HTTP/1.0\r\n\r\n")
                self.assertIn(b"401", await reader.readline())
                writer.close()
                process.send_signal(signal.SIGTERM)
                await process.communicate()
        self.assertEqual(process.returncode, 0)


class ScriptTests(SimpleTestCase):
    def test_every_named_script_uses_clips_of_the_caller_that_exist(self) -> None:
        for script in SCRIPTS.values():
            for step in script.steps:
                if isinstance(step, Say | Interrupt):
                    with self.subTest(script.name, clip=step.clip):
                        self.assertEqual(speech.load(step.clip).speaker, "caller")

    def test_a_script_is_read_from_data(self) -> None:
        script = from_json("quick", QUICK)
        self.assertEqual(script.steps, (Listen(100, 3000), Say("bye", 200), HangUp()))
        self.assertEqual(script.ends_by, "caller")

    def test_what_is_wrong_with_a_script_is_said(self) -> None:
        wrong: tuple[dict[str, Any], ...] = (
            {"steps": [{"Sing": {}}]},
            {"steps": [{"Say": {"clip": "bye"}, "HangUp": {}}]},
            {"steps": [{"Say": {"song": "bye"}}]},
            {"steps": [], "ends_by": "nobody"},
        )
        for data in wrong:
            with self.subTest(data), self.assertRaises(ValueError):
                from_json("bad", data)
        with self.assertRaisesRegex(ValueError, "known: .*demo"):
            load("opera")
