"""The model speaks faster than it is heard: what is sent keeps a little ahead of the caller's ear, and no more."""

import random

from django.test import SimpleTestCase

from media.engine import commands, events
from tests.engine.driver import CallDriver, sound, talking

ANSWER = random.Random(7).randbytes(8 * 20_000)  # twenty seconds of which no part is like another


def answering(ahead_seconds: float = 2.0) -> CallDriver:
    """The model has said all of a long answer at once."""
    driver = talking(ahead_seconds=ahead_seconds)
    driver.carrier.sent = b""
    driver.caller_says("Tell me everything.")
    driver.agent_begins()
    driver.send(events.ModelAudio(driver.response_id, driver.item_id, ANSWER))
    driver.agent_item_ends("It is a long story.")
    driver.response_ends()
    return driver


class Pacing(SimpleTestCase):
    def test_what_is_sent_is_never_further_ahead_than_was_said(self) -> None:
        for ahead in (2.0, 0.7, 0.1):
            driver = answering(ahead)
            began = driver.now
            for _ in range(1050):
                self.assertLessEqual(len(driver.carrier.sent) / 8000, driver.now - began + ahead + 0.181)
                driver.advance(0.02)
            self.assertEqual(driver.carrier.sent, ANSWER)
            turn = driver.end().turns[1]
            self.assertEqual((turn.heard_ms, turn.generated_ms), (20_000, 20_000))
            self.assertNotIn("underruns", driver.finish.counters)

    def test_it_costs_one_step_for_each_180_ms(self) -> None:
        driver = answering()
        before = driver.ticks
        driver.advance(21)
        self.assertLessEqual(driver.ticks - before, 20_000 / 180 + 2)

    def test_whoever_interrupts_has_little_to_throw_away(self) -> None:
        driver = answering()
        driver.advance(5)
        driver.caller_says("Stop.")
        self.assertLess(len(driver.carrier.sent), 8 * 7200)
        driver.advance(20)
        self.assertLess(len(driver.carrier.sent), 8 * 7200)
        self.assertEqual(driver.all(commands.TruncateItem)[0].audio_end_ms // 10, 500)

    def test_a_line_that_ran_dry_in_the_middle_is_counted(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins("Well", 400)
        driver.advance(1.4)
        driver.agent_adds(" then", 400)
        driver.agent_item_ends("Well then")
        driver.response_ends()
        driver.advance(1)
        counters = driver.end().counters
        self.assertEqual(counters["underruns"], 1)
        self.assertAlmostEqual(counters["underrun_ms"], 1000, delta=101)

    def test_several_items_follow_each_other_without_a_gap(self) -> None:
        driver = answering()
        driver.agent_says("And so on.", 3000)
        driver.advance(24)
        self.assertEqual(driver.carrier.sent, ANSWER + sound(3000))
