from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.states import CallState
from media.engine.toolcalls import CALL_ENDS
from tests.engine.driver import CallDriver, talking


def saying_goodbye() -> CallDriver:
    driver = talking()
    driver.caller_says("No, that is all.")
    driver.agent_begins("Goodbye.", 2000)
    driver.agent_item_ends("Goodbye.")
    driver.agent_calls("end_call", "call_end")
    driver.response_ends()
    return driver


class TheAgentEndsTheCall(SimpleTestCase):
    def test_it_waits_until_the_goodbye_was_heard(self) -> None:
        driver = saying_goodbye()
        self.assertEqual(driver.all(commands.SendToolResult), [commands.SendToolResult("call_end", CALL_ENDS)])
        self.assertEqual(len(driver.all(commands.Respond)), 1)  # for "that is all"; none for the tool
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)
        driver.advance(1.9)
        self.assertEqual(driver.all(commands.CloseStream), [])
        driver.advance(0.2)
        self.assertEqual(len(driver.all(commands.CloseStream)), 1)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "agent_ended"))
        self.assertEqual(driver.finish.turns[-1].heard_text, "Goodbye.")

    def test_a_goodbye_not_said_yet_is_asked_for(self) -> None:
        driver = talking()
        driver.caller_says("No, that is all.")
        driver.agent_begins()
        driver.agent_calls("end_call")
        self.assertEqual(driver.response_ends(), [commands.Respond()])
        driver.agent_says("Goodbye.", 1000)
        driver.advance(1.1)
        self.assertEqual(driver.finish.turns[-1].bot_reply, "Goodbye.")

    def test_a_lost_mark_does_not_keep_the_call_alive(self) -> None:
        driver = talking()
        driver.carrier.loses_marks = True
        driver.agent_begins("Goodbye.", 2000)
        driver.agent_item_ends("Goodbye.")
        driver.agent_calls("end_call")
        driver.response_ends()
        driver.advance(3.9)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual(driver.finish.ended_reason, "agent_ended")

    def test_a_model_that_never_says_goodbye_does_not_keep_the_call_alive(self) -> None:
        driver = talking()
        driver.agent_begins()
        driver.agent_calls("end_call")
        driver.advance(6.9)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual(driver.finish.ended_reason, "agent_ended")

    def test_nor_is_a_caller_whom_nothing_more_is_to_be_said_to_sent_to_a_person(self) -> None:
        driver = talking(dead_air_seconds=(2.0, 3.2, 5.0))
        driver.agent_begins()
        driver.agent_calls("end_call")
        driver.response_ends()
        driver.advance(5.1)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "agent_ended"))

    def test_a_model_that_is_lost_for_good_takes_nothing_of_the_goodbye(self) -> None:
        driver = saying_goodbye()
        driver.advance(1)
        driver.model_is_lost(permanent=True)
        driver.send(events.DtmfPressed("1"))  # there is nobody to tell
        driver.advance(0.9)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "agent_ended"))
        self.assertEqual(driver.finish.turns[-1].heard_text, "Goodbye.")

    def test_a_long_goodbye_is_heard_to_its_end_even_if_its_response_never_ends(self) -> None:
        driver = talking()
        driver.agent_begins()
        driver.agent_calls("end_call")
        driver.agent_adds("Goodbye, and so on.", 10_000)
        driver.advance(9.9)
        self.assertFalse(driver.over)
        driver.advance(2.2)
        self.assertEqual(driver.finish.turns[0].heard_ms, 11_500)

    def test_a_caller_who_speaks_up_cancels_it_and_the_call_goes_on(self) -> None:
        driver = saying_goodbye()
        driver.advance(1)
        self.assertEqual(driver.caller_starts(), [commands.ClearPlayback()])
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)  # perhaps that was a cough
        driver.caller_stops()
        driver.transcribed("One more thing.")
        self.assertIs(driver.call.state, CallState.TALKING)
        driver.agent_says("Yes?", 500)
        driver.advance(9)
        self.assertFalse(driver.over)
        driver.agent_begins("Goodbye.", 500)
        driver.agent_item_ends("Goodbye.")
        driver.agent_calls("end_call")
        driver.response_ends()
        driver.advance(1)
        self.assertEqual(driver.finish.ended_reason, "agent_ended")
        self.assertEqual(driver.finish.counters["goodbyes_cancelled"], 1)

    def test_a_wish_to_end_that_comes_after_the_caller_spoke_up_is_not_followed(self) -> None:
        driver = talking()
        driver.agent_begins("Goodbye.", 2000)
        driver.caller_says(None)
        driver.agent_calls("end_call")
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_one_that_comes_while_it_is_not_known_whether_the_caller_does_is_taken_back_with_the_rest(self) -> None:
        for words, state in (("Wait.", CallState.TALKING), ("Mhm.", CallState.SAYING_GOODBYE)):
            driver = talking()
            driver.agent_begins("Goodbye.", 2000)
            driver.caller_starts()
            driver.agent_calls("end_call")
            driver.advance(0.2)
            driver.caller_stops()
            driver.transcribed(words)
            self.assertIs(driver.call.state, state)

    def test_a_cough_does_not_cancel_it_and_the_goodbye_is_heard_to_its_end(self) -> None:
        driver = saying_goodbye()
        driver.advance(1)
        driver.back_channel("")
        driver.advance(3)
        self.assertEqual(driver.finish.ended_reason, "agent_ended")
        self.assertEqual(driver.finish.turns[-1].heard_text, "Goodbye.")

    def test_a_sound_at_the_very_end_is_judged_before_the_call_ends(self) -> None:
        driver = talking()
        driver.carrier.loses_marks = True
        driver.agent_begins()
        driver.agent_calls("end_call")
        driver.agent_adds("Goodbye.", 2000)
        driver.advance(6.8)  # seven seconds are the most that a goodbye takes
        driver.caller_starts()
        driver.advance(0.3)
        driver.caller_stops()
        self.assertFalse(driver.over)
        driver.transcribed("Wait.")
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_a_pressed_key_cancels_it_too(self) -> None:
        driver = saying_goodbye()
        driver.send(events.DtmfPressed("1"))
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_asking_twice_changes_nothing(self) -> None:
        driver = saying_goodbye()
        self.assertEqual(driver.agent_calls("end_call", "call_end"), [])
        driver.agent_calls("end_call", "call_other")
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)

    def test_a_stream_that_closes_meanwhile_was_ended_by_the_agent(self) -> None:
        driver = saying_goodbye()
        driver.send(events.CarrierClosed())
        self.assertEqual(driver.finish.ended_reason, "agent_ended")
