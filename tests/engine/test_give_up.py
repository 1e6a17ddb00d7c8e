"""There is no model to be had: the caller hears an apology, and goes to a person."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import Clip
from media.engine.states import CallState
from tests.engine.driver import CallDriver, audio, sound, talking

APOLOGY = Clip("I am sorry, I will put you through.", sound(2000, 0x33))


def given_up(**changes: Any) -> CallDriver:
    """In the middle of an answer the model closes, and would close again."""
    driver = talking(clips={"apology": APOLOGY}, **changes)
    driver.caller_says("Is there parking?")
    driver.agent_begins("There is", 3000)
    driver.advance(1)
    driver.model_is_lost(permanent=True)
    return driver


class GivingUp(SimpleTestCase):
    def test_what_the_agent_was_saying_is_cut_and_the_apology_heard_to_its_end(self) -> None:
        driver = given_up()
        self.assertEqual(len(driver.all(commands.ClearPlayback)), 1)
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)
        self.assertEqual(driver.all(commands.RecallConversation), [])  # there is nobody to know of it
        driver.advance(1.9)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertTrue(driver.carrier.sent.endswith(APOLOGY.audio))
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_refused"))
        turn = driver.finish.turns[-1]
        self.assertTrue(turn.bot_reply.endswith(APOLOGY.text))
        self.assertEqual(turn.heard_ms, 3000)

    def test_a_sound_of_the_caller_that_was_being_judged_does_not_hold_it_up(self) -> None:
        driver = talking(clips={"apology": APOLOGY})
        driver.caller_says("Is there parking?")
        driver.agent_says("Yes.", 3000)
        driver.advance(1)
        driver.caller_starts()
        driver.model_is_lost(permanent=True)
        driver.advance(2.1)
        self.assertTrue(driver.carrier.sent.endswith(APOLOGY.audio))
        self.assertEqual(driver.finish.ended_reason, "model_refused")

    def test_without_one_it_goes_at_once(self) -> None:
        driver = talking()
        driver.model_is_lost(permanent=True)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_refused"))

    def test_there_is_one_before_the_call_came_to_talking(self) -> None:
        driver = CallDriver(clips={"apology": APOLOGY})
        driver.stream_starts()
        driver.advance(20)
        self.assertEqual(driver.carrier.sent, APOLOGY.audio)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_failed"))

    def test_even_when_the_model_refuses_before_the_line_is_open(self) -> None:
        driver = CallDriver(clips={"apology": APOLOGY, "greeting": APOLOGY})
        driver.send(events.ModelClosed("http_401", permanent=True, fresh=True))
        self.assertEqual(driver.send(events.ModelReady("late")), [])
        driver.stream_starts()
        driver.advance(20)
        self.assertEqual(driver.carrier.sent, APOLOGY.audio)
        self.assertEqual(driver.finish.ended_reason, "model_refused")

    def test_one_whose_line_never_opens_ends_all_the_same(self) -> None:
        driver = CallDriver(clips={"apology": APOLOGY})
        driver.send(events.ModelClosed("http_401", permanent=True, fresh=True))
        driver.advance(20)
        self.assertEqual(driver.finish.ended_reason, "never_connected")

    def test_a_model_that_is_refused_while_the_line_is_not_open_is_given_up_too(self) -> None:
        driver = CallDriver(clips={"apology": APOLOGY})
        driver.model_is_ready()
        driver.send(events.ModelError("insufficient_quota", fatal=True, permanent=True))
        driver.stream_starts()
        driver.advance(20)
        self.assertEqual(driver.carrier.sent, APOLOGY.audio)
        self.assertEqual(driver.finish.ended_reason, "model_refused")

    def test_a_model_that_stays_away_for_seven_seconds_is_given_up_too(self) -> None:
        driver = talking(clips={"apology": APOLOGY})
        driver.model_is_lost()
        driver.advance(6.9)
        self.assertEqual(driver.carrier.sent.count(APOLOGY.audio), 0)
        driver.advance(2.2)
        self.assertEqual(driver.finish.ended_reason, "model_failed")
        self.assertTrue(driver.carrier.sent.endswith(APOLOGY.audio))

    def test_no_lost_mark_keeps_the_caller_from_the_person(self) -> None:
        driver = talking(clips={"apology": APOLOGY})
        driver.carrier.loses_marks = True
        driver.model_is_lost(permanent=True)
        driver.advance(4.1)
        self.assertEqual(driver.finish.ended_reason, "model_refused")

    def test_nothing_takes_it_back_any_more(self) -> None:
        driver = given_up()
        driver.send(
            events.DtmfPressed("1"),
            events.ModelReady("late"),
            events.ModelClosed("late", fresh=True),
            events.ModelClosed("late"),
            events.ModelError("late", fatal=True),
            events.CallerSpeechStarted("late"),
        )
        self.assertEqual(driver.caller_frame(), [])
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)
        driver.advance(2.1)
        self.assertEqual(driver.finish.ended_reason, "model_refused")
        self.assertEqual(driver.all(commands.OpenModel), [])
        self.assertEqual(driver.finish.counters["dropped_frames"], 1)

    def test_a_call_in_which_nobody_waits_for_anything_any_more_still_goes(self) -> None:
        driver = given_up(dead_air_seconds=(0.5, 1.0, 1.5), silence_seconds=1.8)
        driver.advance(2.1)
        self.assertEqual(driver.finish.ended_reason, "model_refused")
        self.assertNotIn("dead_air", driver.finish.counters)

    def test_a_caller_who_hangs_up_meanwhile_has_hung_up(self) -> None:
        driver = given_up()
        driver.hang_up()
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "caller_hung_up"))

    def test_a_server_that_stops_meanwhile_does_not_change_where_it_goes(self) -> None:
        driver = given_up()
        driver.send(events.HandOverRequested(1.0))
        driver.advance(1.1)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_refused"))

    def test_what_the_caller_said_while_there_was_no_model_is_counted_as_dropped(self) -> None:
        driver = talking()
        driver.model_is_lost()
        driver.send(*[events.CallerAudio(audio(20))] * 10)
        driver.advance(7)
        self.assertEqual(driver.finish.counters["dropped_frames"], 10)
