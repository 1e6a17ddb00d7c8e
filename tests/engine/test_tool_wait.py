"""The caller waits for a tool: a sentence first, then a tone until it has answered."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.back_channels import back_channels
from media.engine.config import Clip, ToolSpec
from media.engine.tone import HOLD_TONE, mu_law
from tests.engine.driver import CallDriver, sound, talking

FILLER = Clip("One moment.", sound(600, 0x33))
TOOLS = {"look_up": ToolSpec("look_up", 20.0)}


def looking_up(text: str = "", ms: int = 0, **changes: Any) -> CallDriver:
    """The model has called a tool, perhaps after a few words."""
    plain: dict[str, Any] = {"tools": TOOLS, "clips": {"filler": FILLER}, "tool_filler_seconds": 1.2}
    driver = talking(**{**plain, **changes})
    driver.caller_says("When is my appointment?")
    driver.agent_begins(text, ms)
    if text:
        driver.agent_item_ends(text)
    driver.agent_calls("look_up", "c1")
    driver.response_ends()
    return driver


def tones(driver: CallDriver) -> int:
    return driver.carrier.sent.count(HOLD_TONE.audio)


class WaitingForATool(SimpleTestCase):
    def test_a_quick_one_is_not_filled_for(self) -> None:
        driver = looking_up()
        driver.advance(1.1)
        driver.send(events.ToolFinished("c1", "{}"))
        driver.agent_says("On Monday.", 500)
        driver.advance(3)
        self.assertNotIn("fillers", driver.end().counters)

    def test_a_slow_one_is_filled_for_once(self) -> None:
        driver = looking_up()
        driver.advance(1.3)
        self.assertTrue(driver.carrier.sent.endswith(FILLER.audio))
        driver.advance(4)
        self.assertEqual(driver.call._counters["fillers"], 1)
        self.assertEqual(tones(driver), 0)

    def test_then_a_tone_is_heard_until_the_tool_has_answered(self) -> None:
        driver = looking_up()
        driver.advance(6.1 + 2.0 * 3)
        self.assertGreaterEqual(tones(driver), 2)
        driver.send(events.ToolFinished("c1", "{}"))
        before = tones(driver)
        driver.agent_says("On Monday.", 500)
        driver.advance(6)
        self.assertLessEqual(tones(driver), before + 1)  # the one that was on the line
        turn = driver.end().turns[-1]
        self.assertEqual(turn.bot_reply, "One moment. On Monday.")
        self.assertEqual(turn.heard_ms, 1100)

    def test_what_the_agent_said_itself_is_heard_first(self) -> None:
        driver = looking_up("Let me see.", 2000)
        driver.advance(3.1)
        self.assertNotIn("fillers", driver.call._counters)
        driver.advance(0.2)
        self.assertEqual(driver.call._counters["fillers"], 1)

    def test_a_caller_who_speaks_stops_the_tone_and_hears_it_again_afterwards(self) -> None:
        driver = looking_up()
        driver.advance(6.5)
        self.assertIn(commands.ClearPlayback(), driver.caller_starts())
        driver.advance(2)
        before = tones(driver)
        driver.advance(1)
        self.assertEqual(tones(driver), before)
        self.assertIn(commands.Respond(), driver.caller_stops())
        driver.transcribed("Are you still there?")
        driver.agent_says("Still looking.", 500)
        driver.advance(3)
        self.assertGreater(tones(driver), before)

    def test_a_tool_that_does_not_answer_is_no_dead_air(self) -> None:
        driver = looking_up(dead_air_seconds=(2.5, 4.5, 7.5))
        driver.advance(15)
        self.assertNotIn("dead_air", driver.call._counters)
        driver.send(events.ToolFinished("c1", "{}"))
        driver.advance(4.5)
        self.assertEqual(driver.call._counters["dead_air"], 1)


class TheTone(SimpleTestCase):
    def test_it_is_two_soft_notes_and_a_pause_and_says_nothing(self) -> None:
        self.assertEqual((HOLD_TONE.text, len(HOLD_TONE.audio)), ("", 16_000))
        loudest = max(~byte & 0x7F for byte in HOLD_TONE.audio)
        self.assertTrue(60 < loudest < 90, loudest)
        self.assertEqual(set(HOLD_TONE.audio[4000:]), {0xFF})

    def test_samples_are_coded_by_the_standard(self) -> None:
        for sample, byte in ((0, 0xFF), (-1, 0x7F), (132, 0xEF), (32_767, 0x80), (-32_768, 0x00), (1000, 0xCE)):
            self.assertEqual(mu_law(sample), byte, sample)


class ListeningWords(SimpleTestCase):
    def test_each_language_has_its_own_and_any_other_a_few(self) -> None:
        self.assertIn("genau", back_channels("de-CH"))
        self.assertIn("uh-huh", back_channels("EN"))
        self.assertNotIn("no", back_channels("en"))
        self.assertIn("mhm", back_channels("rm"))
        self.assertNotIn("genau", back_channels(""))
