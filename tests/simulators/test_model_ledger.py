"""What the simulated model counts and writes down; the clients other than the tests' own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from django.test import SimpleTestCase
from openai import AsyncOpenAI

from simulators.model import ModelServer
from simulators.model.ledger import read
from simulators.speech import load
from tests.simulators.model_client import FAST, dial, session, talking


class UsageAndLedger(SimpleTestCase):
    async def test_usage_adds_up_and_grows_with_the_conversation(self) -> None:
        async with talking() as client:
            for number in range(1, 6):
                await client.say("ask-hours")
                await client.until("response.done", number)
            usages = [event["response"]["usage"] for event in client.of("response.done")]
            await client.socket.close()
            await client.close_code()
            for usage in usages:
                inputs, outputs = usage["input_token_details"], usage["output_token_details"]
                self.assertEqual(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
                self.assertEqual(usage["input_tokens"], inputs["text_tokens"] + inputs["audio_tokens"])
                self.assertEqual(usage["output_tokens"], outputs["text_tokens"] + outputs["audio_tokens"])
                cached = inputs["cached_tokens_details"]
                self.assertEqual(inputs["cached_tokens"], cached["text_tokens"] + cached["audio_tokens"])
                self.assertLessEqual(cached["audio_tokens"], inputs["audio_tokens"])
                self.assertLessEqual(cached["text_tokens"], inputs["text_tokens"])
                self.assertEqual(outputs["audio_tokens"], 4250 // 50)
            reads = [usage["input_tokens"] for usage in usages]
            self.assertEqual(reads, sorted(set(reads)))
            self.assertGreater(usages[-1]["input_token_details"]["cached_tokens"], 0)
            ledger = client.server.ledger
            await client_closed(client.server)
            totals = ledger.of("closed")[0]["usage"]
            self.assertEqual(totals["total_tokens"], sum(usage["total_tokens"] for usage in usages))

    async def test_rate_limits_come_at_different_places(self) -> None:
        places = set()
        async with talking() as client:
            for number in range(1, 9):
                await client.send("response.create", response={"instructions": 'Say "Yes."'})
                await client.until("response.done", number)
                await client.until("rate_limits.updated", number)
                start, end = client.of("response.created")[-1], client.of("response.done")[-1]
                limits = client.events.index(client.of("rate_limits.updated")[-1])
                inside = client.events.index(start) + 1 == limits
                places.add("early" if inside else "after" if limits > client.events.index(end) else "before")
        self.assertEqual(places, {"early", "before", "after"})

    async def test_the_ledger_says_what_happened_in_memory_and_in_the_file(self) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "deep" / "ledger.jsonl"
            async with ModelServer(replace(FAST, ledger=path)) as server:
                async with dial(server, headers={"OpenAI-Safety-Identifier": "abc"}) as client:
                    await client.configure()
                    await client.say("ask-hours")
                    done = await client.until("response.done")
                    item_id = done["response"]["output"][0]["id"]
                    await client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=900)
                    await client.until("conversation.item.truncated")
                await client_closed(server)
                facts = server.ledger.facts
                self.assertEqual(read(path), facts)
            kinds = ["opened", "updated", "heard", "said", "response", "truncated", "closed"]
            self.assertEqual([fact["fact"] for fact in facts], kinds)
            self.assertEqual([fact["n"] for fact in facts], list(range(1, 8)))
            opened, _updated, heard, said, _response, _truncated, closed = facts
            self.assertEqual(opened["headers"]["openai-safety-identifier"], "abc")
            self.assertEqual((heard["clip"], heard["text"]), ("ask-hours", load("ask-hours").text))
            self.assertEqual((said["text"], said["truncated_at_ms"]), (load("hours").text, 900))
            sent = load("ask-hours").audio + b"\xff" * 4800
            self.assertEqual(closed["audio_bytes"], len(sent))
            self.assertEqual(closed["audio_sha256"], hashlib.sha256(sent).hexdigest())
            self.assertEqual(closed["output_audio_sha256"], hashlib.sha256(load("hours").audio).hexdigest())
            self.assertEqual(closed["client_events"]["session.update"], 1)
            self.assertEqual(closed["code"], 1000)

    async def test_one_seed_makes_the_same_ids_and_two_sessions_never_share_them(self) -> None:
        runs = []
        for _ in range(2):
            async with ModelServer(FAST) as server, dial(server) as first, dial(server) as second:
                created = [await client.until("session.created") for client in (first, second)]
                runs.append([event["session"]["id"] for event in created])
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0][0], runs[0][1])


class OtherClients(SimpleTestCase):
    async def test_the_openai_package_can_hold_a_conversation_with_it(self) -> None:
        async with ModelServer(replace(FAST, api_key="secret")) as server:
            sdk = AsyncOpenAI(api_key="secret", base_url=f"http://127.0.0.1:{server.port}/v1")
            kinds: list[str] = []
            async with sdk.realtime.connect(model="gpt-realtime-2.1") as connection:
                await connection.session.update(session=session())  # type: ignore[arg-type]
                await connection.response.create(response={"instructions": 'Say "Hello."'})
                async with asyncio.timeout(5):
                    async for event in connection:
                        kinds.append(event.type)
                        if event.type == "response.done":
                            self.assertEqual(event.response.status, "completed")
                            break
            self.assertEqual(kinds[:3], ["session.created", "session.updated", "response.created"])
            await client_closed(server)
            self.assertEqual(server.ledger.of("complaint"), [])
            await sdk.close()

    async def test_the_command_says_where_it_listens_and_ends_with_zero_on_a_signal(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "simulators.model", "--port", "0", "--fault", "error:server_error@2",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout is not None
            try:
                async with asyncio.timeout(60):  # a Python starts in it, while other tests have both cores
                    line = json.loads(await process.stdout.readline())
                    self.assertEqual(line["listening"], f"ws://127.0.0.1:{line['port']}/v1/realtime")
                    process.send_signal(number)
                    self.assertEqual(await process.wait(), 0)
            finally:
                if process.returncode is None:
                    process.kill()


async def client_closed(server: ModelServer) -> None:
    """Wait until the server has seen the end of every session."""
    async with asyncio.timeout(5):
        while server.sessions:  # noqa: ASYNC110 - the server has no reason to announce it
            await asyncio.sleep(0.005)
