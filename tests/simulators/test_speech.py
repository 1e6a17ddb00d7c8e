"""The shipped clips are what their contract says: real speech at telephone level, with clean ends."""

from __future__ import annotations

import math

from django.test import SimpleTestCase

from simulators.speech import all_clips, load

DIGITAL_SILENCE = {0xFF, 0x7F}
STORY = {
    "greeting", "hours", "parking", "saturday", "goodbye", "unclear", "ask-hours", "ask-parking", "ask-saturday", "bye",
}  # fmt: skip
NOISES = {"cough", "knock"}


def linear(code: int) -> int:
    """G.711 mu-law to 16-bit, written out again here: the reference must not be the simulator's own table."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


class ClipsTests(SimpleTestCase):
    def test_every_line_of_the_story_is_there(self) -> None:
        clips = all_clips()
        self.assertLessEqual(STORY, clips.keys())
        self.assertTrue(all(name == clip.name and (clip.text or name in NOISES) for name, clip in clips.items()))

    def test_an_unknown_name_says_which_there_are(self) -> None:
        with self.assertRaisesRegex(KeyError, "ask-hours"):
            load("no-such-clip")

    def test_the_peak_is_about_minus_six_decibels(self) -> None:
        for clip in all_clips().values():
            peak = max(abs(linear(code)) for code in clip.audio)
            with self.subTest(clip.name):
                self.assertAlmostEqual(20 * math.log10(peak / 32768), -6, delta=0.7)

    def test_each_end_is_silent_for_about_a_tenth_of_a_second(self) -> None:
        for clip in all_clips().values():
            with self.subTest(clip.name):
                self.assertLessEqual(set(clip.audio[:640]), DIGITAL_SILENCE)
                self.assertLessEqual(set(clip.audio[-640:]), DIGITAL_SILENCE)
                self.assertGreater(max(abs(linear(code)) for code in clip.audio[800:2400]), 500)

    def test_no_pause_inside_is_long_enough_to_end_a_turn(self) -> None:
        for clip in all_clips().values():
            quiet = longest = 0
            for start in range(800, len(clip.audio) - 800, 160):
                frame = [linear(code) for code in clip.audio[start : start + 160]]
                rms = math.sqrt(sum(value * value for value in frame) / len(frame))
                quiet = quiet + 20 if rms < 300 else 0
                longest = max(longest, quiet)
            with self.subTest(clip.name):
                self.assertLessEqual(longest, 300)

    def test_the_parking_line_is_long_enough_to_be_interrupted(self) -> None:
        self.assertGreater(load("parking").duration_ms, 6000)
        self.assertLess(load("ask-saturday").duration_ms, 4000)
