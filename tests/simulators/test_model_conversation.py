"""A session with the simulated model: the order of events, barge-in, function calls, items."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

from django.test import SimpleTestCase

from simulators.model import Dialogue, ModelServer, Reply
from simulators.speech import load
from tests.simulators.model_client import FAST, TOOL, dial, session, slower, talking

SPOKEN_RESPONSE = [
    "response.created", "response.output_item.added", "conversation.item.added", "response.content_part.added",
    "response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done",
    "response.output_item.done", "conversation.item.done", "response.done",
]  # fmt: skip
ANY_TIME = {"rate_limits.updated", "response.output_audio.delta", "response.output_audio_transcript.delta"}
TRANSCRIPTION = "conversation.item.input_audio_transcription."


def fixed(types: list[str]) -> list[str]:
    """Without the events whose place is not fixed."""
    return [kind for kind in types if kind not in ANY_TIME and not kind.startswith(TRANSCRIPTION)]


class ASpokenTurn(SimpleTestCase):
    async def test_the_events_of_a_turn_come_in_the_documented_order(self) -> None:
        async with talking() as client:
            await client.say("ask-hours")
            done = await client.until("response.done")
            await client.until(TRANSCRIPTION + "completed")
            self.assertEqual(
                fixed(client.types),
                [
                    "session.created", "session.updated", "input_audio_buffer.speech_started",
                    "input_audio_buffer.speech_stopped", "input_audio_buffer.committed", "conversation.item.added",
                    "conversation.item.done", *SPOKEN_RESPONSE,
                ],
            )  # fmt: skip
            user = client.of("input_audio_buffer.speech_started")[0]["item_id"]
            self.assertEqual(client.of("input_audio_buffer.speech_stopped")[0]["item_id"], user)
            self.assertEqual(client.of("input_audio_buffer.committed")[0]["item_id"], user)
            self.assertEqual(client.of(TRANSCRIPTION + "completed")[0]["item_id"], user)
            self.assertEqual(client.of(TRANSCRIPTION + "completed")[0]["transcript"], load("ask-hours").text)
            [item] = done["response"]["output"]
            self.assertEqual(item["content"][0]["transcript"], load("hours").text)
            self.assertEqual(client.sound(item["id"]), load("hours").audio)
            told = "".join(event["delta"] for event in client.of("response.output_audio_transcript.delta"))
            self.assertEqual(told, load("hours").text)

    async def test_items_form_a_chain(self) -> None:
        async with talking() as client:
            for number, clip in enumerate(("ask-hours", "ask-parking"), 1):
                await client.say(clip)
                await client.until("response.done", number)
            before = None
            for event in client.of("conversation.item.added"):
                self.assertEqual(event["previous_item_id"], before)
                before = event["item"]["id"]
            done = {event["item"]["id"]: event["previous_item_id"] for event in client.of("conversation.item.done")}
            added = {e["item"]["id"]: e["previous_item_id"] for e in client.of("conversation.item.added")}
            self.assertEqual(done, added)
            self.assertEqual(len({event["event_id"] for event in client.events}), len(client.events))

    async def test_audio_comes_faster_than_it_plays_in_pieces_of_100_to_400_ms(self) -> None:
        settings = replace(FAST, time_scale=1.0, pace=20.0, first_audio_ms=0)
        async with talking(settings) as client:
            loop = asyncio.get_running_loop()
            await client.say("ask-hours")
            await client.until("response.output_audio.delta")
            start = loop.time()
            await client.until("response.done")
            taken = loop.time() - start
            sizes = [len(b64decode(event["delta"])) // 8 for event in client.of("response.output_audio.delta")]
            self.assertTrue(all(100 <= size <= 400 for size in sizes[:-1]), sizes)
            self.assertGreater(taken, 4.25 / 20 * 0.8)
            self.assertLess(taken, 4.25)

    async def test_nothing_is_said_until_someone_speaks_or_asks(self) -> None:
        async with talking() as client:
            await client.hear(b"\xff" * 16000)
            await client.send("conversation.item.retrieve", item_id="none")
            await client.until("error")
            self.assertEqual(client.types, ["session.created", "session.updated", "error"])

    async def test_unknown_speech_gets_the_answer_for_unclear_speech(self) -> None:
        async with talking() as client:
            await client.hear(load("parking").audio + b"\xff" * 8000)
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("unclear").text)
            [fact] = client.server.ledger.of("heard")
            self.assertIsNone(fact["clip"])

    async def test_without_a_transcription_model_there_is_no_transcription(self) -> None:
        async with talking(transcription=None) as client:
            for number in (1, 2):
                await client.say("ask-hours")
                await client.until("response.done", number)
            self.assertFalse([kind for kind in client.types if kind.startswith(TRANSCRIPTION)])

    async def test_turns_can_be_committed_by_hand(self) -> None:
        async with talking(turn_detection=None) as client:
            await client.say("ask-hours")
            await client.send("input_audio_buffer.commit")
            await client.until("conversation.item.done")
            self.assertEqual(client.of("response.created"), [])
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("hours").text)

    async def test_an_empty_buffer_cannot_be_committed(self) -> None:
        async with talking(turn_detection=None) as client:
            await client.say("ask-hours")
            await client.send("input_audio_buffer.clear")
            await client.until("input_audio_buffer.cleared")
            await client.hear(b"\xff" * 400)
            await client.send("input_audio_buffer.commit", event_id="mine")
            error = await client.error()
            self.assertEqual((error["code"], error["event_id"]), ("input_audio_buffer_commit_empty", "mine"))

    async def test_semantic_detection_and_other_formats_work_too(self) -> None:
        pcm = {"type": "audio/pcm", "rate": 24000}
        async with talking(output=pcm) as client:
            await client.say("ask-hours")
            done = await client.until("response.done")
            size = len(client.sound(done["response"]["output"][0]["id"]))
            self.assertEqual(size, len(load("hours").audio) * 6)
        async with ModelServer(FAST) as server, dial(server) as client:
            config = session()
            config["audio"]["input"]["turn_detection"] = {"type": "semantic_vad", "eagerness": "high"}
            await client.send("session.update", session=config)
            await client.say("ask-hours")
            await client.until("response.done")

    async def test_a_silent_caller_is_asked_when_the_session_says_so(self) -> None:
        async with talking(turn_detection={"idle_timeout_ms": 5000}) as client:
            await client.say("ask-hours")
            await client.until("response.done")
            await client.hear(b"\xff" * 8 * 9600, step=16000)
            timeout = await client.until("input_audio_buffer.timeout_triggered")
            self.assertGreaterEqual(timeout["audio_end_ms"] - timeout["audio_start_ms"], 5000)
            await client.until("response.done", 2)
            self.assertEqual(len(client.server.ledger.of("heard")), 1)


class TheFirstWord(SimpleTestCase):
    async def said(self, asked: str | None, **changes: Any) -> tuple[str, bytes]:
        async with talking(**changes) as client:
            response = {} if asked is None else {"response": {"instructions": asked}}
            await client.send("response.create", **response)
            done = await client.until("response.done")
            [item] = done["response"]["output"]
            return item["content"][0]["transcript"], client.sound(item["id"])

    async def test_a_known_sentence_in_the_instructions_is_spoken_with_its_clip(self) -> None:
        greeting = load("greeting")
        asked = f"Greet the caller with exactly these words: {greeting.text}"
        self.assertEqual(await self.said(asked), (greeting.text, greeting.audio))

    async def test_a_quoted_sentence_is_spoken_as_babble_with_that_text(self) -> None:
        text = "Good morning, this is O'Neill & Sons. What's up?"
        for asked in (f'Say: "{text}"', f"Say exactly “{text}” and nothing else."):
            words, sound = await self.said(asked)
            self.assertEqual(words, text)
            self.assertEqual(len(sound) // 8, len(text) * 60)

    async def test_the_sessions_instructions_may_name_the_first_words(self) -> None:
        self.assertEqual((await self.said(None, instructions="Open with 'Hello, you.' always"))[0], "Hello, you.")
        self.assertEqual((await self.said(None))[0], load("greeting").text)


class BargeIn(SimpleTestCase):
    async def test_speech_cancels_the_response_and_the_new_turn_is_answered(self) -> None:
        async with talking(slower()) as client:
            await client.send("response.create", response={"instructions": load("parking").text})
            await client.until("response.output_audio.delta", 3)
            await client.say("ask-saturday")
            cut = (await client.until("response.done"))["response"]
            self.assertEqual(cut["status"], "cancelled")
            self.assertEqual(cut["status_details"], {"type": "cancelled", "reason": "turn_detected"})
            [item] = cut["output"]
            self.assertEqual(item["status"], "incomplete")
            self.assertTrue(load("parking").text.startswith(item["content"][0]["transcript"]))
            answer = (await client.until("response.done", 2))["response"]
            self.assertEqual(answer["output"][0]["content"][0]["transcript"], load("saturday").text)
            order = [event["type"] for event in client.events]
            self.assertLess(order.index("input_audio_buffer.speech_started"), order.index("response.done"))

    async def test_deltas_in_flight_arrive_after_the_cancel(self) -> None:
        for late in (0, 2):
            async with talking(slower(late_deltas=late)) as client:
                await client.send("response.create", response={"instructions": load("parking").text})
                await client.until("response.output_audio.delta", 3)
                await client.send("response.cancel")
                done = await client.until("response.done")
                self.assertEqual(done["response"]["status_details"]["reason"], "client_cancelled")
                await client.send("response.create")
                await client.until("response.done", 2)
                place = client.events.index(done)
                after = [e for e in client.events[place:] if e.get("response_id") == done["response"]["id"]]
                self.assertEqual([event["type"] for event in after], ["response.output_audio.delta"] * late)

    async def test_speech_before_the_first_word_makes_one_answer_to_both(self) -> None:
        async with talking(slower(first_audio_ms=3000)) as client:
            await client.say("ask-hours")
            await client.say("ask-saturday")
            cut = (await client.until("response.done"))["response"]
            self.assertEqual((cut["status"], cut["output"]), ("cancelled", []))
            answer = (await client.until("response.done", 2))["response"]
            text = answer["output"][0]["content"][0]["transcript"]
            self.assertEqual(text, f"{load('hours').text} {load('saturday').text}")

    async def test_without_interruption_the_answer_waits_for_the_end(self) -> None:
        async with talking(slower(), turn_detection={"interrupt_response": False}) as client:
            await client.send("response.create", response={"instructions": load("parking").text})
            await client.until("response.output_audio.delta")
            await client.say("ask-saturday")
            first = (await client.until("response.done"))["response"]
            second = (await client.until("response.done", 2))["response"]
            self.assertEqual([first["status"], second["status"]], ["completed", "completed"])
            self.assertEqual(second["output"][0]["content"][0]["transcript"], load("saturday").text)

    async def test_truncation_is_bounded_by_what_was_generated(self) -> None:
        async with talking() as client:
            await client.send("response.create", response={"instructions": load("hours").text})
            item_id = (await client.until("response.done"))["response"]["output"][0]["id"]
            cut = {"item_id": item_id, "content_index": 0}
            await client.send("conversation.item.truncate", **cut, audio_end_ms=4251)
            error = await client.error()
            self.assertEqual(error["message"], "Audio content of 4250 ms is already shorter than 4251 ms")
            self.assertEqual((error["type"], error["code"]), ("invalid_request_error", "invalid_value"))
            await client.send("conversation.item.truncate", **cut, audio_end_ms=1500)
            self.assertEqual((await client.until("conversation.item.truncated"))["audio_end_ms"], 1500)
            await client.send("conversation.item.retrieve", item_id=item_id)
            item = (await client.until("conversation.item.retrieved"))["item"]
            self.assertNotIn("transcript", item["content"][0])
            await client.send("conversation.item.truncate", **cut, audio_end_ms=1501)
            await client.until("error", 2)
            [said] = client.server.ledger.of("said")
            self.assertEqual((said["generated_ms"], said["truncated_at_ms"]), (4250, 1500))

    async def test_what_cannot_be_cancelled_or_started_now_is_refused_without_complaint(self) -> None:
        async with talking(slower()) as client:
            await client.send("response.cancel", event_id="early")
            error = await client.error()
            self.assertEqual((error["code"], error["event_id"]), ("response_cancel_not_active", "early"))
            await client.send("response.create", response={"instructions": load("parking").text})
            await client.send("response.create", event_id="double")
            error = (await client.until("error", 2))["error"]
            self.assertEqual((error["code"], error["event_id"]), ("conversation_already_has_active_response", "double"))
            self.assertEqual(client.server.ledger.of("complaint"), [])
            self.assertEqual(len(client.server.ledger.of("refused")), 2)


class FunctionCalls(SimpleTestCase):
    async def test_goodbye_and_the_call_come_in_one_response(self) -> None:
        parameters = {"type": "object", "properties": {"reason": {"enum": ["done", "other"]}}}
        async with talking(tools=[{**TOOL, "parameters": parameters}]) as client:
            await client.say("bye")
            done = (await client.until("response.done"))["response"]
            speech, call = done["output"]
            self.assertEqual(speech["content"][0]["transcript"], load("goodbye").text)
            self.assertEqual((call["type"], call["name"], call["status"]), ("function_call", "end_call", "completed"))
            self.assertEqual(json.loads(call["arguments"]), {"reason": "done"})
            args = client.of("response.function_call_arguments.done")[0]
            self.assertEqual((args["name"], args["output_index"]), ("end_call", 1))
            self.assertEqual(
                "".join(event["delta"] for event in client.of("response.function_call_arguments.delta")),
                call["arguments"],
            )
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create")
            after = (await client.until("response.done", 2))["response"]
            self.assertEqual((after["status"], after["output"]), ("completed", []))
            self.assertEqual(client.server.ledger.of("function_output")[0]["call_id"], call["call_id"])
            self.assertEqual(client.server.ledger.of("complaint"), [])

    async def test_a_tool_the_session_does_not_have_is_not_called(self) -> None:
        async with talking(tools=[]) as client:
            await client.say("bye")
            done = (await client.until("response.done"))["response"]
            self.assertEqual([item["type"] for item in done["output"]], ["message"])

    async def test_a_dialogue_may_speak_after_the_output(self) -> None:
        story = replace(Dialogue.load(), after_call={"end_call": Reply(("hours",))})
        async with talking(replace(FAST, dialogue=story)) as client:
            await client.say("bye")
            call = (await client.until("response.done"))["response"]["output"][1]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create")
            after = (await client.until("response.done", 2))["response"]
            self.assertEqual(after["output"][0]["content"][0]["transcript"], load("hours").text)

    async def test_an_output_nobody_asked_for_is_refused_and_a_second_one_noted(self) -> None:
        async with talking() as client:
            stray = {"type": "function_call_output", "call_id": "call_none", "output": "{}"}
            await client.send("conversation.item.create", item=stray)
            self.assertEqual((await client.error())["code"], "invalid_tool_call_id")
            await client.say("bye")
            call = (await client.until("response.done"))["response"]["output"][1]
            for _ in range(2):
                await client.send("conversation.item.create", item={**stray, "call_id": call["call_id"]})
            await client.wait(lambda: len(client.server.ledger.of("function_output")) == 2, "both outputs")
            codes = [fact["code"] for fact in client.server.ledger.of("complaint")]
            self.assertEqual(codes, ["invalid_tool_call_id", "second_output"])


class Items(SimpleTestCase):
    async def test_items_are_inserted_retrieved_and_deleted(self) -> None:
        async with talking() as client:
            text = [{"type": "input_text", "text": load("ask-parking").text}]
            user = {"type": "message", "role": "user", "content": text}
            await client.send("conversation.item.create", item={**user, "id": "second"})
            await client.send("conversation.item.create", item={**user, "id": "first"}, previous_item_id="root")
            await client.send("conversation.item.create", item={**user, "id": "mid"}, previous_item_id="first")
            await client.until("conversation.item.done", 3)
            befores = [event["previous_item_id"] for event in client.of("conversation.item.added")]
            self.assertEqual(befores, [None, None, "first"])
            await client.send("conversation.item.delete", item_id="mid")
            await client.until("conversation.item.deleted")
            await client.send("conversation.item.retrieve", item_id="mid")
            self.assertEqual((await client.error())["code"], "item_retrieve_invalid_item_id")
            await client.send("conversation.item.create", item=user, previous_item_id="mid")
            self.assertEqual((await client.until("error", 2))["error"]["param"], "previous_item_id")
            await client.send("conversation.item.create", item={**user, "id": "first"})
            self.assertEqual((await client.until("error", 3))["error"]["code"], "item_create_duplicate_id")
            await client.send("conversation.item.truncate", item_id="first", content_index=0, audio_end_ms=0)
            await client.until("error", 4)
            await client.send("response.create")
            done = await client.until("response.done")
            self.assertEqual(done["response"]["output"][0]["content"][0]["transcript"], load("parking").text)

    async def test_a_response_beside_the_conversation_leaves_no_item_and_may_be_text(self) -> None:
        async with talking(slower()) as client:
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            aside = {"conversation": "none", "output_modalities": ["text"], "instructions": 'Write "A short summary."'}
            await client.send("response.create", response={**aside, "metadata": {"for": "summary"}})
            done = (await client.until("response.done"))["response"]
            self.assertEqual((done["conversation_id"], done["metadata"]), (None, {"for": "summary"}))
            self.assertEqual(done["output"][0]["content"], [{"type": "output_text", "text": "A short summary."}])
            await client.until("response.done", 2)
            self.assertEqual(len(client.of("conversation.item.added")), 1)
            self.assertEqual(client.of("response.output_text.done")[0]["text"], "A short summary.")
