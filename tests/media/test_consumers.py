"""Who may open a media stream, what a stream may send, and that its audio flows, whatever else the process does."""

import asyncio
import time
from base64 import b64decode
from dataclasses import replace
from threading import Event as ThreadEvent
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from autobahn.exception import Disconnected
from django.core.cache import cache
from django.test import SimpleTestCase, override_settings
from structlog.testing import capture_logs

from calls import doors
from calls.admission import Admission
from media import live
from media.bridge import call_config
from media.consumers import MediaStreamConsumer
from media.engine.commands import ForwardAudio, Say
from media.engine.config import CallConfig
from media.engine.events import ModelAudio, ModelReady, ResponseStarted
from media.realtime.base import ModelUnavailable
from tests.media.fakes import ACCOUNT_SID, CALL_SID, FRAME, FakeModel, ListRecorder, agent, eventually, frame
from tests.media.twilio_side import AUTH_TOKEN, SETTINGS, TwilioStream, issue, signature

OTHER_CALL = "CA" + "9" * 32


def quick_config(snapshot: Any, model: Any, **stream: Any) -> CallConfig:
    return replace(call_config(snapshot, model, **stream), start_timeout_seconds=0.05, settle_seconds=0.05)


@override_settings(**SETTINGS)
class StreamCase(SimpleTestCase):
    """A server with a fake model and a recorder that keeps lists."""

    def setUp(self) -> None:
        cache.clear()
        doors.forget_agents()
        doors.remember(agent())
        self.models: list[FakeModel] = []
        self.refusal: ModelUnavailable | None = None
        self.recorder = ListRecorder()
        self.logs = self.enterContext(capture_logs())
        self.enterContext(mock.patch("media.consumers.get_model", self.make_model))
        self.enterContext(mock.patch("media.consumers.get_recorder", lambda: self.recorder))
        self.enterContext(mock.patch("media.bridge.LAST_WORDS_SECONDS", 0.2))

    def make_model(self) -> FakeModel:
        self.models.append(FakeModel(self.refusal))
        return self.models[-1]

    def reasons(self) -> list[str]:
        return [line["reason"] for line in self.logs if line["event"] == "stream_refused"]

    async def assert_over(self, stream: TwilioStream) -> None:
        await eventually(lambda: live.calls.find(stream.call_sid) is None)

    async def talking(self, stream: TwilioStream) -> FakeModel:
        """Open the stream, start it and bring the model up; return the model when it was asked to greet."""
        self.assertTrue(await stream.open())
        model = self.models[-1]
        await stream.start()
        model.session.say(ModelReady("sess_1"))
        await eventually(lambda: model.session.of(Say))
        return model


class HandshakeTests(StreamCase):
    async def assert_refused(self, stream: TwilioStream, reason: str) -> None:
        self.assertFalse(await stream.open())
        self.assertEqual(self.reasons(), [reason])
        self.assertEqual(self.models, [])
        self.assertEqual(self.recorder.facts, [])
        self.assertEqual(len(live.calls), 0)

    async def test_without_a_signature(self) -> None:
        await self.assert_refused(TwilioStream(signed=None), "bad_signature")

    async def test_with_a_wrong_signature(self) -> None:
        await self.assert_refused(TwilioStream(signed=signature("/somewhere/else/")), "bad_signature")

    async def test_signed_with_a_foreign_token(self) -> None:
        ticket, _ = issue()
        signed = signature(f"/media/stream/{CALL_SID}/{ticket}/", token=AUTH_TOKEN[::-1])
        await self.assert_refused(TwilioStream(ticket=ticket, signed=signed), "bad_signature")

    async def test_with_a_forged_ticket(self) -> None:
        ticket, _ = issue()
        await self.assert_refused(TwilioStream(ticket=ticket[:-2] + "AA"), "bad_signature")

    async def test_with_the_ticket_of_another_call(self) -> None:
        ticket, _ = issue(OTHER_CALL)
        await self.assert_refused(TwilioStream(ticket=ticket), "other_call")

    async def test_with_an_expired_ticket(self) -> None:
        ticket, _ = issue(now=time.time() - 3600)
        await self.assert_refused(TwilioStream(ticket=ticket), "expired")

    async def test_with_a_ticket_of_another_business(self) -> None:
        ticket, _ = issue(business_id=4)
        await self.assert_refused(TwilioStream(ticket=ticket), "no_agent")

    async def test_from_a_web_page(self) -> None:
        stream = TwilioStream(headers=((b"origin", b"https://voice.example.com"),))
        await self.assert_refused(stream, "browser_origin")

    async def test_while_the_server_is_stopping(self) -> None:
        with mock.patch.object(live.calls, "accepting", False):
            await self.assert_refused(TwilioStream(), "server_stopping")

    async def test_that_is_still_being_checked_when_the_server_stops(self) -> None:
        async def admit_and_stop(ticket: Any) -> Any:
            live.calls.accepting = False
            return agent()

        with mock.patch.object(live.calls, "accepting", True), mock.patch("media.consumers.admit", admit_and_stop):
            await self.assert_refused(TwilioStream(), "server_stopping")

    async def test_beyond_what_the_process_carries(self) -> None:
        full = Admission(max_calls=1, late_seconds=1.0, journal_reason=str)
        full.stream_opened(OTHER_CALL)
        with mock.patch("calls.admission._admission", full):
            await self.assert_refused(TwilioStream(), "process_full")
            full.stream_closed(OTHER_CALL)
            stream = TwilioStream()
            self.assertTrue(await stream.open())
            self.assertFalse(full.fits(OTHER_CALL, time.monotonic()))
            await stream.hang_up()
            await self.assert_over(stream)
            self.assertTrue(full.fits(OTHER_CALL, time.monotonic()))

    async def test_with_a_used_ticket(self) -> None:
        first = TwilioStream()
        self.assertTrue(await first.open())
        again = TwilioStream(ticket=first.ticket)
        self.assertFalse(await again.open())
        self.assertEqual(self.reasons(), ["ticket_used"])
        self.assertEqual(len(self.models), 1)
        await first.hang_up()
        await self.assert_over(first)

    async def test_an_address_nobody_serves_is_refused_without_a_traceback(self) -> None:
        stream = TwilioStream(call_sid="not-a-call")
        self.assertFalse(await stream.open())

    async def test_a_signed_stream_with_a_fresh_ticket_is_let_in_and_the_model_opens_before_start(self) -> None:
        stream = TwilioStream()
        self.assertTrue(await stream.open())
        await eventually(lambda: self.models and self.models[0].opened)
        self.assertEqual(self.recorder.facts, [])
        await stream.hang_up()
        await self.assert_over(stream)


class StartTests(StreamCase):
    async def assert_thrown_out(self, stream: TwilioStream, reason: str, **start: Any) -> None:
        self.assertTrue(await stream.open())
        self.models[0].session.say(ModelReady("sess_1"))
        await stream.start(**start)
        await eventually(lambda: stream.close_code)
        self.assertEqual(stream.close_code, 4008)
        self.assertEqual(self.reasons(), [reason])
        await self.assert_over(stream)
        self.assertEqual(self.recorder.facts, [])
        self.assertEqual(self.models[0].session.of(Say), [])
        self.assertTrue(self.models[0].session.closed)

    async def test_without_a_token(self) -> None:
        await self.assert_thrown_out(TwilioStream(), "bad_signature", customParameters={})

    async def test_with_the_token_of_another_ticket(self) -> None:
        _, token = issue()
        await self.assert_thrown_out(TwilioStream(token=token), "other_ticket")

    async def test_with_a_ticket_for_a_token(self) -> None:
        ticket, _ = issue()
        await self.assert_thrown_out(TwilioStream(token=ticket), "bad_signature")

    async def test_for_another_call(self) -> None:
        await self.assert_thrown_out(TwilioStream(), "other_call", callSid=OTHER_CALL)

    async def test_for_another_account(self) -> None:
        await self.assert_thrown_out(TwilioStream(), "other_account", accountSid="AC" + "8" * 32)

    async def test_a_second_start_ends_the_stream(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.start()
        await eventually(lambda: stream.close_code == 4008)
        self.assertEqual(self.reasons(), ["second_start"])
        await self.assert_over(stream)

    async def test_a_stream_that_does_not_start_in_time_is_closed_unspoken(self) -> None:
        with mock.patch("media.consumers.call_config", quick_config):
            stream = TwilioStream()
            self.assertTrue(await stream.open())
            self.models[0].session.say(ModelReady("sess_1"))
            await eventually(lambda: stream.close_code == 4008)
        await self.assert_over(stream)
        self.assertEqual(self.models[0].session.of(Say), [])
        self.assertEqual(self.recorder.of("create_call_log"), [])

    async def test_audio_before_start_goes_nowhere(self) -> None:
        stream = TwilioStream()
        self.assertTrue(await stream.open())
        self.models[0].session.say(ModelReady("sess_1"))
        await stream.media(frame(1))
        await stream.start()
        await eventually(lambda: self.models[0].session.of(Say))
        await stream.media(frame(2))
        await eventually(lambda: self.models[0].session.of(ForwardAudio))
        self.assertEqual(self.models[0].session.of(ForwardAudio), [ForwardAudio(frame(2))])
        await stream.hang_up()
        await self.assert_over(stream)


class LimitTests(StreamCase):
    async def test_a_binary_message_ends_the_stream(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.socket.send_to(bytes_data=b"\x00")
        await eventually(lambda: stream.close_code == 4003)
        await self.assert_over(stream)
        self.assertEqual(len(self.recorder.of("finalize_call_log")), 1)

    async def test_an_oversized_message_ends_the_stream(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.media("A" * 65 * 1024)
        await eventually(lambda: stream.close_code == 4009)
        await self.assert_over(stream)

    async def test_a_malformed_message_is_ignored_but_not_for_ever(self) -> None:
        stream = TwilioStream()
        model = await self.talking(stream)
        await stream.socket.send_to(text_data='{"event": "media"')
        await stream.media(frame(1))
        await eventually(lambda: model.session.of(ForwardAudio))
        self.assertIsNone(stream.close_code)
        for _ in range(50):
            await stream.socket.send_to(text_data='{"event": "media"')
        await eventually(lambda: stream.close_code == 4008)
        await self.assert_over(stream)


class AudioTests(StreamCase):
    async def test_every_frame_of_the_caller_reaches_the_model_untouched_and_in_order(self) -> None:
        stream = TwilioStream()
        model = await self.talking(stream)
        sent = [frame(number) for number in range(200)]
        for payload in sent:
            await stream.media(payload)
        await eventually(lambda: len(model.session.of(ForwardAudio)) == 200)
        self.assertEqual([command.payload for command in model.session.of(ForwardAudio)], sent)
        await stream.hang_up()
        await self.assert_over(stream)

    async def test_every_byte_of_the_answer_reaches_the_caller_untouched_and_in_order(self) -> None:
        stream = TwilioStream()
        model = await self.talking(stream)
        sent = [frame(number) for number in range(30)]
        model.session.say(ResponseStarted("resp_1"))
        for payload in sent:
            model.session.say(ModelAudio("resp_1", "item_1", b64decode(payload)))

        await eventually(lambda: len(stream.audio()) >= 30 * 160)
        self.assertEqual(stream.audio(), b"".join(b64decode(payload) for payload in sent))
        self.assertTrue(stream.events("mark"))
        await stream.hang_up()
        await self.assert_over(stream)

    async def test_a_blocked_database_thread_does_not_delay_a_frame(self) -> None:
        stream = TwilioStream()
        model = await self.talking(stream)
        release = ThreadEvent()
        # The one thread that pages and other consumers use for the ORM.
        blocker = asyncio.ensure_future(sync_to_async(release.wait, thread_sensitive=True)(30))
        try:
            for number in range(50):
                await stream.media(frame(number))
            await eventually(lambda: len(model.session.of(ForwardAudio)) == 50)
            self.assertFalse(blocker.done())
        finally:
            release.set()
            await blocker
        await stream.hang_up()
        await self.assert_over(stream)

    async def test_a_handshake_does_not_wait_for_the_blocked_database_thread_either(self) -> None:
        release = ThreadEvent()
        blocker = asyncio.ensure_future(sync_to_async(release.wait, thread_sensitive=True)(30))
        try:
            stream = TwilioStream()
            await self.talking(stream)
            self.assertFalse(blocker.done())
        finally:
            release.set()
            await blocker
        await stream.hang_up()
        await self.assert_over(stream)

    async def test_ten_calls_at_once_do_not_mix(self) -> None:
        streams = [TwilioStream(call_sid="CA" + f"{number:032x}") for number in range(10)]
        models = []
        for stream in streams:
            models.append(await self.talking(stream))
        for number in range(20):
            for index, stream in enumerate(streams):
                await stream.media(frame(1000 * index + number))
        await eventually(lambda: all(len(model.session.of(ForwardAudio)) == 20 for model in models))
        for index, model in enumerate(models):
            heard = [command.payload for command in model.session.of(ForwardAudio)]
            self.assertEqual(heard, [frame(1000 * index + number) for number in range(20)])
        for stream in streams:
            await stream.hang_up()
        for stream in streams:
            await self.assert_over(stream)
        finals = {final["call_sid"]: final["status"] for final in self.recorder.of("finalize_call_log")}
        self.assertEqual(finals, {stream.call_sid: "completed" for stream in streams})


class EndTests(StreamCase):
    async def test_a_caller_who_hangs_up_leaves_a_finished_record(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.hang_up()
        await self.assert_over(stream)
        (created,) = self.recorder.of("create_call_log")
        (final,) = self.recorder.of("finalize_call_log")
        self.assertEqual((created["call_sid"], created["account_sid"]), (CALL_SID, ACCOUNT_SID))
        self.assertEqual(
            (created["from_number"], created["to_number"], created["direction"]),
            ("+15550100111", "+15550100100", "inbound"),
        )
        self.assertEqual((final["status"], final["ended_reason"]), ("completed", "caller_hung_up"))
        self.assertEqual((final["business_id"], final["model_session_id"]), (3, "sess_1"))
        self.assertTrue(self.models[0].session.closed)

    async def test_a_socket_that_just_breaks_leaves_a_finished_record(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.socket.send_input({"type": "websocket.disconnect", "code": 1006})
        await self.assert_over(stream)
        self.assertEqual(len(self.recorder.of("finalize_call_log")), 1)

    async def test_audio_that_meets_a_closing_socket_does_not_hide_that_the_caller_hung_up(self) -> None:
        stream = TwilioStream()
        model = await self.talking(stream)
        with mock.patch.object(MediaStreamConsumer, "send", side_effect=Disconnected) as send:
            model.session.say(ResponseStarted("resp_1"), ModelAudio("resp_1", "item_1", b64decode(FRAME)))
            await eventually(lambda: send.called)
            await stream.hang_up()  # it was there before the close, and is only read now
        await self.assert_over(stream)
        (final,) = self.recorder.of("finalize_call_log")
        self.assertEqual(final["ended_reason"], "caller_hung_up")
        self.assertNotIn("call_task_died", [line["event"] for line in self.logs])

    async def test_a_consumer_that_dies_leaves_a_finished_record(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        with mock.patch("media.wire.twilio.decode", side_effect=ZeroDivisionError):
            await stream.media(FRAME)
            await self.assert_over(stream)
        with self.assertRaises(ZeroDivisionError):  # the server's to log, and to close the socket for
            await stream.socket.wait()
        self.assertEqual(len(self.recorder.of("finalize_call_log")), 1)

    async def test_a_model_that_refuses_ends_the_call_as_failed(self) -> None:
        self.refusal = ModelUnavailable("http_401", permanent=True)
        stream = TwilioStream()
        self.assertTrue(await stream.open())
        await stream.start()
        await self.assert_over(stream)
        (final,) = self.recorder.of("finalize_call_log")
        self.assertEqual((final["status"], final["ended_reason"]), ("in-progress", "model_refused"))
        self.assertIsNotNone(stream.close_code)

    async def test_two_calls_in_a_row_are_like_one(self) -> None:
        for call_sid in (CALL_SID, OTHER_CALL):
            stream = TwilioStream(call_sid=call_sid)
            await self.talking(stream)
            await stream.hang_up()
            await self.assert_over(stream)
        self.assertEqual([final["call_sid"] for final in self.recorder.of("finalize_call_log")], [CALL_SID, OTHER_CALL])

    async def test_no_word_and_no_number_is_in_the_log(self) -> None:
        stream = TwilioStream()
        await self.talking(stream)
        await stream.media(FRAME)
        await stream.hang_up()
        await self.assert_over(stream)
        self.assertTrue(self.logs)
        for private in ("+1555", FRAME, stream.ticket, stream.token, "good morning"):
            self.assertNotIn(private, str(self.logs))
