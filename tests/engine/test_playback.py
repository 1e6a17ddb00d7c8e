import base64
import random

from django.test import SimpleTestCase

from media.engine.caller_audio import audio_bytes
from media.engine.commands import PlayAudio, SendMark
from media.engine.playback import MARK_BYTES, Playback
from tests.engine.driver import sound


def playback(ahead_seconds: float = 60.0) -> Playback:
    return Playback(overdue_seconds=2.0, ahead_seconds=ahead_seconds)


def plays(commands: list[PlayAudio | SendMark]) -> bytes:
    return b"".join(command.audio for command in commands if isinstance(command, PlayAudio))


def marks(commands: list[PlayAudio | SendMark]) -> list[str]:
    return [command.name for command in commands if isinstance(command, SendMark)]


def speech(ms: int, seed: int = 7) -> bytes:
    """Of which no part is like another."""
    return random.Random(seed).randbytes(ms * 8)


class Pieces(SimpleTestCase):
    def test_bytes_of_the_callers_side_are_counted_without_decoding(self) -> None:
        for length in range(1, 2000):
            payload = base64.b64encode(bytes(length)).decode()
            self.assertEqual(audio_bytes(payload), length)
            self.assertEqual(audio_bytes(payload.rstrip("=")), length)

    def test_a_large_delta_is_cut_into_180_ms_each_with_a_mark_behind_it(self) -> None:
        done = playback().receive("r", "a", sound(360), 0.0)
        self.assertEqual(done, [PlayAudio(sound(180)), SendMark("m1"), PlayAudio(sound(180)), SendMark("m2")])

    def test_small_deltas_pass_as_they_are_and_share_a_mark(self) -> None:
        book = playback()
        for _ in range(8):
            self.assertEqual(book.receive("r", "a", sound(20), 0.0), [PlayAudio(sound(20))])
        self.assertEqual(marks(book.receive("r", "a", sound(20), 0.0)), ["m1"])

    def test_only_whole_frames_are_sent_and_the_rest_with_what_follows_or_at_the_end(self) -> None:
        book = playback()
        self.assertEqual(plays(book.receive("r", "a", sound(30), 0.0)), sound(20))
        self.assertEqual(plays(book.receive("r", "a", sound(5), 0.0)), b"")
        self.assertEqual(plays(book.receive("r", "a", sound(10), 0.0)), sound(20))
        self.assertEqual(book.finish("a", 0.0), [PlayAudio(sound(5)), SendMark("m1")])

    def test_the_rest_of_an_item_is_sent_before_another_one(self) -> None:
        book = playback()
        book.receive("r", "a", sound(30), 0.0)
        self.assertEqual(plays(book.receive("r", "b", sound(20, 1), 0.0)), sound(10) + sound(20, 1))

    def test_no_byte_is_lost_and_marks_are_never_further_apart_than_180_ms(self) -> None:
        dice = random.Random(7)
        for _ in range(50):
            book, sent, got, unmarked = playback(), b"", b"", 0
            for _ in range(20):
                data = dice.randbytes(dice.randint(1, 5000))
                sent += data
                for command in book.receive("r", "a", data, 0.0):
                    if isinstance(command, PlayAudio):
                        got += command.audio
                        unmarked += len(command.audio)
                        self.assertLessEqual(unmarked, MARK_BYTES)
                    else:
                        unmarked = 0
            got += plays(book.finish("a", 0.0))
            self.assertEqual(got, sent)
            self.assertEqual(book.items["a"].sent, len(sent))

    def test_the_end_of_an_item_gets_a_mark_of_its_own(self) -> None:
        book = playback()
        book.receive("r", "a", sound(100), 0.0)
        self.assertEqual(book.finish("a", 0.0), [SendMark("m1")])
        self.assertEqual(book.finish("a", 0.0), [])
        self.assertEqual(book.finish("nobody", 0.0), [])

    def test_an_item_that_ends_on_a_mark_needs_no_other(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 0.0)
        self.assertEqual(book.finish_response("r", 0.0), [])
        self.assertTrue(book.items["a"].complete)

    def test_all_items_end_when_the_model_is_gone(self) -> None:
        book = playback()
        book.receive("r", "a", sound(100), 0.0)
        book.receive("r", "b", sound(100), 0.0)
        self.assertTrue(book.has_open_ends)
        self.assertEqual(book.finish_all(0.0), [SendMark("m2")])
        self.assertFalse(book.has_open_ends)


class Hearing(SimpleTestCase):
    def test_a_mark_proves_that_all_before_it_was_heard(self) -> None:
        book = playback()
        book.receive("r", "a", sound(540), 0.0)
        self.assertTrue(book.mark_reached("m2", 0.36))  # m1 was lost
        self.assertEqual(book.items["a"].heard_ms, 360)
        self.assertFalse(book.mark_reached("m1", 0.4))

    def test_between_marks_the_clock_counts(self) -> None:
        book = playback()
        book.receive("r", "a", sound(540), 0.0)
        book.mark_reached("m1", 0.18)
        (item,) = book.cut(0.28)
        self.assertAlmostEqual(item.heard_ms, 280, delta=1)

    def test_but_not_far_past_a_mark_that_should_be_back(self) -> None:
        book = playback()
        book.receive("r", "a", sound(540), 0.0)
        book.mark_reached("m1", 0.18)
        (item,) = book.cut(9.0)
        self.assertEqual(item.heard_ms, 540)
        book = playback()
        book.receive("r", "a", sound(1980), 0.0)
        book.mark_reached("m1", 0.18)
        (item,) = book.cut(9.0)
        self.assertEqual(item.heard_ms, 610)  # the second mark, and a quarter of a second

    def test_the_promptest_marks_tell_how_late_playback_is_and_late_ones_nothing(self) -> None:
        book = playback()
        book.receive("r", "a", sound(1980), 0.0)
        for number, late in enumerate((0.2, 0.05, 0.15, 0.09), start=1):
            book.mark_reached(f"m{number}", number * 0.18 + late)
        (item,) = book.cut(1.0)
        self.assertEqual(item.heard_ms, 950)

    def test_what_is_proven_is_never_too_early(self) -> None:
        book = playback()
        book.receive("r", "a", sound(1980), 0.0)
        book.mark_reached("m2", 0.3)
        (item,) = book.cut(0.4)
        self.assertEqual(item.heard_ms, 460)

    def test_playback_that_ran_dry_begins_anew_with_the_next_piece_and_is_counted(self) -> None:
        book = playback()
        book.receive("r", "a", sound(100), 0.0)
        book.receive("r", "a", sound(2000), 5.0)
        self.assertEqual((book.underruns, round(book.underrun_seconds, 3)), (1, 4.9))
        (item,) = book.cut(5.05)
        self.assertAlmostEqual(item.heard_ms, 150, delta=1)

    def test_a_pause_between_two_items_is_none_of_the_line(self) -> None:
        book = playback()
        book.receive("r", "a", sound(100), 0.0)
        book.receive("r", "b", sound(100), 5.0)
        self.assertEqual(book.underruns, 0)

    def test_an_item_heard_to_its_end_is_over(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 0.0)
        book.finish("a", 0.0)
        self.assertTrue(book.busy)
        book.mark_reached("m1", 0.2)
        self.assertFalse(book.busy)
        item = book.items["a"]
        self.assertTrue(item.wholly_heard)
        self.assertEqual((item.started, item.ended, item.first_sent), (0.0, 0.2, 0.0))
        self.assertAlmostEqual(item.first_heard or 0.0, 0.02, delta=0.03)
        self.assertEqual(book.cut(0.3), [])

    def test_an_item_that_ends_after_it_was_heard_is_over_too(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 0.0)
        book.mark_reached("m1", 0.2)
        self.assertFalse(book.items["a"].wholly_heard)
        book.finish("a", 0.9)
        self.assertTrue(book.items["a"].wholly_heard)
        self.assertFalse(book.has_open_ends)

    def test_an_item_that_goes_on_after_its_end_is_open_again(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 0.0)
        book.finish("a", 0.1)
        book.mark_reached("m1", 0.2)
        self.assertEqual(plays(book.receive("r", "a", sound(20), 0.3)), sound(20))
        self.assertTrue(book.has_open_ends)

    def test_a_cut_item_never_plays_again_but_what_was_generated_is_counted(self) -> None:
        book = playback()
        book.receive("r", "a", sound(400), 0.0)
        book.cut(0.1)
        self.assertEqual(book.receive("r", "a", sound(400), 0.2), [])
        book.refuse("r", "b", sound(400), 0.2)
        self.assertEqual((book.items["a"].received_ms, book.items["a"].heard_ms), (800, 100))
        self.assertEqual((book.items["b"].received_ms, book.items["b"].heard_ms), (400, 0))
        self.assertTrue(book.is_cut("a") and book.is_cut("b"))


class Waiting(SimpleTestCase):
    def test_the_end_is_expected_by_the_clock_and_corrected_by_marks(self) -> None:
        book = playback()
        self.assertIsNone(book.deadline())
        self.assertIsNone(book.all_played_by())
        book.receive("r", "a", sound(1800), 10.0)
        self.assertAlmostEqual(book.deadline() or 0, 13.8)
        book.mark_reached("m1", 10.5)  # one mark that is late may be late itself
        self.assertAlmostEqual(book.deadline() or 0, 13.86)
        book.mark_reached("m2", 10.68)
        book.mark_reached("m3", 10.84)  # three are not all late: playback is at least 300 ms behind the clock
        self.assertAlmostEqual(book.deadline() or 0, 14.1)
        self.assertAlmostEqual(book.all_played_by() or 0, 14.1)

    def test_audio_after_a_pause_is_expected_from_then_on(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 0.0)
        book.receive("r", "a", sound(720), 1.9)  # the mark is late, not yet given up
        self.assertAlmostEqual(book.deadline() or 0, 4.62)

    def test_an_item_that_stalls_is_marked_where_it_does(self) -> None:
        book = playback()
        book.receive("r", "a", sound(100), 0.0)
        self.assertAlmostEqual(book.deadline() or 0, 0.2)
        self.assertEqual(book.tick(0.19), [])
        self.assertEqual(book.tick(0.2), [SendMark("m1")])
        self.assertAlmostEqual(book.deadline() or 0, 2.1)
        book.mark_reached("m1", 0.25)
        self.assertEqual(book.items["a"].heard_ms, 100)
        self.assertFalse(book.model_speaks)

    def test_marks_are_given_up_once_they_are_overdue(self) -> None:
        book = playback()
        book.receive("r", "a", sound(1000), 0.0)
        book.finish("a", 0.0)
        self.assertEqual(book.tick(2.9), [])
        self.assertTrue(book.busy)
        self.assertEqual(book.tick(3.0), [])
        self.assertFalse(book.busy)
        self.assertTrue(book.items["a"].wholly_heard)
        book.tick(4.0)
        self.assertIsNone(book.deadline())


class RunningAhead(SimpleTestCase):
    def test_no_more_is_sent_than_so_far_ahead_and_the_rest_in_time(self) -> None:
        book, said = playback(1.0), speech(10_000)
        sent, now = plays(book.receive("r", "a", said, 0.0)), 0.0
        book.finish("a", 0.0)
        while (deadline := book.deadline()) is not None and len(sent) < len(said):
            self.assertLessEqual(len(sent) / 8000, now + 1.0 + 0.1801)
            self.assertGreater(deadline, now)
            now = deadline
            more = plays(book.tick(now))
            self.assertTrue(more, "woken for nothing")
            sent += more
        self.assertEqual(sent, said)
        self.assertEqual(book.underruns, 0)

    def test_it_is_woken_for_something_whatever_the_numbers_are(self) -> None:
        dice = random.Random(3)
        for _ in range(300):
            book, now = playback(dice.choice((0.1, 0.3, 0.7, 1.1, 2.0))), dice.uniform(0, 2000)
            book.receive("r", "a", speech(dice.randint(1500, 4000)), now)
            for _ in range(12):
                waits = book.waiting_seconds
                deadline = book.deadline()
                assert deadline is not None
                if waits < 0.02:
                    break
                book.tick(deadline)
                self.assertLess(book.waiting_seconds, waits)

    def test_it_runs_ahead_of_what_the_marks_say_not_of_the_clock(self) -> None:
        book = playback(1.0)
        book.receive("r", "a", speech(5000), 0.0)
        book.mark_reached("m1", 0.68)  # the line is half a second late
        book.tick(0.7)
        self.assertLess(book._sent - book._proven, 8000 * 1.5)  # what the carrier does not play is not added to

    def test_what_was_received_and_not_sent_is_still_to_be_heard(self) -> None:
        book = playback(1.0)
        book.receive("r", "a", sound(5000), 0.0)
        self.assertAlmostEqual(book.waiting_seconds, 3.92)
        self.assertAlmostEqual(book.all_played_by() or 0, 7.0)

    def test_part_of_a_frame_that_waits_for_more_is_no_speech(self) -> None:
        book = playback()
        book.receive("r", "a", sound(190), 0.0)
        self.assertTrue(book.model_speaks)
        book.mark_reached("m1", 0.18)
        self.assertTrue(book.busy)
        self.assertFalse(book.model_speaks)
        book.receive("", "own", sound(100), 0.2)
        self.assertTrue(book.model_speaks)  # what came before it goes first

    def test_our_own_audio_is_not_the_models(self) -> None:
        book = playback()
        book.receive("", "own", sound(100), 0.0)
        self.assertTrue(book.busy)
        self.assertFalse(book.model_speaks)


class HoldingBack(SimpleTestCase):
    def test_what_was_not_heard_is_sent_again(self) -> None:
        for ahead, heard_ms in ((60.0, 700), (1.0, 700), (1.0, 0), (60.0, 2999)):
            book, said = playback(ahead), speech(3000)
            book.receive("r", "a", said[:8000], 0.0)
            book.receive("r", "a", said[8000:], 0.0)
            book.finish("a", 0.0)
            for number in range(heard_ms // 180):  # the carrier's marks
                self.assertTrue(book.mark_reached(f"m{number + 1}", (number + 1) * 0.18))
                book.tick((number + 1) * 0.18)
            book.hold(heard_ms / 1000 + 0.00001)
            self.assertFalse(book.on_the_line)
            self.assertIsNone(book.deadline())
            self.assertFalse(book.overdue(99.0))
            self.assertEqual(book.tick(99.0), [])
            sent, now = plays(book.resume(100.0)), 100.0
            while len(sent) < len(said) - heard_ms * 8:
                now = book.deadline() or now
                sent += plays(book.tick(now))
            self.assertEqual(sent, said[heard_ms * 8 :])

    def test_it_can_be_held_twice_and_again_after_it_went_on(self) -> None:
        book, said = playback(), speech(1000)
        book.receive("r", "a", said, 0.0)
        book.finish("a", 0.0)
        book.hold(0.1)
        book.hold(0.3)
        book.resume(1.0)
        book.hold(1.1)
        self.assertEqual(plays(book.resume(2.0)), said[1600:])
        self.assertEqual(book.items["a"].heard_ms, 200)

    def test_items_keep_their_order(self) -> None:
        book, one, two = playback(), speech(300, 1), speech(300, 2)
        book.receive("r", "a", one, 0.0)
        book.receive("r", "b", two, 0.0)
        book.hold(0.1)
        book.receive("r", "b", b"more" * 40, 0.2)
        book.receive("", "own", b"ours" * 40, 0.3)
        book.finish("own", 0.3)
        self.assertEqual(plays(book.resume(1.0)), one[800:] + two + b"more" * 40 + b"ours" * 40)

    def test_time_held_back_is_no_underrun(self) -> None:
        book = playback()
        book.receive("r", "a", sound(400), 0.0)
        book.hold(0.1)
        book.resume(3.0)
        self.assertEqual(book.underruns, 0)

    def test_what_is_cut_while_it_is_held_back_is_gone(self) -> None:
        book = playback()
        book.receive("r", "a", sound(400), 0.0)
        book.hold(0.1)
        (item,) = book.cut(0.5)
        self.assertEqual(item.heard_ms, 100)
        self.assertFalse(book.busy)
        self.assertEqual(plays(book.receive("r", "b", sound(100), 0.6)), sound(100))


class WhatNobodyMayStop(SimpleTestCase):
    def test_the_beginning_of_an_item_can_be_protected(self) -> None:
        book = playback()
        self.assertFalse(book.is_protected(0.0))
        book.receive("", "own", sound(1000), 0.0, protected=4000)
        self.assertTrue(book.is_protected(0.15))
        book.mark_reached("m2", 0.36)
        self.assertTrue(book.is_protected(0.49))
        self.assertFalse(book.is_protected(0.51))

    def test_what_follows_it_is_not(self) -> None:
        book = playback()
        book.receive("", "own", sound(180), 0.0, protected=9999)
        book.receive("r", "a", sound(180), 0.0)
        self.assertTrue(book.is_protected(0.1))
        book.mark_reached("m1", 0.18)
        self.assertFalse(book.is_protected(0.2))


class HeardLately(SimpleTestCase):
    def test_it_is_what_played_up_to_now_with_the_silence_between(self) -> None:
        book, one, two = playback(), speech(180, 1), speech(180, 2)
        self.assertEqual(book.heard_lately(5.0), [])
        book.receive("r", "a", one, 5.0)
        book.mark_reached("m1", 5.18)
        book.receive("r", "b", two, 5.5)
        [heard] = book.heard_lately(5.6001)
        self.assertEqual(len(heard), 24_000)
        spoken = [at for at, byte in enumerate(heard) if byte != 0xFF]
        self.assertAlmostEqual(spoken[0], 24_000 - 1280 - 4801, delta=10)  # 600 ms ago
        self.assertIn(one[10:700], heard[: spoken[0] + 1450])
        pause = heard[spoken[0] + 1460 : -2100]
        self.assertEqual((set(pause), len(pause) > 2500), ({0xFF}, True))
        self.assertIn(two[10:700], heard[-2100:-600])  # it reaches 160 ms further than now, of which 80 are there

    def test_what_ended_long_ago_is_not(self) -> None:
        book = playback()
        book.receive("r", "a", sound(180), 5.0)
        book.mark_reached("m1", 5.18)
        self.assertNotEqual(book.heard_lately(8.1), [])
        self.assertEqual(book.heard_lately(8.2), [])

    def test_of_a_long_answer_only_the_end_is_kept(self) -> None:
        book, said = playback(), speech(9000)
        book.receive("r", "a", said, 0.0)
        for number in range(50):
            book.mark_reached(f"m{number + 1}", (number + 1) * 0.18)
        self.assertEqual(book.heard_lately(9.0), [said[-22_720:] + b"\xff" * 1280])
        self.assertLess(sum(len(piece) for _, piece, _ in book._lately), 29_000)

    def test_what_was_cleared_was_not_heard(self) -> None:
        book, said = playback(), speech(1000)
        book.receive("r", "a", said, 0.0)
        book.hold(0.1)
        [heard] = book.heard_lately(0.5)
        self.assertEqual(heard[-5280:], said[:800] + b"\xff" * 4480)

    def test_some_of_what_was_cleared_may_have_been_heard_all_the_same(self) -> None:
        book, said = playback(), speech(1000)
        book.receive("r", "a", said, 0.0)
        book.hold(0.1)
        lines = book.heard_lately(0.5, (0, 320, 640))
        heard = [said[: 800 + more] + b"\xff" * (4480 - more) for more in (0, 320, 640)]
        self.assertEqual([line[-5280:] for line in lines], heard)

    def test_it_has_no_holes_where_we_thought_better_of_the_time(self) -> None:
        """Marks that come late teach that playback began later than was thought: the first part of it, too."""
        book, said = playback(), speech(1000)
        book.receive("r", "a", said, 0.0)
        book.mark_reached("m1", 0.19)
        for number, now in ((2, 0.42), (3, 0.60), (4, 0.78)):
            book.heard_lately(now - 0.05)
            book.mark_reached(f"m{number}", now)
        [heard] = book.heard_lately(0.85)
        spoken = [at for at, byte in enumerate(heard) if byte != 0xFF]
        self.assertIn(said[:5600], heard)
        self.assertLess(spoken[-1] - spoken[0], 24_000 - 1280)
