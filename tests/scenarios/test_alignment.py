"""That the suite sees what was heard, whatever was cut, said twice, left out or put between."""

from __future__ import annotations

from django.test import SimpleTestCase

from simulators.carrier.audio import tone
from simulators.model.audio import babble
from simulators.speech import load
from tests.scenarios.alignment import Sentence, align

PARKING, HOURS = load("parking").audio, load("hours").audio


def sentence(audio: bytes, cut_at: int | None = None) -> Sentence:
    return Sentence("item", "words", audio, cut_at)


class WhatWasHeard(SimpleTestCase):
    def test_whole_sentences_one_after_the_other(self) -> None:
        said = [sentence(PARKING), sentence(HOURS), sentence(PARKING)]
        self.assertEqual(align(said, [PARKING + HOURS, PARKING]).strange, 0)
        self.assertTrue(all(one.is_whole and not one.jumps for one in said))

    def test_silence_before_a_word_is_nobodys(self) -> None:
        said = [sentence(PARKING), sentence(HOURS)]
        align(said, [PARKING + b"\xff" * 1600, HOURS])
        self.assertEqual([(one.is_whole, one.jumps) for one in said], [(True, []), (True, [])])

    def test_a_cut_to_the_byte(self) -> None:
        said = [sentence(PARKING, cut_at=2500), sentence(HOURS)]
        align(said, [PARKING[:20123], HOURS])
        self.assertEqual(said[0].heard_bytes, 20123)
        self.assertAlmostEqual(said[0].truncation_error_ms or 0, 2500 - 20123 / 8)
        self.assertTrue(said[1].is_whole)

    def test_the_same_sentence_cut_and_said_anew_is_two(self) -> None:
        said = [sentence(PARKING, cut_at=2000), sentence(PARKING)]
        align(said, [PARKING[:16000], PARKING])
        self.assertEqual([one.heard_bytes for one in said], [16000, len(PARKING)])

    def test_a_cut_sentence_after_other_sound_and_the_same_again(self) -> None:
        said = [sentence(PARKING, cut_at=2000), sentence(HOURS), sentence(PARKING)]
        align(said, [load("greeting").audio, PARKING[:16000], HOURS, PARKING], {"greeting": load("greeting").audio})
        self.assertEqual([one.heard_bytes for one in said], [16000, len(HOURS), len(PARKING)])
        self.assertEqual([one.jumps for one in said], [[], [], []])

    def test_made_up_speech_is_told_apart(self) -> None:
        own = {text: babble(text) for text in ("Are you still there?", "I cannot hear you. Please call again.")}
        rest = align(
            [sentence(HOURS)], [own["Are you still there?"], own["I cannot hear you. Please call again."]], own
        )
        self.assertEqual([one.key for one in rest.own], list(own))

    def test_a_sentence_that_goes_on_after_a_false_alarm(self) -> None:
        for back in (-800, 0, 400):
            said = [sentence(PARKING)]
            align(said, [PARKING[:16000], PARKING[16000 + back :]])
            with self.subTest(back):
                self.assertTrue(said[0].is_whole)
                self.assertEqual(said[0].jumps, [back] if back else [])

    def test_what_is_of_nobody_is_counted(self) -> None:
        said = [sentence(PARKING), sentence(HOURS)]
        beep = tone(440, 300)
        strange = align(said, [beep + PARKING[:16000], beep, PARKING[16000:] + beep + HOURS]).strange
        self.assertAlmostEqual(strange, 3 * len(beep), delta=300)
        self.assertTrue(said[0].is_whole and said[1].is_whole)
        self.assertEqual(said[0].jumps, [])

    def test_nothing_heard(self) -> None:
        said = [sentence(PARKING)]
        self.assertEqual(align(said, []).strange, 0)
        self.assertEqual(said[0].heard_ms, 0)
        self.assertFalse(said[0].is_whole)

    def test_clips_of_the_products_own_are_told_from_sentences(self) -> None:
        said = [sentence(PARKING), sentence(HOURS)]
        own = {"filler": load("looking").audio, "greeting": load("greeting").audio}
        greeting, filler = own["greeting"], own["filler"]
        rest = align(said, [greeting[:9000], greeting[9000:] + PARKING, filler, filler[:6000], HOURS], own)
        self.assertEqual(
            [(one.key, one.is_whole) for one in rest.own], [("greeting", True), ("filler", True), ("filler", False)]
        )
        self.assertEqual(rest.strange, 0)
        self.assertTrue(said[0].is_whole and said[1].is_whole)
