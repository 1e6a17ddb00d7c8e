"""What the simulated model refuses: everything that is not exactly the documented protocol."""

from __future__ import annotations

import json
from typing import Any

from django.test import SimpleTestCase

from simulators.model import ModelServer
from simulators.model.oracle import Refused, judge, parse
from tests.simulators.model_client import FAST, Event, dial, session, talking

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
CORRECT: list[Event] = [
    {"type": "session.update", "session": session()},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"noise_reduction": None}}}},
    {"type": "input_audio_buffer.append", "audio": "////"},
    {"type": "input_audio_buffer.commit", "event_id": "e1"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": USER, "previous_item_id": "root"},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "{}"}},
    {"type": "conversation.item.retrieve", "item_id": "i"},
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 10},
    {"type": "response.create"},
    {"type": "response.create", "response": {"instructions": "x", "conversation": "none", "metadata": {"a": "b"}}},
    {"type": "response.cancel", "response_id": "r"},
    {"type": "output_audio_buffer.clear"},
]


def refused(event: Any) -> tuple[str, str | None]:
    """(code, param) of the refusal. Fails if it is accepted."""
    try:
        judge(parse(json.dumps(event)))
    except Refused as error:
        return error.refusal.code, error.refusal.param
    raise AssertionError(f"accepted: {event}")


def changed(path: str, value: Any) -> Event:
    """A correct session.update with one value put in."""
    event: Event = {"type": "session.update", "session": json.loads(json.dumps(session()))}
    holder: Any = event["session"]
    *way, last = path.split(".")
    for key in way:
        holder = holder.setdefault(key, {})
    holder[last] = value
    return event


class TheOracle(SimpleTestCase):
    def test_every_kind_of_client_event_is_known_when_it_is_correct(self) -> None:
        for event in CORRECT:
            judge(parse(json.dumps(event)))
        self.assertEqual(len({event["type"] for event in CORRECT}), 11)

    def test_one_unknown_key_in_any_event_is_refused(self) -> None:
        for event in CORRECT:
            with self.subTest(event["type"]):
                self.assertEqual(refused({**event, "colour": "red"}), ("unknown_parameter", "colour"))

    def test_each_key_of_the_beta_is_refused(self) -> None:
        beta = {
            "modalities": ["audio", "text"], "voice": "alloy", "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_ulaw", "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": {"type": "server_vad"}, "input_audio_noise_reduction": None, "temperature": 0.8,
            "max_response_output_tokens": 100, "speed": 1.0,
        }  # fmt: skip
        for key, value in beta.items():
            with self.subTest(key):
                self.assertEqual(refused(changed(key, value)), ("unknown_parameter", f"session.{key}"))
        for key in ("modalities", "voice", "output_audio_format", "temperature", "max_response_output_tokens"):
            event = {"type": "response.create", "response": {key: beta.get(key)}}
            with self.subTest(response=key):
                self.assertEqual(refused(event), ("unknown_parameter", f"response.{key}"))

    def test_unknown_keys_are_found_at_every_depth(self) -> None:
        for path in (
            "audio.format", "audio.input.voice", "audio.input.format.rate", "audio.output.format.rate",
            "audio.input.turn_detection.min_silence", "audio.input.transcription.modle", "audio.output.pitch",
        ):  # fmt: skip
            with self.subTest(path):
                self.assertEqual(refused(changed(path, 8000)), ("unknown_parameter", f"session.{path}"))
        tool = {"type": "function", "name": "f", "function": {"name": "f"}}
        self.assertEqual(refused(changed("tools", [tool])), ("unknown_parameter", "session.tools[0].function"))
        item = {**USER, "content": [{"type": "input_text", "text": "x", "language": "en"}]}
        event = {"type": "conversation.item.create", "item": item}
        self.assertEqual(refused(event), ("unknown_parameter", "item.content[0].language"))

    def test_wrong_types_and_values_name_the_field(self) -> None:
        for path, value, code in (
            ("type", "transcription", "invalid_value"),
            ("audio.input.turn_detection.type", "vad", "invalid_value"),
            ("audio.input.turn_detection.silence_duration_ms", "500", "invalid_type"),
            ("audio.input.turn_detection.silence_duration_ms", 499.5, "invalid_type"),
            ("audio.input.format", "g711_ulaw", "invalid_type"),
            ("audio.input.format.type", "audio/ulaw", "invalid_value"),
            ("audio.input.noise_reduction", {"type": "room"}, "invalid_value"),
            ("output_modalities", ["video"], "invalid_value"),
            ("instructions", 7, "invalid_type"),
            ("tool_choice", 7, None),
        ):
            with self.subTest(path, value=value):
                found, param = refused(changed(path, value))
                self.assertIn(found, (code,) if code else ("invalid_value", "invalid_type"))
                self.assertTrue(param is not None and param.startswith("session."), param)
        cut = {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 10.5}
        self.assertEqual(refused(cut), ("invalid_type", "audio_end_ms"))

    def test_what_is_missing_is_named(self) -> None:
        for event, param in (
            ({}, "type"),
            ({"type": "session.update"}, "session"),
            ({"type": "session.update", "session": {}}, "session.type"),
            ({"type": "input_audio_buffer.append"}, "audio"),
            ({"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 1}, "item_id"),
            (
                {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": ""}},
                "item.call_id",
            ),
            ({"type": "conversation.item.create", "item": {"type": "message", "role": "user"}}, "item.content"),
        ):
            with self.subTest(param):
                self.assertEqual(refused(event), ("missing_required_parameter", param))

    def test_what_is_no_event_is_refused(self) -> None:
        for frame in ("no json", "[]", "null", '"text"', b"\x00"):
            with self.assertRaises(Refused) as caught:
                judge(parse(frame))
            self.assertEqual(caught.exception.refusal.code, "invalid_event")
        for kind in ("response.audio.delta", "input_audio_buffer.apend", 7):
            self.assertEqual(refused({"type": kind}), ("invalid_value", "type"))
        self.assertEqual(
            refused({"type": "input_audio_buffer.append", "audio": "not base64!"}), ("invalid_value", "audio")
        )


class TheSession(SimpleTestCase):
    async def test_a_bad_update_changes_nothing_and_the_error_names_the_event(self) -> None:
        bad: list[tuple[str, Any]] = [
            ("audio.output.voice", "robin"), ("audio.output.speed", 2), ("output_modalities", ["audio", "text"]),
            ("output_modalities", []), ("max_output_tokens", 0), ("model", "gpt-realtime-mini"),
            ("audio.input.turn_detection.threshold", 1.5), ("audio.input.turn_detection.silence_duration_ms", -1),
            ("audio.input.turn_detection.idle_timeout_ms", 1000), ("audio.input.transcription", {"model": "whisper-9"}),
            ("audio.input.transcription", {"language": "en"}), ("audio.input.format", {}),
            ("tools", [{"type": "function"}]), ("tools", [{"name": "f"}]),
            ("tools", [{"type": "function", "name": "f"}, {"type": "function", "name": "f"}]),
            ("audio.input.format.rate", 8000), ("voice", "marin"),
        ]  # fmt: skip
        async with ModelServer(FAST) as server, dial(server) as client:
            before = (await client.until("session.created"))["session"]
            for number, (path, value) in enumerate(bad, 1):
                await client.send(**{"kind": "session.update", **_without_type(changed(path, value)), "event_id": path})
                error = (await client.until("error", number))["error"]
                with self.subTest(path, value=value):
                    self.assertEqual(error["type"], "invalid_request_error")
                    self.assertEqual(error["event_id"], path)
            self.assertEqual(client.of("session.updated"), [])
            await client.send("session.update", session={"type": "realtime"})
            self.assertEqual((await client.until("session.updated"))["session"], before)
            self.assertEqual(len(server.ledger.of("complaint")), len(bad))

    async def test_an_update_changes_only_what_was_sent_and_null_clears(self) -> None:
        async with talking() as client:
            partial = {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}}}
            await client.send("session.update", session={"type": "realtime", **partial})
            first = (await client.until("session.updated", 2))["session"]
            self.assertEqual(first["audio"]["input"]["turn_detection"]["threshold"], 0.9)
            self.assertEqual(first["audio"]["input"]["turn_detection"]["silence_duration_ms"], 400)
            self.assertEqual(first["audio"]["output"]["voice"], "marin")
            cleared = {"tools": [], "instructions": "", "audio": {"input": {"transcription": None}}}
            await client.send("session.update", session={"type": "realtime", **cleared})
            second = (await client.until("session.updated", 3))["session"]
            self.assertEqual((second["tools"], second["instructions"]), ([], ""))
            self.assertIsNone(second["audio"]["input"]["transcription"])

    async def test_the_voice_is_locked_after_the_first_audio(self) -> None:
        async with talking() as client:
            voice = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
            await client.send("session.update", session=voice)
            await client.until("session.updated", 2)
            await client.send("response.create")
            await client.until("response.done")
            await client.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "marin"}}})
            self.assertEqual((await client.error())["code"], "cannot_update_voice")
            await client.send("session.update", session=voice)
            await client.until("session.updated", 3)

    async def test_audio_before_the_update_is_a_complaint(self) -> None:
        async with ModelServer(FAST) as server, dial(server) as client:
            await client.hear(b"\xff" * 960)
            await client.configure()
            await client.hear(b"\xff" * 960)
            self.assertEqual([f["code"] for f in server.ledger.of("complaint")], ["audio_before_session_updated"])

    async def test_a_correct_client_causes_no_complaint(self) -> None:
        async with talking() as client:
            await client.send("response.create")
            await client.until("response.done")
            await client.say("ask-hours")
            await client.until("response.done", 2)
            self.assertEqual(client.server.ledger.of("complaint"), [])
            self.assertEqual(client.of("error"), [])

    async def test_events_of_other_transports_and_bad_response_parameters_are_refused(self) -> None:
        async with talking() as client:
            await client.send("output_audio_buffer.clear")
            await client.send("response.create", response={"conversation": "other"})
            await client.send("response.create", response={"metadata": {str(key): "" for key in range(17)}})
            await client.send("response.create", response={"output_modalities": ["text", "audio"]})
            await client.socket.send(b"\x00\x01")
            await client.socket.send("{")
            await client.until("error", 6)
            self.assertEqual(client.of("response.created"), [])
            self.assertEqual(len(client.server.ledger.of("complaint")), 6)


def _without_type(event: Event) -> Event:
    return {key: value for key, value in event.items() if key != "type"}
