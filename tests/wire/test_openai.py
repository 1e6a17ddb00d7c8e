import json
import typing
from typing import Any

from django.test import SimpleTestCase
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from media.engine import commands, events
from media.engine.config import PastItem
from media.wire import openai
from media.wire.openai_errors import ERRORS, ErrorClass, error_event

CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


def unknown_keys(value: Any, path: str = "$") -> list[str]:
    """Extra keys pass the SDK's types silently; the server refuses them."""
    if isinstance(value, BaseModel):
        found = [f"{path}.{key}" for key in value.model_extra or {}]
        for name in type(value).model_fields:
            found += unknown_keys(getattr(value, name), f"{path}.{name}")
        return found
    if isinstance(value, list):
        return [each for number, entry in enumerate(value) for each in unknown_keys(entry, f"{path}[{number}]")]
    return []


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, "event_id": "event_1", **fields})


def of_item(kind: str, **fields: Any) -> str:
    return message(f"response.{kind}", response_id="r1", item_id="i1", output_index=0, content_index=0, **fields)


class FromTheModel(SimpleTestCase):
    def check(self, raw: str, *expected: events.Event) -> None:
        self.assertEqual(openai.decode(raw), list(expected))
        self.assertEqual(openai.decode(raw.encode()), list(expected))

    def test_the_session_is_ready_when_it_was_updated(self) -> None:
        session = {"id": "sess_1", "type": "realtime", "expires_at": 1790000000, "audio": {}}
        self.check(message("session.updated", session=session), events.ModelReady("sess_1", 1790000000.0))
        self.check(message("session.updated", session={}), events.ModelReady("", None))
        self.check(message("session.created", session=session))

    def test_speech_of_the_caller(self) -> None:
        started = message("input_audio_buffer.speech_started", item_id="u1", audio_start_ms=300)
        self.check(started, events.CallerSpeechStarted("u1"))
        stopped = message("input_audio_buffer.speech_stopped", item_id="u1", audio_end_ms=900)
        self.check(stopped, events.CallerSpeechStopped("u1"))

    def transcription(self, tokens: int, of_audio: int, out: int, ms: int) -> events.Usage:
        return events.Usage(
            transcription_input_tokens=tokens,
            transcription_audio_tokens=of_audio,
            transcription_output_tokens=out,
            transcription_ms=ms,
        )

    def test_what_the_caller_said(self) -> None:
        kind = "conversation.item.input_audio_transcription"
        tokens = {"type": "tokens", "input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
        details = {**tokens, "input_token_details": {"audio_tokens": 7, "text_tokens": 2}}
        for usage, read in (
            (None, events.Usage()),
            (tokens, self.transcription(9, 9, 3, 900)),
            (details, self.transcription(9, 7, 3, 700)),
            ({"type": "duration", "seconds": 1.25}, self.transcription(0, 0, 0, 1250)),
        ):
            done = message(f"{kind}.completed", item_id="u1", content_index=0, transcript="Grüezi", usage=usage)
            self.check(done, events.CallerTranscribed("u1", "Grüezi", read))
        error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "?", "param": None}
        failed = message(f"{kind}.failed", item_id="u1", content_index=0, error=error)
        self.check(failed, events.CallerTranscriptFailed("u1", "audio_unintelligible"))
        self.check(message(f"{kind}.failed", item_id="u1"), events.CallerTranscriptFailed("u1", "unknown"))

    def test_items_name_the_one_they_follow(self) -> None:
        item = {"id": "i2", "object": "realtime.item", "type": "message", "role": "assistant", "content": []}
        for kind in ("conversation.item.added", "conversation.item.created"):
            raw = message(kind, previous_item_id="i1", item=item)
            self.check(raw, events.ItemAdded("i2", "assistant", "i1"))
        self.check(
            message("conversation.item.added", previous_item_id=None, item=item), events.ItemAdded("i2", "assistant")
        )
        self.check(message("conversation.item.done", previous_item_id="i1", item=item))

    def test_a_written_item_brings_its_text_and_a_spoken_one_none(self) -> None:
        written = [{"type": "input_text", "text": "[1]"}, {"type": "input_text", "text": "[2]"}]
        spoken = [{"type": "input_audio", "transcript": None, "audio": None}]
        for content, text in ((written, "[1] [2]"), (spoken, "")):
            item = {"id": "u1", "type": "message", "role": "user", "status": "completed", "content": content}
            self.check(message("conversation.item.added", item=item), events.ItemAdded("u1", "user", None, text))

    def test_a_function_call_is_an_item_without_a_role(self) -> None:
        item = {"id": "f1", "type": "function_call", "name": "book", "call_id": "c1", "arguments": ""}
        self.check(message("conversation.item.added", item=item), events.ItemAdded("f1", ""))

    def test_what_the_agent_says(self) -> None:
        self.check(of_item("output_audio.delta", delta="//8="), events.ModelAudio("r1", "i1", b"\xff\xff"))
        self.check(of_item("output_audio.delta", delta=""))
        self.check(of_item("output_audio.delta", delta="*"), events.UnknownModelEvent("response.output_audio.delta"))
        self.check(of_item("output_audio.done"), events.AgentAudioDone("r1", "i1"))
        for kind, final in (("output_audio_transcript", "transcript"), ("output_text", "text")):
            delta = of_item(f"{kind}.delta", delta="Hel", obfuscation="x")
            self.check(delta, events.AgentTextDelta("r1", "i1", "Hel"))
            self.check(of_item(f"{kind}.done", **{final: "Hello"}), events.AgentTextDone("r1", "i1", "Hello"))

    def test_only_completed_function_calls_are_reported(self) -> None:
        item = {"id": "f1", "type": "function_call", "name": "book", "call_id": "c1", "arguments": '{"day":1}'}
        called = events.ToolCalled("r1", "f1", "c1", "book", '{"day":1}')
        for status, expected in (("completed", [called]), ("incomplete", []), ("in_progress", [])):
            raw = message(
                "response.output_item.done", response_id="r1", output_index=0, item={**item, "status": status}
            )
            self.check(raw, *expected)
        spoken = {"id": "i1", "type": "message", "role": "assistant", "status": "completed", "content": []}
        self.check(message("response.output_item.done", response_id="r1", output_index=0, item=spoken))
        nameless = {**item, "status": "completed", "call_id": ""}
        self.check(message("response.output_item.done", response_id="r1", output_index=0, item=nameless))

    def test_responses_with_what_they_cost(self) -> None:
        self.check(message("response.created", response={"id": "r1"}), events.ResponseStarted("r1"))
        usage = {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        }
        done = {"id": "r1", "object": "realtime.response", "status": "completed", "status_details": None}
        finished = events.ResponseFinished("r1", "completed", "", events.Usage(132, 121, 64, 13, 91, 4))
        self.check(message("response.done", response={**done, "usage": usage}), finished)
        self.check(message("response.done", response=done), events.ResponseFinished("r1", "completed"))

    def test_why_a_response_is_not_complete(self) -> None:
        error = {"type": "server_error", "code": "rate_limit_exceeded", "message": "?"}
        reasons: list[tuple[dict[str, Any], str]] = [
            ({"type": "cancelled", "reason": "turn_detected"}, "turn_detected"),
            ({"type": "failed", "error": error}, "rate_limit_exceeded"),
            ({"type": "failed"}, ""),
        ]
        for details, reason in reasons:
            response = {"id": "r1", "status": details["type"], "status_details": details}
            raw = message("response.done", response=response)
            self.check(raw, events.ResponseFinished("r1", details["type"], reason))

    def test_errors_are_named_by_their_code_or_else_their_type(self) -> None:
        expired = {"type": "invalid_request_error", "code": "session_expired", "message": "..."}
        self.check(message("error", error=expired), events.ModelError("session_expired", fatal=True))
        nameless = {"type": "server_error", "code": None, "message": "..."}
        self.check(message("error", error=nameless), events.ModelError("server_error", fatal=False))
        self.check(message("error", error={}), events.ModelError("unknown", fatal=False))

    def test_what_nobody_has_heard_of_is_counted_not_refused(self) -> None:
        self.check(message("response.hologram"), events.UnknownModelEvent("response.hologram"))
        self.check(message("x" * 999), events.UnknownModelEvent("x" * 64))
        for raw in ("", "[]", "{}", '{"type":7}', '{"type":"error"'):
            self.check(raw, events.UnknownModelEvent("malformed"))
        self.assertEqual(openai.decode(b"\xff"), [events.UnknownModelEvent("malformed")])
        self.assertEqual(openai.decode(b'{"type":"\xff"}'), [events.UnknownModelEvent("malformed")])

    def test_a_known_message_in_an_unexpected_shape_is_counted_too(self) -> None:
        self.check(of_item("output_audio.delta"), events.UnknownModelEvent("response.output_audio.delta"))

    def test_every_server_event_of_the_sdk_is_known(self) -> None:
        union, *_ = typing.get_args(RealtimeServerEvent)
        kinds = [typing.get_args(event.model_fields["type"].annotation)[0] for event in typing.get_args(union)]
        self.assertGreater(len(kinds), 40)
        for kind in kinds:
            # Without its fields a message that is of use is in an unexpected shape; of the rest nothing comes.
            self.assertEqual(openai.decode(message(kind)) == [], kind in openai.IGNORED, kind)
        self.assertLessEqual(openai.IGNORED, set(kinds))


class Errors(SimpleTestCase):
    def test_only_some_end_the_session(self) -> None:
        fatal = {code for code in ERRORS if error_event(code).fatal}
        ends = (ErrorClass.REFUSED, ErrorClass.SPENT)
        self.assertEqual(fatal, {code for code, kind in ERRORS.items() if kind in ends})
        self.assertEqual(len(fatal), 6)
        self.assertFalse(error_event("never heard of").fatal)

    def test_some_would_end_the_next_one_too(self) -> None:
        self.assertTrue(error_event("insufficient_quota").permanent)
        self.assertFalse(error_event("session_expired").permanent)
        self.assertFalse(error_event("server_error").permanent)

    def test_what_came_too_late_is_benign(self) -> None:
        self.assertTrue(error_event("response_cancel_not_active").benign)
        self.assertFalse(error_event("server_error").benign)

    def test_a_conflict_of_answers_is_told(self) -> None:
        conflict = error_event("conversation_already_has_active_response")
        self.assertEqual((conflict.answering_already, conflict.benign, conflict.fatal), (True, False, False))


class ToTheModel(SimpleTestCase):
    maxDiff = None
    ITEM = "conversation.item.create"
    EXPECTED: typing.ClassVar[dict[commands.ModelCommand, list[dict[str, Any]]]] = {
        commands.ForwardAudio("//8="): [{"type": "input_audio_buffer.append", "audio": "//8="}],
        commands.Say('Hello, "Harbor" {here}.'): [
            {
                "type": "response.create",
                "response": {"instructions": openai.SAY_INSTRUCTIONS.replace("{}", 'Hello, "Harbor" {here}.')},
            }
        ],
        commands.Respond(): [{"type": "response.create"}],
        commands.CancelResponse("r1"): [{"type": "response.cancel", "response_id": "r1"}],
        commands.TruncateItem("i1", 1234): [
            {"type": "conversation.item.truncate", "item_id": "i1", "content_index": 0, "audio_end_ms": 1234}
        ],
        commands.SendToolResult("c1", "{}"): [
            {"type": ITEM, "item": {"type": "function_call_output", "call_id": "c1", "output": "{}"}}
        ],
        commands.SendUserText("[1]"): [
            {
                "type": ITEM,
                "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "[1]"}]},
            }
        ],
        commands.RecallConversation(
            (PastItem("past_1_u", "user", "Hello?"), PastItem("past_1_a", "assistant", "Hi."))
        ): [
            {
                "type": ITEM,
                "item": {
                    "id": "past_1_u",
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Hello?"}],
                },
            },
            {
                "type": ITEM,
                "item": {
                    "id": "past_1_a",
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hi."}],
                },
            },
        ],
        commands.SendNote("[look_up answered: {}]"): [
            {
                "type": ITEM,
                "item": {
                    "type": "message",
                    "role": "system",
                    "content": [{"type": "input_text", "text": "[look_up answered: {}]"}],
                },
            }
        ],
        commands.ReplaceItem("own_0_1", "own_0_1_cut", "Thank you"): [
            {
                "type": "conversation.item.create",
                "previous_item_id": "own_0_1",
                "item": {
                    "id": "own_0_1_cut",
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Thank you"}],
                },
            },
            {"type": "conversation.item.delete", "item_id": "own_0_1"},
        ],
        commands.DropItem("u1"): [{"type": "conversation.item.delete", "item_id": "u1"}],
        commands.CommitAudio(): [{"type": "input_audio_buffer.commit"}],
        commands.CloseModel(): [],
    }

    def strict(self, text: bytes) -> Any:
        self.assertIsInstance(text, bytes)
        parsed = json.loads(text)
        event = CLIENT.validate_json(text, strict=True)
        self.assertEqual(unknown_keys(event), [])
        return parsed

    def test_the_check_itself_finds_a_field_of_the_beta(self) -> None:
        beta = '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"voice":"marin"}}}}'
        self.assertEqual(unknown_keys(CLIENT.validate_json(beta, strict=True)), ["$.session.audio.input.voice"])

    def test_every_command_has_exactly_the_documented_fields(self) -> None:
        for command, sent in self.EXPECTED.items():
            self.assertEqual([self.strict(text) for text in openai.encode(command)], sent)

    def test_no_command_to_the_model_is_forgotten(self) -> None:
        self.assertEqual({type(command) for command in self.EXPECTED}, set(typing.get_args(commands.ModelCommand)))

    def test_a_sentence_is_quoted_word_for_word(self) -> None:
        (text,) = openai.encode(commands.Say("Grüezi, hier ist «Robin»."))
        self.assertIn('"Grüezi, hier ist «Robin»."', json.loads(text)["response"]["instructions"])

    def test_audio_cannot_break_out_of_its_message(self) -> None:
        (text,) = openai.encode(commands.ForwardAudio('x","type":"response.create'))
        self.assertEqual(json.loads(text)["type"], "input_audio_buffer.append")

    def configured(self, **changes: Any) -> Any:
        settings: dict[str, Any] = {
            "instructions": "Be brief.",
            "voice": "marin",
            "language": "de-CH",
            "transcription_model": "gpt-transcribe",
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 500},
            "tools": [
                {"type": "function", "name": "end_call", "description": "End.", "parameters": {"type": "object"}}
            ],
        }
        return self.strict(openai.session_update(**{**settings, **changes}))["session"]

    def test_a_session_has_the_shape_of_today(self) -> None:
        session = self.configured()
        mu_law = {"type": "audio/pcmu"}  # with a `rate` it would be refused
        expected = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": "Be brief.",
            "audio": {
                "input": {
                    "format": mu_law,
                    "transcription": {"model": "gpt-transcribe", "language": "de"},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "silence_duration_ms": 500,
                        "create_response": False,
                        "interrupt_response": False,
                    },
                },
                "output": {"format": mu_law, "voice": "marin"},
            },
            "tools": [
                {"type": "function", "name": "end_call", "description": "End.", "parameters": {"type": "object"}}
            ],
            "tool_choice": "auto",
        }
        self.assertEqual(session, expected)

    def test_when_to_answer_is_never_left_to_the_server(self) -> None:
        detection = self.configured(turn_detection={"type": "semantic_vad", "create_response": True})
        wanted = {"type": "semantic_vad", "create_response": False, "interrupt_response": False}
        self.assertEqual(detection["audio"]["input"]["turn_detection"], wanted)

    def test_without_a_language_the_transcription_finds_it_out(self) -> None:
        transcription = self.configured(language="", tools=[])["audio"]["input"]["transcription"]
        self.assertEqual(transcription, {"model": "gpt-transcribe"})
