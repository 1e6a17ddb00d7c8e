"""Nobody says anything: the agent asks whether the caller is there, asks again, and says goodbye."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import Clip, PastItem
from media.engine.idle import Ladder, Step, silence_ladder
from media.engine.states import CallState
from tests.engine.driver import CallDriver, sound, talking

SENTENCES = {"still_there": "Are you still there?", "silence_goodbye": "I will hang up now."}
CLIPS = {key: Clip(text, sound(1000)) for key, text in SENTENCES.items()}


def waiting(**changes: Any) -> CallDriver:
    """The greeting was heard one and a half seconds ago; since then nobody has said anything."""
    return talking(**{"silence_seconds": 8.0, "sentences": SENTENCES, **changes})


class BothAreSilent(SimpleTestCase):
    def test_the_agent_asks_twice_and_then_says_goodbye(self) -> None:
        driver = waiting()
        for text in ("Are you still there?", "Are you still there?", "I will hang up now."):
            self.assertEqual([c for c in driver.advance(6.4) if isinstance(c, commands.Say)], [])
            self.assertEqual(driver.advance(0.2), [commands.Say(text)])
            self.assertFalse(driver.over)
            driver.agent_says(text, 1000)
            driver.advance(2.4)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "caller_silent"))
        self.assertEqual(driver.finish.turns[-1].bot_reply.count("Are you still there?"), 2)
        self.assertEqual(driver.finish.counters["reprompts"], 2)

    def test_as_audio_of_our_own_where_there_is_some(self) -> None:
        driver = waiting(clips=CLIPS)
        driver.advance(7)
        self.assertEqual(driver.carrier.sent[-8000:], sound(1000))
        self.assertIn(CLIPS["still_there"].text, driver.all(commands.RecallConversation)[-1].items[0].text)
        driver.advance(30)
        self.assertEqual(driver.finish.ended_reason, "caller_silent")
        self.assertEqual([c for c in driver.all(commands.Say) if c.text in SENTENCES.values()], [])

    def test_without_words_for_it_the_agent_is_patient_as_long(self) -> None:
        driver = waiting(sentences={})
        driver.advance(22.4)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual(driver.finish.ended_reason, "caller_silent")

    def test_whoever_speaks_begins_it_anew(self) -> None:
        driver = waiting(clips=CLIPS)
        driver.advance(16)
        self.assertEqual(driver.call._counters["reprompts"], 2)
        driver.caller_says("Yes, I am looking for my diary.")
        driver.agent_says("Take your time.", 1000)
        driver.advance(8.9)
        self.assertEqual(driver.call._counters["reprompts"], 2)
        driver.advance(0.2)
        self.assertEqual(driver.call._counters["reprompts"], 3)
        self.assertFalse(driver.over)

    def test_whoever_presses_a_key_does_too(self) -> None:
        driver = waiting()
        driver.advance(6)
        driver.send(events.DtmfPressed("1"))
        driver.advance(1.6)
        driver.agent_says("One.", 1000)
        driver.advance(8.9)
        self.assertNotIn("reprompts", driver.call._counters)

    def test_a_sound_of_somebody_who_listens_does_not(self) -> None:
        driver = waiting(clips=CLIPS)
        driver.advance(7)
        self.assertEqual(driver.call._counters["reprompts"], 1)
        driver.advance(1)
        driver.agent_says("By the way, we close early.", 3000)
        driver.back_channel()
        driver.advance(4)
        driver.advance(8)
        self.assertEqual(driver.call._counters["reprompts"], 2)

    def test_a_caller_who_speaks_up_at_the_goodbye_is_heard(self) -> None:
        driver = waiting(clips=CLIPS)
        driver.advance(6.5 + 9 + 9 + 0.3)
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)
        driver.caller_says("Wait, I am here.")
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_it_is_not_silent_while_somebody_speaks_an_answer_comes_or_a_tool_runs(self) -> None:
        driver = waiting(tool_filler_seconds=99.0)
        driver.agent_says("A long story.", 12_000)
        driver.advance(11)
        driver.caller_says("And then?", 12)
        driver.advance(12)
        driver.agent_begins()
        driver.agent_calls("look_up", "c1")
        driver.response_ends()
        driver.advance(3.9)
        driver.send(events.ToolFinished("c1", "{}"))
        driver.advance(12)
        self.assertNotIn("reprompts", driver.call._counters)


class TheCallerIsToSpeakFirst(SimpleTestCase):
    def waits(self, **changes: Any) -> CallDriver:
        return CallDriver(caller_speaks_first=True, silence_seconds=8.0, sentences=SENTENCES, **changes).connect()

    def test_the_agent_waits_and_greets_one_who_says_nothing(self) -> None:
        for clips in ({}, {"greeting": Clip("Hello.", sound(500))}):
            driver = self.waits(clips=clips)
            driver.advance(3.9)
            self.assertEqual((driver.all(commands.Say), driver.carrier.sent), ([], b""))
            driver.advance(0.2)
            self.assertTrue(driver.all(commands.Say) or driver.carrier.sent)
            if clips:
                driver.advance(0.4 + 7.9)
                self.assertNotIn("reprompts", driver.call._counters)
                driver.advance(0.2)
                self.assertEqual(driver.call._counters["reprompts"], 1)

    def test_one_who_speaks_is_answered_and_never_greeted(self) -> None:
        driver = self.waits()
        driver.advance(1)
        self.assertIn(commands.Respond(), driver.caller_says("Are you open?"))
        driver.agent_says("Yes.", 500)
        driver.advance(6)
        driver.model_is_lost()
        driver.model_is_ready()
        driver.advance(1)
        self.assertEqual(driver.all(commands.Say), [])

    def test_not_even_when_the_session_is_lost_before_it_answered(self) -> None:
        driver = self.waits()
        driver.caller_says("Are you open?")
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready()[-1], commands.Respond())
        self.assertEqual(driver.all(commands.Say), [])

    def test_nor_is_one_who_presses_a_key(self) -> None:
        driver = self.waits()
        driver.send(events.DtmfPressed("#"))
        driver.agent_says("Thank you.", 500)
        driver.advance(6)
        self.assertEqual(driver.all(commands.Say), [])

    def test_in_a_resumed_call_the_agent_speaks(self) -> None:
        driver = self.waits(past=(PastItem("p", "user", "Hello?"),))
        self.assertEqual(len(driver.all(commands.Say)), 1)


class Ladders(SimpleTestCase):
    def test_time_counts_from_the_first_moment_of_a_row_of_them(self) -> None:
        ladder = Ladder([(2.0, Step.FILL), (5.0, Step.TONE)])
        self.assertIsNone(ladder.deadline())
        ladder.wait(True, 10.0)
        ladder.wait(True, 11.0)
        self.assertEqual(ladder.deadline(), 12.0)
        self.assertIs(ladder.take(), Step.FILL)
        self.assertEqual(ladder.deadline(), 15.0)
        ladder.wait(False, 13.0)
        self.assertIsNone(ladder.deadline())
        ladder.wait(True, 20.0)
        self.assertIs(ladder.take(), Step.TONE)
        self.assertIsNone(ladder.deadline())
        ladder.restart()
        ladder.wait(True, 30.0)
        self.assertEqual(ladder.deadline(), 32.0)

    def test_one_who_was_to_speak_first_is_greeted_before_anything(self) -> None:
        self.assertIs(silence_ladder(8.0, greet_after=4.0).take(), Step.GREET)
        self.assertIs(silence_ladder(8.0, greet_after=None).take(), Step.ASK)
