"""What the caller hears, to the byte and the millisecond."""

from django.test import SimpleTestCase

from simulators.carrier.audio import silence, tone
from simulators.carrier.playback import Echo, Playback

SECOND = b"\x10" * 8000


def names(echoes: list[Echo]) -> list[str]:
    return [echo.name for echo in echoes]


class PlaybackTests(SimpleTestCase):
    def setUp(self) -> None:
        self.playback = Playback()

    def test_audio_is_heard_at_eight_bytes_per_millisecond(self) -> None:
        self.assertEqual(self.playback.media(SECOND, 100.0), 100.0)
        self.playback.advance(100.25)
        self.assertEqual(self.playback.stretches[-1].heard_bytes, 2000)
        self.assertEqual(self.playback.stretches[-1].heard_ms, 250)
        self.assertEqual(self.playback.buffered_bytes, 6000)

    def test_audio_that_comes_early_waits_its_turn_without_a_gap(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.assertEqual(self.playback.media(SECOND, 100.1), 101.0)
        self.playback.advance(150.0)
        stretch = self.playback.stretches[-1]
        self.assertEqual(stretch.heard_bytes, 16000)
        self.assertEqual([(span.start, span.end) for span in stretch.spans], [(100.0, 102.0)])
        self.assertEqual(stretch.under_runs, [])

    def test_what_was_heard_between_two_moments_can_be_asked_for(self) -> None:
        self.playback.media(b"\x10" * 800, 100.0)
        self.playback.advance(100.2)
        self.playback.media(b"\x20" * 800, 100.2)
        self.playback.advance(100.25)
        self.assertEqual(self.playback.heard_between(100.05, 100.1), b"\x10" * 400)
        self.assertEqual(self.playback.heard_between(100.08, 100.12), b"\x10" * 160 + silence(20))
        self.assertEqual(self.playback.heard_between(100.19, 100.21), silence(10) + b"\x20" * 80)
        self.assertEqual(self.playback.heard_between(100.24, 100.28), b"\x20" * 80 + silence(30), "not heard yet")
        self.assertEqual(self.playback.heard_between(99.0, 99.02), silence(20))

    def test_a_mark_comes_back_when_all_audio_before_it_has_played(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.mark("one", 100.0)
        self.playback.media(SECOND, 100.0)
        self.playback.mark("two", 100.0)
        self.assertEqual(self.playback.deadline(), 101.0)
        self.assertEqual(self.playback.advance(100.9999), [])
        self.assertEqual(names(self.playback.advance(101.0)), ["one"])
        self.assertEqual(self.playback.deadline(), 102.0)
        self.assertEqual(names(self.playback.advance(200.0)), ["two"])
        self.assertIsNone(self.playback.deadline())

    def test_a_mark_is_due_at_its_own_deadline_late_in_the_life_of_a_clock(self) -> None:
        start = 1_234_567.123
        for position in range(1, 400):
            self.playback.media(b"\x10" * 37, start)
            self.playback.mark(str(position), start)
        for position in range(1, 400):
            deadline = self.playback.deadline()
            assert deadline is not None
            self.assertEqual(names(self.playback.advance(deadline)), [str(position)])

    def test_a_mark_on_an_empty_buffer_comes_back_at_once(self) -> None:
        self.playback.mark("first", 100.0)
        self.assertEqual(names(self.playback.advance(100.0)), ["first"])
        self.playback.media(SECOND, 101.0)
        self.playback.advance(103.0)
        self.playback.mark("after", 103.0)
        self.assertEqual(self.playback.advance(103.0), [Echo("after", 103.0, False)])

    def test_a_mark_not_yet_fetched_survives_the_start_of_new_audio(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.mark("one", 100.0)
        self.playback.media(SECOND, 105.0)
        self.assertEqual(names(self.playback.advance(105.0)), ["one"])

    def test_clear_empties_the_buffer_and_returns_all_pending_marks_in_order(self) -> None:
        for name in ("one", "two", "three"):
            self.playback.media(SECOND, 100.0)
            self.playback.mark(name, 100.0)
        cleared = self.playback.clear(101.5)
        self.assertEqual(
            [(echo.name, echo.after_clear) for echo in cleared.marks], [("one", False), ("two", True), ("three", True)]
        )
        self.assertEqual(cleared.stretch.heard_ms, 1500)
        self.assertEqual(cleared.stretch.received_ms, 3000)
        self.assertEqual(cleared.dropped_bytes, 12000)
        self.assertEqual(cleared.stretch.ended, "clear")
        self.assertEqual(self.playback.advance(110.0), [])
        self.assertEqual(self.playback.stretches[-1].heard_bytes, 0)

    def test_audio_after_a_clear_starts_a_new_stretch_at_once(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.clear(100.5)
        self.assertEqual(self.playback.media(SECOND, 100.6), 100.6)
        self.playback.finish(102.0)
        self.assertEqual([stretch.heard_bytes for stretch in self.playback.stretches], [4000, 8000])
        self.assertEqual([stretch.ended for stretch in self.playback.stretches], ["clear", "end"])

    def test_a_clear_of_nothing_is_harmless(self) -> None:
        cleared = self.playback.clear(100.0)
        self.assertEqual((cleared.marks, cleared.dropped_bytes, cleared.stretch.heard_bytes), ([], 0, 0))

    def test_a_short_gap_is_an_under_run_and_a_long_one_a_pause(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.media(SECOND, 101.25)
        self.playback.media(SECOND, 105.0)
        stretch = self.playback.stretches[-1]
        self.assertEqual(stretch.under_runs, [0.25])
        self.assertEqual(len(stretch.spans), 3)

    def test_audio_that_arrives_as_the_buffer_runs_dry_is_gapless(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.media(SECOND, 101.0)
        self.playback.advance(102.0)
        self.assertEqual([(span.start, span.end) for span in self.playback.stretches[-1].spans], [(100.0, 102.0)])

    def test_more_than_ten_minutes_buffered_is_thrown_away(self) -> None:
        ten_minutes = b"\x10" * (600 * 8000)
        self.assertIsNotNone(self.playback.media(ten_minutes, 100.0))
        self.assertIsNone(self.playback.media(b"\x10", 100.0))
        self.assertEqual(self.playback.discarded_bytes, 1)
        self.assertIsNotNone(self.playback.media(b"\x10", 100.1))

    def test_what_is_still_buffered_at_the_end_is_not_heard(self) -> None:
        self.playback.media(SECOND, 100.0)
        self.playback.finish(100.5)
        self.assertEqual(self.playback.stretches[-1].heard_bytes, 4000)
        self.assertEqual(self.playback.heard_runs, [(100.0, SECOND[:4000])])

    def test_silence_that_was_sent_as_audio_is_not_sound(self) -> None:
        self.playback.media(silence(1000) + tone(440, 500) + silence(1000) + tone(440, 200), 100.0)
        self.playback.advance(200.0)
        sounds = [(round(span.start, 3), round(span.end, 3)) for span in self.playback.sounds]
        self.assertEqual(sounds, [(101.0, 101.5), (102.5, 102.7)])

    def test_sound_goes_on_over_messages_of_odd_sizes(self) -> None:
        audio = tone(440, 1000)
        for position in range(0, len(audio), 133):
            self.playback.media(audio[position : position + 133], 100.0)
        self.playback.advance(100.5)
        self.assertEqual([(span.start, round(span.end, 3)) for span in self.playback.sounds], [(100.0, 100.5)])
