"""Every fault of the simulated model, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from simulators.model import FAULTS, Fault, ModelServer, ModelSettings
from simulators.speech import load
from tests.simulators.model_client import FAST, Client, dial, slower, talking

TRANSCRIPTION = "conversation.item.input_audio_transcription."


def with_fault(*faults: str, settings: ModelSettings = FAST, **changes: Any) -> ModelSettings:
    return replace(settings, faults=tuple(Fault.parse(fault) for fault in faults), **changes)


class Naming(SimpleTestCase):
    def test_a_fault_is_read_from_its_text(self) -> None:
        self.assertEqual(Fault.parse("close:1008@2"), Fault("close", "1008", 2))
        self.assertEqual(Fault.parse("abort"), Fault("abort"))
        for wrong in ("typo", "close@x", "close@0"):
            with self.assertRaises(ValueError):
                Fault.parse(wrong)

    def test_each_fault_is_tested_here(self) -> None:
        tests = "".join(
            Path(__file__).with_name(name).read_text("utf-8")
            for name in ("test_model_faults.py", "test_model_texts.py", "test_model_spoken_files.py")
        )
        self.assertEqual([name for name in FAULTS if f'"{name}' not in tests], [])


class TheHandshake(SimpleTestCase):
    async def status(self, settings: ModelSettings, path: str = "/v1/realtime", key: str | None = "Bearer key") -> int:
        async with ModelServer(settings) as server:
            url = f"ws://127.0.0.1:{server.port}{path}?model=gpt-realtime-2.1"
            headers = {} if key is None else {"Authorization": key}
            try:
                async with connect(url, additional_headers=headers):
                    return 101
            except InvalidStatus as refusal:
                body = json.loads(refusal.response.body or b"{}")
                self.assertIn("code", body["error"])
                return refusal.response.status_code

    async def test_who_may_connect(self) -> None:
        strict = replace(FAST, api_key="secret")
        self.assertEqual(await self.status(strict, key="Bearer secret"), 101)
        for key in (None, "Bearer wrong", "Basic secret", "secret", "Bearer"):
            self.assertEqual(await self.status(strict, key=key), 401)
        self.assertEqual(await self.status(FAST, key=None), 401)
        self.assertEqual(await self.status(FAST, path="/realtime"), 404)

    async def test_it_can_be_rejected(self) -> None:
        for status in (401, 403, 429, 500):
            self.assertEqual(await self.status(with_fault(f"reject:{status}")), status)

    async def test_only_chosen_connections_have_the_faults(self) -> None:
        settings = with_fault("reject:429", fault_sessions=frozenset({1}))
        async with ModelServer(settings) as server:
            with self.assertRaises(InvalidStatus):
                async with dial(server):
                    pass
            async with dial(server) as client:
                await client.until("session.created")
            self.assertEqual(server.ledger.of("handshake_refused")[0]["status"], 429)

    async def test_it_can_be_slow(self) -> None:
        async with ModelServer(with_fault("slow-handshake:10")) as server:
            start = asyncio.get_running_loop().time()
            async with dial(server):
                self.assertGreaterEqual(asyncio.get_running_loop().time() - start, 10 * FAST.time_scale)

    async def test_the_beta_header_is_accepted_then_closed_with_4000(self) -> None:
        async with ModelServer(FAST) as server, dial(server, headers={"OpenAI-Beta": "realtime=v1"}) as client:
            self.assertEqual(await client.close_code(), 4000)
            self.assertEqual(client.socket.close_reason, "invalid_request_error.beta_api_shape_disabled")
            self.assertEqual(client.events[-1]["error"]["code"], "beta_api_shape_disabled")

    async def test_an_unknown_model_is_an_error_then_a_close(self) -> None:
        async with ModelServer(replace(FAST, models=frozenset({"other"}))) as server, dial(server) as client:
            self.assertEqual(await client.close_code(), 4000)
            self.assertEqual(client.events[-1]["error"]["code"], "model_not_found")

    async def test_a_fatal_error_comes_before_anything_else(self) -> None:
        async with ModelServer(with_fault("fatal:credit_balance_exhausted")) as server, dial(server) as client:
            self.assertEqual(await client.close_code(), 4000)
            self.assertEqual([event["type"] for event in client.events], ["error"])
            self.assertEqual(client.events[0]["error"]["code"], "credit_balance_exhausted")

    async def test_nothing_is_compressed(self) -> None:
        async with ModelServer(FAST) as server:
            url, headers = f"{server.url}?model=gpt-realtime-2.1", {"Authorization": "Bearer key"}
            async with connect(url, additional_headers=headers) as socket:
                assert socket.response is not None
                self.assertNotIn("Sec-WebSocket-Extensions", socket.response.headers)


class TheConnection(SimpleTestCase):
    async def test_it_drops_at_a_chosen_time(self) -> None:
        async with ModelServer(with_fault("drop-after:1000")) as server, dial(server) as client:
            self.assertEqual(await client.close_code(), 1006)

    async def test_a_session_can_end_before_the_time_it_named(self) -> None:
        settings = replace(FAST, session_seconds=0.2, announced_seconds=3600)
        async with ModelServer(settings) as server, dial(server) as client:
            created = await client.until("session.created")
            self.assertGreater(created["session"]["expires_at"], time.time() + 3000)
            self.assertEqual(await client.close_code(), 1001)

    async def test_it_can_take_a_request_and_say_nothing_to_it_but_hear_on(self) -> None:
        detection = {"create_response": False}
        async with talking(with_fault("mute@1"), turn_detection=detection) as client:
            await client.send("response.create")
            await client.say("ask-hours")
            await client.until(TRANSCRIPTION + "completed")
            self.assertEqual(client.of("response.created"), [])
            await client.send("response.create")
            await client.until("response.done")

    async def ask(self, client: Client) -> None:
        await client.send("response.create", response={"instructions": load("parking").text})

    async def test_the_session_expires(self) -> None:
        async with ModelServer(replace(FAST, session_seconds=0.2)) as server, dial(server) as client:
            self.assertEqual(await client.close_code(), 1001)
            self.assertEqual(client.events[-1]["error"]["code"], "session_expired")
            self.assertIn("maximum duration", client.events[-1]["error"]["message"])

    async def test_it_closes_in_the_middle_of_a_response(self) -> None:
        for code in (1011, 1008):
            async with talking(with_fault(f"close:{code}@2")) as client:
                await client.send("response.create", response={"instructions": 'Say "Yes."'})
                await client.until("response.done")
                await self.ask(client)
                self.assertEqual(await client.close_code(), code)
                self.assertEqual(len(client.of("response.done")), 1)
                self.assertGreater(len(client.of("response.output_audio.delta")), 2)

    async def test_it_drops_the_line(self) -> None:
        async with talking(with_fault("abort")) as client:
            await self.ask(client)
            self.assertEqual(await client.close_code(), 1006)

    async def test_it_says_nothing_at_all(self) -> None:
        async with ModelServer(with_fault("silent")) as server, dial(server) as client:
            await client.send("response.create")
            pong = await client.socket.ping()
            await pong  # the connection lives: everything sent before it has arrived
            self.assertEqual(client.events, [])

    async def test_it_falls_silent_at_a_response(self) -> None:
        async with talking(with_fault("silent@1")) as client:
            await self.ask(client)
            await client.send("response.cancel")
            await (await client.socket.ping())
            self.assertEqual(client.types, ["session.created", "session.updated"])

    async def test_a_test_may_choose_the_moment(self) -> None:
        async with talking() as client:
            [session] = client.server.sessions
            session.core.error("server_error", "By hand.")
            session.core.close(1012)
            self.assertEqual(await client.close_code(), 1012)
            self.assertEqual(client.events[-1]["error"]["message"], "By hand.")


class TheSession(SimpleTestCase):
    async def test_it_is_slow_to_come(self) -> None:
        async with ModelServer(with_fault("slow-session:5000")) as server, dial(server) as client:
            start = asyncio.get_running_loop().time()
            await client.configure()
            self.assertGreaterEqual(asyncio.get_running_loop().time() - start, 5 * FAST.time_scale)
            self.assertEqual(client.types, ["session.created", "session.updated"])

    async def test_an_update_is_refused(self) -> None:
        async with ModelServer(with_fault("update-refused")) as server, dial(server) as client:
            await client.send("session.update", session={"type": "realtime"}, event_id="u")
            self.assertEqual((await client.error())["event_id"], "u")
            self.assertEqual(client.of("session.updated"), [])


class TheResponse(SimpleTestCase):
    async def test_it_fails_and_the_next_one_answers(self) -> None:
        for code in ("rate_limit_exceeded", "server_error"):
            async with talking(with_fault(f"response-failed:{code}@1")) as client:
                await client.say("ask-hours")
                failed = (await client.until("response.done"))["response"]
                self.assertEqual((failed["status"], failed["output"]), ("failed", []))
                self.assertEqual(failed["status_details"]["error"]["code"], code)
                await client.send("response.create")
                answer = (await client.until("response.done", 2))["response"]
                self.assertEqual(answer["output"][0]["content"][0]["transcript"], load("hours").text)

    async def test_it_is_incomplete(self) -> None:
        for reason in ("max_output_tokens", "content_filter"):
            async with talking(with_fault(f"response-incomplete:{reason}")) as client:
                await client.say("ask-parking")
                done = (await client.until("response.done"))["response"]
                self.assertEqual((done["status"], done["status_details"]["reason"]), ("incomplete", reason))
                text = done["output"][0]["content"][0]["transcript"]
                self.assertTrue(load("parking").text.startswith(text) and text != load("parking").text)

    async def test_it_starts_late(self) -> None:
        async with talking(with_fault("slow-first-audio:10000@1")) as client:
            start = asyncio.get_running_loop().time()
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            self.assertGreaterEqual(asyncio.get_running_loop().time() - start, 10 * FAST.time_scale)

    async def test_an_error_comes_in_between(self) -> None:
        async with talking(with_fault("error:server_error")) as client:
            await client.say("ask-hours")
            done = await client.until("response.done")
            self.assertLess(client.events.index(client.of("error")[0]), client.events.index(done))
            self.assertEqual(done["response"]["status"], "completed")

    async def test_one_response_calls_twice(self) -> None:
        async with talking(with_fault("two-calls")) as client:
            await client.say("bye")
            done = (await client.until("response.done"))["response"]
            calls = [item for item in done["output"] if item["type"] == "function_call"]
            self.assertEqual([call["name"] for call in calls], ["end_call", "end_call"])
            self.assertEqual(len({call["call_id"] for call in calls}), 2)

    async def test_a_call_is_interrupted_and_running_it_is_a_complaint(self) -> None:
        async with talking(with_fault("interrupted-call")) as client:
            await client.say("bye")
            done = (await client.until("response.done"))["response"]
            call = done["output"][1]
            self.assertEqual((done["status"], call["status"]), ("cancelled", "incomplete"))
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
            await client.send("conversation.item.create", item=output)
            await client.wait(lambda: bool(client.server.ledger.of("complaint")), "a complaint")
            self.assertEqual(client.server.ledger.of("complaint")[0]["code"], "ran_interrupted_call")


class TheTranscription(SimpleTestCase):
    async def test_it_comes_after_the_response_is_over(self) -> None:
        async with talking(with_fault("transcription-late:20000")) as client:
            await client.say("ask-hours")
            await client.until(TRANSCRIPTION + "completed")
            kinds = [event["type"] for event in client.events]
            self.assertLess(kinds.index("response.done"), kinds.index(TRANSCRIPTION + "completed"))

    async def test_it_fails(self) -> None:
        async with talking(with_fault("transcription-failed@1")) as client:
            await client.say("ask-hours")
            failed = await client.until(TRANSCRIPTION + "failed")
            self.assertEqual(failed["item_id"], client.of("input_audio_buffer.committed")[0]["item_id"])
            self.assertEqual(client.of(TRANSCRIPTION + "completed"), [])

    async def test_it_never_comes(self) -> None:
        async with talking(with_fault("transcription-missing@1")) as client:
            for number in (1, 2):
                await client.say("ask-hours")
                await client.until("response.done", number)
            [only] = [await client.until(TRANSCRIPTION + "completed")]
            self.assertEqual(only["item_id"], client.of("input_audio_buffer.committed")[1]["item_id"])

    async def test_it_comes_after_the_next_turns(self) -> None:
        async with talking(with_fault("transcription-reordered@1")) as client:
            for number, clip in enumerate(("ask-hours", "ask-parking"), 1):
                await client.say(clip)
                await client.until("response.done", number)
            await client.until(TRANSCRIPTION + "completed", 2)
            texts = [event["transcript"] for event in client.of(TRANSCRIPTION + "completed")]
            self.assertEqual(texts, [load("ask-parking").text, load("ask-hours").text])


class TheWire(SimpleTestCase):
    async def test_there_are_events_nobody_knows(self) -> None:
        async with talking(with_fault("unknown-events"), strict=False) as client:
            await client.send("response.create")
            await client.until("response.done")
            self.assertEqual(len(client.of("response.mood.updated")), 1)

    async def test_there_are_fields_nobody_knows(self) -> None:
        async with talking(with_fault("extra-fields"), strict=False) as client:
            await client.send("response.create")
            await client.until("response.done")
            self.assertTrue(all("x_new" in event for event in client.events))

    async def test_there_are_frames_that_are_no_events(self) -> None:
        async with talking(with_fault("garbage"), strict=False) as client:
            await client.send("response.create")
            await client.until("response.done")
            self.assertTrue(any(isinstance(frame, bytes) for frame in client.frames))
            self.assertIn("[]", client.frames)

    async def test_deltas_are_padded(self) -> None:
        async with talking(slower()) as client:
            await client.send("response.create")
            self.assertIn("obfuscation", await client.until("response.output_audio.delta"))
