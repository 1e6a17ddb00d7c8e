"""The simulated model for a client that decides itself what interrupts and what is answered, and one that renews."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from simulators.model import Dialogue, Fault, ModelServer
from simulators.model.audio import ULAW, _linear_to_ulaw
from simulators.model.settings import profiles
from simulators.speech import load
from tests.simulators.model_client import FAST, TOOL, Client, dial, slower, talking

GATED = {"create_response": False, "interrupt_response": False}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def quieter(ulaw: bytes, by: float) -> bytes:
    return bytes(_linear_to_ulaw(int(ULAW[code] * by)) for code in ulaw)


class AClientThatDecides(SimpleTestCase):
    async def test_it_is_told_of_speech_and_nothing_is_cut_or_answered(self) -> None:
        async with talking(slower(), turn_detection=GATED) as client:
            await client.send("response.create", response={"instructions": load("parking").text})
            await client.until("response.output_audio.delta")
            await client.say("ask-hours")
            self.assertEqual((await client.until(TRANSCRIBED))["transcript"], load("ask-hours").text)
            done = await client.until("response.done")
            self.assertEqual(done["response"]["status"], "completed")
            self.assertEqual(len(client.of("response.created")), 1)
            await client.send("response.create")
            answer = await client.until("response.done", 2)
            self.assertEqual(answer["response"]["output"][0]["content"][0]["transcript"], load("hours").text)

    async def test_its_own_cancel_and_truncation_take_the_words_away(self) -> None:
        async with talking(slower(), turn_detection=GATED) as client:
            await client.send("response.create", response={"instructions": load("parking").text})
            delta = await client.until("response.output_audio.delta")
            await client.send("response.cancel")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["status_details"]["reason"], "client_cancelled")
            cut = {"item_id": delta["item_id"], "content_index": 0, "audio_end_ms": 80}
            await client.send("conversation.item.truncate", **cut)
            await client.until("conversation.item.truncated")
            await client.send("conversation.item.retrieve", item_id=delta["item_id"])
            item = (await client.until("conversation.item.retrieved"))["item"]
            self.assertNotIn("transcript", item["content"][0])

    async def test_noise_has_no_words_and_a_murmur_has_its_own(self) -> None:
        async with talking(turn_detection=GATED) as client:
            for number, (clip, text) in enumerate((("cough", ""), ("mhm", "Mhm."), ("knock", "")), 1):
                await client.say(clip)
                self.assertEqual((await client.until(TRANSCRIBED, number))["transcript"], text)

    async def test_asides_are_passed_over_when_something_was_asked(self) -> None:
        async with talking(turn_detection=GATED) as client:
            for clip in ("cough", "mhm", "ask-hours"):
                await client.say(clip)
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("hours").text)

    async def test_what_the_client_deletes_is_forgotten_and_what_was_typed_is_read(self) -> None:
        replies = [{"heard": "1234", "say": ["noted"]}, {"heard": "ask-hours", "say": ["hours"]}]
        settings = replace(FAST, dialogue=Dialogue.of({"replies": replies}))
        async with talking(settings, turn_detection=GATED) as client:
            await client.say("ask-hours")
            heard = await client.until(TRANSCRIBED)
            await client.send("conversation.item.delete", item_id=heard["item_id"])
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Keys: 1234#"}]}
            await client.send("conversation.item.create", item=item)
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("noted").text)

    async def test_its_own_voice_coming_back_is_heard_as_its_own_words(self) -> None:
        async with talking(turn_detection=GATED) as client:
            await client.send("response.create", response={"instructions": load("parking").text})
            await client.until("response.done")
            for number, loudness in enumerate((0.5, 0.2), 1):
                await client.hear(quieter(load("parking").audio[16040:28040], loudness) + b"\xff" * 8000)
                words = (await client.until(TRANSCRIBED, number))["transcript"]
                self.assertIn(words, load("parking").text)
                self.assertGreater(len(words.split()), 2)
            self.assertEqual([fact["clip"] for fact in client.server.ledger.of("heard")], ["echo", "echo"])


class AConversationTakenOver(SimpleTestCase):
    async def written(self, client: Client, role: str, text: str) -> None:
        kind = "output_text" if role == "assistant" else "input_text"
        item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        await client.send("conversation.item.create", item=item)

    async def test_what_was_answered_before_is_not_answered_again(self) -> None:
        async with talking(turn_detection=GATED) as client:
            await self.written(client, "user", load("ask-hours").text)
            await self.written(client, "assistant", load("hours").text)
            await client.say("ask-parking")
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("parking").text)

    async def test_a_question_without_an_answer_is_still_to_be_answered(self) -> None:
        async with talking(turn_detection=GATED) as client:
            await self.written(client, "user", load("ask-hours").text)
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("hours").text)


class SeveralItemsInOneResponse(SimpleTestCase):
    async def test_words_a_call_and_words_again(self) -> None:
        reply: dict[str, Any] = {"heard": "ask-hours", "say": ["looking"], "call": [{"name": "end_call"}]}
        dialogue = Dialogue.of({"replies": [{**reply, "then": [{"say": ["hours"]}]}]})
        async with talking(replace(FAST, dialogue=dialogue), tools=[TOOL]) as client:
            await client.say("ask-hours")
            output = (await client.until("response.done"))["response"]["output"]
            self.assertEqual([item["type"] for item in output], ["message", "function_call", "message"])
            self.assertEqual(client.sound(output[2]["id"]), load("hours").audio)


class ManyModelsOnOneServer(SimpleTestCase):
    async def test_each_has_its_own_faults_dialogue_and_count_of_sessions(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "profiles.json"
            file.write_text(json.dumps({"limited": {"faults": ["reject:429#1"]}, "other": {"session_seconds": 7}}))
            settings = replace(FAST, profiles=profiles(file, FAST))
        async with ModelServer(settings) as server, dial(server) as usual:
            await usual.until("session.created")
            headers = {"Authorization": "Bearer key"}
            with self.assertRaises(InvalidStatus):
                await connect(f"{server.url}?model=limited", additional_headers=headers)
            async with connect(f"{server.url}?model=limited", additional_headers=headers) as second:
                self.assertEqual(json.loads(await second.recv())["session"]["model"], "limited")
            self.assertEqual(server.ledger.of("handshake_refused")[0]["model"], "limited")

    async def test_the_sound_of_every_item_is_kept_when_asked_for(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with talking(replace(FAST, audio=Path(folder))) as client:
                await client.say("ask-hours")
                [item] = (await client.until("response.done"))["response"]["output"]
            self.assertEqual((Path(folder) / f"{item['id']}.audio").read_bytes(), load("hours").audio)

    def test_a_fault_can_be_of_one_session_only(self) -> None:
        self.assertEqual(Fault.parse("abort@2#1"), Fault("abort", None, 2, 1))
        for wrong in ("abort#x", "abort#0"):
            with self.assertRaises(ValueError):
                Fault.parse(wrong)
