"""The longest call is nearly over, and the agent says so."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands
from media.engine.config import Clip
from tests.engine.driver import CallDriver, sound, talking

WORDS = "We have to finish in a moment."


def long_call(**changes: Any) -> CallDriver:
    plain: dict[str, Any] = {"max_call_seconds": 100.0, "media_timeout_seconds": 999.0, "sentences": {"wrap_up": WORDS}}
    return talking(**{**plain, **changes})  # three seconds old


class WrappingUp(SimpleTestCase):
    def test_the_agent_says_so_half_a_minute_before(self) -> None:
        driver = long_call()
        driver.advance(66.9)
        self.assertEqual(len(driver.all(commands.Say)), 1)
        self.assertEqual(driver.advance(0.2), [commands.Say(WORDS)])
        driver.agent_says(WORDS, 1000)
        driver.advance(29.8)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual(driver.finish.ended_reason, "max_duration")

    def test_in_a_short_call_half_of_it_is_over_by_then(self) -> None:
        driver = long_call(max_call_seconds=20.0)
        driver.advance(6.9)
        self.assertEqual(len(driver.all(commands.Say)), 1)
        driver.advance(0.2)
        self.assertEqual(driver.all(commands.Say)[1:], [commands.Say(WORDS)])

    def test_it_waits_until_nobody_speaks(self) -> None:
        driver = long_call(clips={"wrap_up": Clip(WORDS, sound(1000, 0x33))})
        driver.advance(66)
        driver.caller_says("Is there parking?", 2)
        driver.agent_says("Yes.", 1500)
        driver.advance(1.4)
        self.assertNotIn(sound(1000, 0x33), driver.carrier.sent)
        driver.advance(0.2)
        self.assertIn(sound(1000, 0x33), driver.carrier.sent)
        driver.advance(20)
        self.assertEqual(driver.carrier.sent.count(sound(1000, 0x33)), 1)
        self.assertEqual(driver.saved[-1], (1, 1, "Is there parking?", f"Yes. {WORDS}"))

    def test_an_agent_that_is_saying_goodbye_does_not_say_it(self) -> None:
        driver = long_call()
        driver.advance(66)
        driver.agent_begins("Goodbye.", 3000)
        driver.agent_item_ends("Goodbye.")
        driver.agent_calls("end_call")
        driver.response_ends()
        driver.advance(10)
        self.assertEqual(driver.finish.ended_reason, "agent_ended")
        self.assertEqual(len(driver.all(commands.Say)), 1)

    def test_it_is_said_by_the_session_that_takes_over_when_the_present_one_is_lost(self) -> None:
        for moment in ("while there is none", "before it was begun", "before a word of it was heard"):
            with self.subTest(moment):
                driver = long_call()
                driver.advance(66.5)
                if moment == "while there is none":
                    driver.model_is_lost()
                driver.advance(0.6)
                if moment == "before a word of it was heard":
                    driver.agent_begins("We have")
                if moment != "while there is none":
                    driver.model_is_lost()
                asked = len(driver.all(commands.Say))
                driver.advance(0.5)
                self.assertEqual(driver.model_is_ready()[-1], commands.Say(WORDS))
                driver.agent_says(WORDS, 1000)
                driver.advance(5)
                self.assertEqual(len(driver.all(commands.Say)), asked + 1)
                self.assertEqual(driver.all(commands.Respond), [])

    def test_it_is_asked_for_again_when_its_response_fails(self) -> None:
        driver = long_call()
        driver.advance(67.1)
        driver.agent_begins()
        driver.response_ends("failed")
        self.assertEqual(driver.advance(0.6), [commands.Say(WORDS)])
        driver.agent_says(WORDS, 1000)
        driver.advance(5)
        self.assertEqual(driver.all(commands.Respond), [])
        self.assertIn(WORDS, driver.saved[-1][3])
