"""The caller waits for an answer that does not come: a filler, then another session, then a person."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands
from media.engine.config import Clip
from media.engine.tone import HOLD_TONE
from tests.engine.driver import CallDriver, sound, talking

FILLER = Clip("One moment.", sound(600, 0x33))


def asked(**changes: Any) -> CallDriver:
    """The caller has asked something, and the model has been asked to answer."""
    driver = talking(**{"dead_air_seconds": (2.5, 4.5, 7.5), "clips": {"filler": FILLER}, **changes})
    driver.caller_says("Is there parking?")
    return driver


class DeadAir(SimpleTestCase):
    def test_a_filler_is_heard_first(self) -> None:
        driver = asked()
        driver.advance(2.4)
        self.assertFalse(driver.carrier.sent.endswith(FILLER.audio))
        driver.advance(0.2)
        self.assertTrue(driver.carrier.sent.endswith(FILLER.audio))
        driver.agent_says("Yes, behind the building.", 1000)
        driver.advance(3)
        counters = driver.end().counters
        self.assertEqual((counters["dead_air"], counters["fillers"]), (1, 1))
        self.assertNotIn("model_lost", counters)

    def test_without_words_for_it_a_tone(self) -> None:
        driver = asked(clips={})
        driver.advance(2.6)
        driver.advance(1.9)
        self.assertTrue(driver.carrier.sent.endswith(HOLD_TONE.audio))
        self.assertEqual(driver.end().turns[-1].bot_reply, "")

    def test_then_another_session_is_asked(self) -> None:
        driver = asked()
        driver.advance(4.4)
        self.assertEqual(driver.all(commands.OpenModel), [])
        driver.advance(0.2)
        self.assertEqual(driver.all(commands.OpenModel), [commands.OpenModel(replace=True)])
        done = driver.model_is_ready()
        self.assertEqual(
            [type(command) for command in (done[0], done[1], done[-1])],
            [commands.SwitchModel, commands.RecallConversation, commands.Respond],
        )
        driver.agent_says("Yes, behind the building.", 1000)
        driver.advance(3)
        self.assertEqual(driver.end().turns[-1].bot_reply, "One moment. Yes, behind the building.")

    def test_then_the_call_goes_to_a_person(self) -> None:
        for comes in (True, False):
            driver = asked()
            driver.advance(4.6)
            if comes:
                driver.model_is_ready()
            driver.advance(2.8)
            self.assertFalse(driver.over)
            driver.advance(0.2)
            self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_silent"))

    def test_a_model_that_stops_in_the_middle_of_an_answer_is_waited_for_the_same(self) -> None:
        driver = talking(dead_air_seconds=(2.5, 4.5, 7.5), clips={"filler": FILLER})
        driver.caller_says("Is there parking?")
        driver.agent_begins("There is", 990)  # not a whole number of frames
        driver.advance(3.4)
        self.assertNotIn("dead_air", driver.call._counters)
        driver.advance(0.2)
        self.assertEqual(driver.call._counters["dead_air"], 1)

    def test_a_caller_who_speaks_again_is_waited_for(self) -> None:
        driver = asked()
        driver.advance(2)
        driver.caller_says("Hello?", 3)
        driver.advance(2.4)
        self.assertNotIn("dead_air", driver.call._counters)
        driver.advance(0.2)
        self.assertEqual(driver.call._counters["dead_air"], 1)

    def test_a_greeting_that_does_not_come_is_dead_air_too(self) -> None:
        driver = CallDriver(dead_air_seconds=(2.5, 4.5, 7.5)).connect()
        driver.advance(4.6)
        self.assertEqual(driver.all(commands.OpenModel), [commands.OpenModel(replace=True)])
        self.assertEqual(driver.model_is_ready()[-1], commands.Say(driver.config.greeting))
        driver.advance(3)
        self.assertEqual(driver.finish.ended_reason, "model_silent")

    def test_nobody_waits_while_nothing_is_owed(self) -> None:
        driver = talking(dead_air_seconds=(2.5, 4.5, 7.5))
        driver.advance(20)
        self.assertNotIn("dead_air", driver.end().counters)
