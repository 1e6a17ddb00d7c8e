"""Digits that nobody may know: what the model hears meanwhile, what becomes of keys, and how it ends."""

from typing import Any

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.caller_audio import SILENT_FRAME
from media.engine.config import PastItem, ToolSpec
from media.engine.conversation import DIGITS_LOST
from tests.engine.driver import CONFIG, CallDriver, audio, talking

ASK = "Please type the number of your card, and the hash key."
TOOLS = {**CONFIG.tools, "collect_digits": ToolSpec("collect_digits", 120.0, collects_digits=True)}
CARD = "4111111111111111"


def collecting(**changes: Any) -> CallDriver:
    """The model has asked for digits; the recording is being paused."""
    driver = talking(tools=TOOLS, **changes)
    driver.caller_says("I want to pay.")
    driver.agent_begins("With pleasure.", 400)
    driver.agent_item_ends("With pleasure.")
    driver.agent_calls("collect_digits", "c1")
    driver.response_ends()
    return driver


def asking(**changes: Any) -> CallDriver:
    """The recording is paused, and the caller is being asked."""
    driver = collecting(**changes)
    driver.send(events.DigitsWanted("c1", ASK))
    driver.agent_says(ASK, 3000)
    return driver


def typed(driver: CallDriver, keys: str) -> list[commands.Command]:
    done: list[commands.Command] = []
    for key in keys:
        done += driver.send(events.DtmfPressed(key)) + driver.advance(0.3)
    return done + driver.advance(0.2)


def finished(call_id: str = "c1") -> events.ToolFinished:
    return events.ToolFinished(call_id, '{"ok": true}')


def told(driver: CallDriver) -> str:
    """Everything the engine wants done, but for what a tool is run with."""
    return repr(driver.log)


class WhatTheModelHears(SimpleTestCase):
    def test_silence_from_the_request_to_the_tools_answer(self) -> None:
        driver = collecting()
        self.assertEqual(driver.caller_frame(1), [commands.ForwardAudio(SILENT_FRAME)])
        driver.send(events.DigitsWanted("c1", ASK))
        self.assertIn(commands.ForwardAudio(SILENT_FRAME), driver.caller_frame(2))
        typed(driver, f"{CARD}#")
        self.assertEqual(driver.caller_frame(3), [commands.ForwardAudio(SILENT_FRAME)])
        driver.send(finished())
        self.assertEqual(driver.caller_frame(4), [commands.ForwardAudio(audio(20, 4))])

    def test_a_session_that_takes_over_meanwhile_hears_none_of_it_afterwards(self) -> None:
        driver = asking()
        driver.model_is_lost()
        for number in range(20):
            driver.caller_frame(number)
        driver.model_is_ready()
        forwarded = [each.payload for each in driver.all(commands.ForwardAudio)]
        self.assertEqual([payload for payload in forwarded if payload != SILENT_FRAME], [])
        self.assertEqual(driver.caller_frame(4), [commands.ForwardAudio(SILENT_FRAME)])
        self.assertEqual(driver.end().counters["dropped_frames"], 20)

    def test_no_answer_is_asked_for_meanwhile(self) -> None:
        driver = collecting()
        before = len(driver.all(commands.Respond))
        driver.caller_says("Hello?")  # it was on its way to the model
        driver.send(events.DigitsWanted("c1", ASK))
        driver.agent_says(ASK, 1000)
        driver.advance(8)
        self.assertEqual(len(driver.all(commands.Respond)), before)
        typed(driver, "12#")
        driver.send(finished())
        self.assertEqual(len(driver.all(commands.Respond)), before + 1)


class AfterALostStream(SimpleTestCase):
    """The stream before was lost while the caller typed."""

    def resumed(self) -> CallDriver:
        past = (PastItem("past_1_u", "user", "I want to pay."),)
        driver = CallDriver(greeting="Sorry.", tools=TOOLS, first_turn_index=10_000, past=past, digits_lost=True)
        driver.model_is_ready()
        driver.stream_starts()
        driver.agent_says("Sorry.", 500)
        return driver

    def test_the_rest_of_them_counts_for_nothing_however_late(self) -> None:
        driver = self.resumed()
        typed(driver, "4111")
        driver.advance(60)
        typed(driver, "1111#")
        driver.advance(5)
        self.assertEqual(driver.all(commands.SendUserText) + driver.all(commands.GiveDigits), [])
        self.assertNotIn("1111", told(driver))

    def test_the_model_is_told_and_so_is_a_session_that_takes_over(self) -> None:
        driver = self.resumed()
        self.assertEqual(driver.all(commands.SendNote), [commands.SendNote(DIGITS_LOST)])
        driver.model_is_lost()
        driver.model_is_ready()
        self.assertEqual(driver.all(commands.SendNote), [commands.SendNote(DIGITS_LOST)] * 2)

    def test_once_they_are_asked_for_anew_keys_are_what_they_always_are(self) -> None:
        driver = self.resumed()
        typed(driver, "4111")
        driver.agent_begins()
        driver.agent_calls("collect_digits", "c1")
        driver.response_ends()
        typed(driver, "1")  # not asked yet
        driver.send(events.DigitsWanted("c1", ASK))
        self.assertEqual(typed(driver, "12#"), [commands.GiveDigits("c1", "secret-10001", 2)])
        driver.send(finished())
        driver.agent_says("Thank you.", 500)
        driver.advance(6)
        typed(driver, "7")
        driver.advance(2)
        self.assertEqual(driver.all(commands.SendUserText), [commands.SendUserText("[The caller pressed: 7]")])


class Typing(SimpleTestCase):
    def test_the_caller_is_asked_once_the_recording_is_paused(self) -> None:
        driver = collecting()
        self.assertEqual(driver.all(commands.Say)[1:], [])
        self.assertEqual(driver.send(events.DigitsWanted("c1", ASK)), [commands.Say(ASK)])

    def test_the_digits_have_a_handle_and_nobody_is_told_them(self) -> None:
        driver = asking()
        driver.advance(4)
        done = typed(driver, f"{CARD}#")
        self.assertEqual(done, [commands.GiveDigits("c1", "secret-1", 16)])
        driver.send(finished())
        driver.agent_says("Thank you.", 500)
        driver.advance(3)
        end = driver.end()
        for text in (told(driver), repr(end)):
            self.assertNotIn("4111", text)
        self.assertEqual(driver.call._conversation.secure.secrets, {})
        self.assertEqual(driver.all(commands.SendUserText), [])

    def test_tools_are_run_with_the_digits_that_there_are(self) -> None:
        driver = asking()
        typed(driver, "12#")
        driver.send(finished())
        driver.agent_begins()
        driver.agent_calls("look_up", "c2", '{"card": "secret-1"}')
        run = driver.all(commands.RunTool)[-1]
        self.assertEqual(run.secrets, {"secret-1": "12"})
        self.assertEqual(driver.all(commands.RunTool)[0].secrets, {})

    def test_whoever_types_need_not_hear_the_question_to_its_end(self) -> None:
        driver = asking()
        driver.advance(1)
        item = driver.item_id
        done = driver.send(events.DtmfPressed("4"))
        self.assertIn(commands.ClearPlayback(), done)
        self.assertIn(item, [each.item_id for each in done if isinstance(each, commands.TruncateItem)])
        self.assertEqual(typed(driver, "2#"), [commands.GiveDigits("c1", "secret-1", 2)])

    def test_nor_is_it_asked_when_it_was_not_begun(self) -> None:
        driver = collecting()
        driver.send(events.DigitsWanted("c1", ASK))
        driver.send(events.DtmfPressed("4"))
        driver.agent_begins("Please")
        self.assertIn(commands.CancelResponse(driver.response_id), [each for _, each in driver.log])
        driver.response_ends("cancelled")
        driver.advance(3)
        self.assertEqual(len(driver.all(commands.Say)), 2)

    def test_what_is_pressed_before_the_recording_is_paused_counts_for_nothing(self) -> None:
        driver = talking(tools=TOOLS)
        driver.caller_says("I want to pay.")
        driver.agent_begins()
        driver.send(events.DtmfPressed("4"))  # could not wait, and is in the recording
        driver.agent_calls("collect_digits", "c1")
        driver.response_ends()
        typed(driver, "11")
        driver.send(events.DigitsWanted("c1", ASK))
        self.assertEqual(typed(driver, "56#"), [commands.GiveDigits("c1", "secret-1", 2)])
        driver.send(finished())
        driver.advance(5)
        self.assertEqual(driver.all(commands.SendUserText), [])

    def test_a_star_begins_anew_and_endless_keys_are_cut_short(self) -> None:
        driver = asking()
        driver.advance(4)
        self.assertEqual(typed(driver, "9*12#"), [commands.GiveDigits("c1", "secret-1", 2)])
        driver.send(finished())
        driver.agent_begins()
        driver.agent_calls("collect_digits", "c2")
        driver.response_ends()
        driver.send(events.DigitsWanted("c2", ASK))
        self.assertIn(commands.GiveDigits("c2", "secret-2", 32), typed(driver, "1" * 50 + "#"))

    def test_a_pause_ends_the_entry_and_what_comes_late_counts_for_nothing(self) -> None:
        driver = asking()
        driver.advance(4)
        typed(driver, "4111")
        self.assertNotIn(commands.GiveDigits("c1", "secret-1", 4), driver.advance(5.4))
        self.assertEqual(driver.advance(0.2), [commands.GiveDigits("c1", "secret-1", 4)])
        driver.send(finished())
        typed(driver, "1111")
        driver.advance(4)
        typed(driver, "1111")  # slowly
        driver.advance(4)
        self.assertEqual(driver.all(commands.SendUserText), [])
        driver.advance(1)
        typed(driver, "1")
        driver.advance(2)
        self.assertEqual(driver.all(commands.SendUserText), [commands.SendUserText("[The caller pressed: 1]")])

    def test_a_caller_who_types_nothing_is_given_time_from_the_end_of_the_question(self) -> None:
        driver = asking(sentences={"still_there": "Still there?"}, silence_seconds=8.0)
        driver.advance(22)
        self.assertEqual(driver.all(commands.GiveDigits), [])
        self.assertIn(commands.GiveDigits("c1"), driver.advance(2))
        self.assertEqual(len(driver.all(commands.Say)), 2)  # nobody asked whether they are still there

    def test_and_no_filler_and_no_tone_is_played_while_they_type(self) -> None:
        driver = asking(tool_filler_seconds=1.2, tool_tone_seconds=6.0)
        driver.advance(3.5)
        sent = len(driver.carrier.sent)
        driver.advance(12)
        self.assertEqual(len(driver.carrier.sent), sent)

    def test_while_the_recording_is_being_paused_the_caller_waits_as_for_any_tool(self) -> None:
        driver = collecting(tool_filler_seconds=1.2, tool_tone_seconds=6.0)
        driver.advance(2)  # the answer that asked for digits has been heard
        self.assertEqual(driver.end().counters["fillers"], 1)

    def test_a_hash_alone_means_that_nothing_was_typed(self) -> None:
        self.assertEqual(typed(asking(), "#")[-1], commands.GiveDigits("c1"))


class Ending(SimpleTestCase):
    def test_a_caller_who_hangs_up_leaves_nothing(self) -> None:
        driver = asking()
        typed(driver, "4111")
        self.assertIn(commands.GiveDigits("c1"), driver.hang_up())
        driver.advance(10)
        self.assertNotIn("4111", repr(driver.finish))
        self.assertEqual(driver.send(events.DtmfPressed("1")), [])

    def test_a_tool_that_comes_to_ask_after_the_end_is_told_at_once(self) -> None:
        driver = collecting()
        driver.caller_says(None)
        driver.hang_up()
        self.assertEqual(driver.send(events.DigitsWanted("c1", ASK)), [commands.GiveDigits("c1")])

    def test_a_caller_who_types_unasked_is_not_written_down_when_it_ends_meanwhile(self) -> None:
        driver = collecting()
        typed(driver, "4111")
        driver.send(events.ToolFinished("c1", '{"error": "still_recorded"}'))
        typed(driver, "1111#")
        driver.advance(6)
        self.assertEqual(driver.all(commands.SendUserText), [])
        typed(driver, "1#")
        self.assertEqual(driver.all(commands.SendUserText), [commands.SendUserText("[The caller pressed: 1#]")])

    def test_a_recording_that_could_not_be_paused_ends_it_before_anybody_is_asked(self) -> None:
        driver = collecting()
        typed(driver, "41")
        done = driver.send(events.ToolFinished("c1", '{"error": "still_recorded"}'))
        self.assertIn(commands.Respond(), done)
        self.assertEqual(driver.caller_frame(4), [commands.ForwardAudio(audio(20, 4))])
        self.assertEqual(len(driver.all(commands.Say)), 1)
        self.assertEqual(driver.all(commands.SendUserText), [])

    def test_a_tool_that_takes_too_long_lets_the_model_hear_again(self) -> None:
        tools = {**TOOLS, "collect_digits": ToolSpec("collect_digits", 10.0, collects_digits=True)}
        driver = talking(tools=tools)
        driver.agent_begins()
        driver.agent_calls("collect_digits", "c1")
        driver.response_ends()
        driver.send(events.DigitsWanted("c1", ASK))
        driver.advance(10.1)
        self.assertEqual(driver.all(commands.GiveDigits), [commands.GiveDigits("c1")])
        self.assertEqual(driver.caller_frame(4), [commands.ForwardAudio(audio(20, 4))])

    def test_a_second_request_meanwhile_changes_nothing(self) -> None:
        driver = asking()
        driver.agent_begins()
        driver.agent_calls("collect_digits", "c2")
        driver.response_ends()
        driver.send(events.ToolFinished("c2", '{"error": "asked_already"}'))
        self.assertEqual(driver.caller_frame(4), [commands.ForwardAudio(SILENT_FRAME)])
        self.assertEqual(driver.send(events.DigitsWanted("c2", ASK)), [commands.GiveDigits("c2")])
        self.assertIn(commands.GiveDigits("c1", "secret-1", 2), typed(driver, "12#"))

    def test_the_question_is_asked_by_the_session_that_takes_over(self) -> None:
        driver = collecting()
        driver.send(events.DigitsWanted("c1", ASK))
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready()[-1], commands.Say(ASK))

    def test_whoever_types_between_two_sessions_is_heard_and_neither_is_told(self) -> None:
        driver = asking()
        driver.advance(1)
        driver.model_is_lost()
        said = (commands.TruncateItem, commands.ReplaceItem, commands.DropItem, commands.CancelResponse)
        done = typed(driver, "4")
        self.assertIn(commands.ClearPlayback(), done)
        self.assertEqual([command for command in done if isinstance(command, said)], [])

    def test_a_model_that_does_not_ask_is_replaced(self) -> None:
        driver = collecting(dead_air_seconds=(2.0, 4.2, 5.2))
        driver.send(events.DigitsWanted("c1", ASK))
        driver.advance(5)
        self.assertEqual(len(driver.all(commands.OpenModel)), 1)
