import base64
import random

from django.test import SimpleTestCase

from media.engine.commands import PlayAudio, SendMark
from media.engine.playback import Playback, audio_bytes
from tests.engine.driver import audio, size


def playback() -> Playback:
    return Playback(overdue_seconds=2.0)


def plays(commands: list[PlayAudio | SendMark]) -> list[str]:
    return [command.payload for command in commands if isinstance(command, PlayAudio)]


def marks(commands: list[PlayAudio | SendMark]) -> list[str]:
    return [command.name for command in commands if isinstance(command, SendMark)]


class Pieces(SimpleTestCase):
    def test_bytes_are_counted_without_decoding(self) -> None:
        for length in range(1, 2000):
            payload = base64.b64encode(bytes(length)).decode()
            self.assertEqual(audio_bytes(payload), length)
            self.assertEqual(audio_bytes(payload.rstrip("=")), length)

    def test_a_large_delta_is_cut_into_180_ms_each_with_a_mark_behind_it(self) -> None:
        done = playback().receive("r", "a", audio(360), 0.0)
        self.assertEqual(done, [PlayAudio(audio(180)), SendMark("m1"), PlayAudio(audio(180)), SendMark("m2")])

    def test_small_deltas_pass_untouched_and_share_a_mark(self) -> None:
        book = playback()
        for _ in range(8):
            self.assertEqual(book.receive("r", "a", audio(20), 0.0), [PlayAudio(audio(20))])
        self.assertEqual(marks(book.receive("r", "a", audio(20), 0.0)), ["m1"])

    def test_no_byte_is_lost_and_marks_are_never_further_apart_than_180_ms(self) -> None:
        dice = random.Random(7)
        for _ in range(50):
            book, sent, got, unmarked = playback(), b"", b"", 0
            for _ in range(20):
                data = dice.randbytes(dice.randint(1, 5000))
                sent += data
                for command in book.receive("r", "a", base64.b64encode(data).decode(), 0.0):
                    if isinstance(command, PlayAudio):
                        got += base64.b64decode(command.payload, validate=True)
                        unmarked += size(command.payload)
                        self.assertLessEqual(unmarked, 1440)
                    else:
                        unmarked = 0
            self.assertEqual(got, sent)
            self.assertEqual(book.items["a"].sent, len(sent))

    def test_the_end_of_an_item_gets_a_mark_of_its_own(self) -> None:
        book = playback()
        book.receive("r", "a", audio(100), 0.0)
        self.assertEqual(book.finish("a", 0.0), [SendMark("m1")])
        self.assertEqual(book.finish("nobody", 0.0), [])

    def test_an_item_that_ends_on_a_mark_needs_no_other(self) -> None:
        book = playback()
        book.receive("r", "a", audio(180), 0.0)
        self.assertEqual(book.finish_response("r", 0.0), [])
        self.assertTrue(book.items["a"].complete)


class Hearing(SimpleTestCase):
    def test_a_mark_proves_that_all_before_it_was_heard(self) -> None:
        book = playback()
        book.receive("r", "a", audio(540), 0.0)
        self.assertTrue(book.mark_reached("m2", 0.36))  # m1 was lost
        self.assertEqual(book.items["a"].heard_ms, 360)
        self.assertFalse(book.mark_reached("m1", 0.4))

    def test_between_marks_the_clock_counts(self) -> None:
        book = playback()
        book.receive("r", "a", audio(540), 0.0)
        book.mark_reached("m1", 0.18)
        (item,) = book.cut(0.28)
        self.assertAlmostEqual(item.heard_ms, 280, delta=1)

    def test_but_never_past_the_next_mark(self) -> None:
        book = playback()
        book.receive("r", "a", audio(540), 0.0)
        book.mark_reached("m1", 0.18)
        (item,) = book.cut(9.0)
        self.assertEqual(item.heard_ms, 360)

    def test_playback_that_ran_dry_begins_anew_with_the_next_piece(self) -> None:
        book = playback()
        book.receive("r", "a", audio(100), 0.0)
        book.receive("r", "a", audio(2000), 5.0)
        (item,) = book.cut(5.05)
        self.assertAlmostEqual(item.heard_ms, 150, delta=1)

    def test_an_item_heard_to_its_end_is_over(self) -> None:
        book = playback()
        book.receive("r", "a", audio(180), 0.0)
        self.assertTrue(book.is_open("a"))
        book.finish("a", 0.0)
        book.mark_reached("m1", 0.2)
        self.assertFalse(book.is_open("a"))
        self.assertFalse(book.busy)
        self.assertEqual((book.items["a"].started, book.items["a"].ended), (0.0, 0.2))
        self.assertEqual(book.cut(0.3), [])

    def test_an_item_that_ends_after_it_was_heard_is_over_too(self) -> None:
        book = playback()
        book.receive("r", "a", audio(180), 0.0)
        book.mark_reached("m1", 0.2)
        self.assertTrue(book.is_open("a"))
        book.finish("a", 0.9)
        self.assertFalse(book.is_open("a"))

    def test_an_item_that_goes_on_after_its_end_is_open_again(self) -> None:
        book = playback()
        book.receive("r", "a", audio(180), 0.0)
        book.finish("a", 0.1)
        book.mark_reached("m1", 0.2)
        self.assertEqual(len(plays(book.receive("r", "a", audio(20), 0.3))), 1)
        self.assertTrue(book.is_open("a"))

    def test_a_cut_item_never_plays_again_but_what_was_generated_is_counted(self) -> None:
        book = playback()
        book.receive("r", "a", audio(400), 0.0)
        book.cut(0.1)
        self.assertEqual(book.receive("r", "a", audio(400), 0.2), [])
        book.refuse("r", "b", audio(400), 0.2)
        self.assertEqual((book.items["a"].received_ms, book.items["a"].heard_ms), (800, 100))
        self.assertEqual((book.items["b"].received_ms, book.items["b"].heard_ms), (400, 0))
        self.assertFalse(book.is_open("b"))


class Waiting(SimpleTestCase):
    def test_the_end_is_expected_by_the_clock_and_corrected_by_marks(self) -> None:
        book = playback()
        self.assertIsNone(book.deadline())
        book.receive("r", "a", audio(1800), 10.0)
        self.assertAlmostEqual(book.expected_end(), 11.8)
        book.mark_reached("m1", 10.5)  # played 320 ms later than the clock said
        self.assertAlmostEqual(book.expected_end(), 12.12)
        self.assertAlmostEqual(book.deadline() or 0, 14.12)

    def test_audio_after_a_pause_is_expected_from_then_on(self) -> None:
        book = playback()
        book.receive("r", "a", audio(180), 0.0)
        book.receive("r", "a", audio(800), 1.9)  # the mark is late, not yet given up
        self.assertAlmostEqual(book.expected_end(), 2.7)

    def test_marks_are_given_up_once_they_are_overdue(self) -> None:
        book = playback()
        book.receive("r", "a", audio(1000), 0.0)
        book.finish("a", 0.0)
        self.assertEqual(book.tick(2.9), [])
        self.assertTrue(book.busy)
        self.assertEqual(book.tick(3.0), [])
        self.assertFalse(book.busy)
        self.assertTrue(book.items["a"].wholly_heard)
        book.tick(4.0)
        self.assertIsNone(book.deadline())
