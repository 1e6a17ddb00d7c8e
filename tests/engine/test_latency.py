"""How long the caller waited: from the end of the speech to the first audio sent, and to the first heard."""

from django.test import SimpleTestCase

from media.engine.commands import Turn
from media.engine.config import Clip, ModelTraits
from tests.engine.driver import CallDriver, sound, talking


def turn(driver: CallDriver) -> Turn:
    return driver.end().turns[1]


class ReplyLatency(SimpleTestCase):
    def asked(self, **changes: object) -> CallDriver:
        """The caller's last word was half a second ago, which is when the model says so."""
        driver = talking(traits=ModelTraits(silence_seconds=0.5), **changes)
        driver.caller_says("Is there parking?")
        return driver

    def test_it_counts_from_the_callers_last_word(self) -> None:
        driver = self.asked()
        driver.advance(0.3)
        driver.agent_says("Yes.", 500)
        driver.advance(2)
        self.assertEqual((turn(driver).reply_ms, turn(driver).reply_heard_ms), (800, 800))

    def test_what_was_still_on_the_line_is_heard_first(self) -> None:
        driver = self.asked(clips={"filler": Clip("One moment.", sound(1000))}, dead_air_seconds=(0.2, 99.0, 99.0))
        driver.advance(0.3)
        driver.agent_says("Yes.", 500)
        driver.advance(3)
        self.assertEqual(turn(driver).reply_ms, 800)
        self.assertAlmostEqual(turn(driver).reply_heard_ms or 0, 1700, delta=1)

    def test_an_answer_nobody_heard_has_only_the_first(self) -> None:
        driver = self.asked()
        driver.carrier.loses_marks = True
        driver.agent_says("Yes.", 100)
        self.assertEqual((turn(driver).reply_ms, turn(driver).reply_heard_ms), (500, None))

    def test_one_that_was_not_sent_has_none(self) -> None:
        driver = self.asked()
        self.assertEqual((turn(driver).reply_ms, turn(driver).reply_heard_ms), (None, None))

    def test_a_greeting_and_keys_have_none(self) -> None:
        driver = talking()
        driver.item_added("keys", "user", "[The caller pressed: #]")
        driver.agent_says("Thank you.", 400)
        driver.advance(1)
        self.assertEqual([each.reply_ms for each in driver.end().turns], [None, None])
