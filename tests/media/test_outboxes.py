"""Outboxes: order, bounds, and what a clear does."""

import asyncio
from typing import Any

from django.test import SimpleTestCase

from media.engine.commands import (
    CarrierCommand,
    ClearPlayback,
    CloseStream,
    ForwardAudio,
    ModelCommand,
    PlayAudio,
    Respond,
    Say,
    SendMark,
)
from media.outboxes import CarrierOutbox, ModelOutbox, audio_ms
from tests.media.fakes import frame


async def take(outbox: Any, count: int) -> list[Any]:
    async with asyncio.timeout(1):
        return [await outbox.get() for _ in range(count)]


class AudioLengthTests(SimpleTestCase):
    def test_a_carrier_frame_is_20_ms(self) -> None:
        self.assertEqual(audio_ms(frame(1)), 20)

    def test_padding_does_not_count(self) -> None:
        self.assertEqual(audio_ms("////////////"), 1)  # 9 bytes
        self.assertEqual(audio_ms("//////////8="), 1)  # 8 bytes
        self.assertEqual(audio_ms("/////////w=="), 0)  # 7 bytes


class ModelOutboxTests(SimpleTestCase):
    async def test_commands_leave_in_the_order_they_came(self) -> None:
        outbox = ModelOutbox()
        sent: list[ModelCommand] = [Say("Hello."), ForwardAudio(frame(1)), Respond()]
        for command in sent:
            outbox.put(command)
        self.assertEqual(await take(outbox, 3), sent)

    async def test_a_waiting_reader_gets_what_is_put_later(self) -> None:
        outbox = ModelOutbox()
        reader = asyncio.ensure_future(take(outbox, 1))
        await asyncio.sleep(0)
        outbox.put(Respond())
        self.assertEqual(await reader, [Respond()])

    async def test_the_oldest_audio_is_dropped_and_counted_when_full(self) -> None:
        outbox = ModelOutbox(max_audio_ms=60)
        for number in range(5):
            outbox.put(ForwardAudio(frame(number)))
        self.assertEqual(await take(outbox, 3), [ForwardAudio(frame(number)) for number in (2, 3, 4)])
        self.assertEqual(outbox.dropped_ms, 40)

    async def test_other_commands_are_never_dropped(self) -> None:
        outbox = ModelOutbox(max_audio_ms=20)
        outbox.put(Say("Hello."))
        for number in range(3):
            outbox.put(ForwardAudio(frame(number)))
        self.assertEqual(await take(outbox, 2), [Say("Hello."), ForwardAudio(frame(2))])

    async def test_audio_that_has_left_makes_room(self) -> None:
        outbox = ModelOutbox(max_audio_ms=20)
        for number in range(3):
            outbox.put(ForwardAudio(frame(number)))
            await take(outbox, 1)
        self.assertEqual(outbox.dropped_ms, 0)


class CarrierOutboxTests(SimpleTestCase):
    async def test_a_clear_goes_first_and_drops_the_audio_but_keeps_the_marks(self) -> None:
        outbox = CarrierOutbox()
        waiting: list[CarrierCommand] = [PlayAudio(b"1"), SendMark("m-1"), PlayAudio(b"2"), SendMark("m-2")]
        for command in [*waiting, ClearPlayback(), PlayAudio(b"3")]:
            outbox.put(command)
        self.assertEqual(await take(outbox, 4), [ClearPlayback(), SendMark("m-1"), SendMark("m-2"), PlayAudio(b"3")])

    async def test_a_full_outbox_says_so_and_still_takes_the_end(self) -> None:
        outbox = CarrierOutbox(max_commands=2)
        self.assertTrue(outbox.put(PlayAudio(b"1")))
        self.assertTrue(outbox.put(PlayAudio(b"2")))
        self.assertFalse(outbox.put(PlayAudio(b"3")))
        self.assertTrue(outbox.put(CloseStream()))
        self.assertEqual(await take(outbox, 3), [PlayAudio(b"1"), PlayAudio(b"2"), CloseStream()])
