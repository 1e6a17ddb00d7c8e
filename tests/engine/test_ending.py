from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.states import CallState
from tests.engine.driver import CallDriver, audio, talking


def kinds(done: list[commands.Command]) -> list[type]:
    return [type(command) for command in done]


class HangingUp(SimpleTestCase):
    def test_a_hang_up_finishes_the_call_at_once_when_nothing_is_owed(self) -> None:
        driver = talking()
        self.assertEqual(kinds(driver.hang_up()), [commands.CloseModel, commands.FinishCall])
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "caller_hung_up"))
        self.assertTrue(driver.over)

    def test_stop_close_and_status_are_each_enough_and_the_first_counts(self) -> None:
        ends: dict[events.Event, tuple[str, str]] = {
            events.StreamStopped(): ("completed", "caller_hung_up"),
            events.CarrierClosed(): ("in-progress", "stream_lost"),  # the caller may still be there
            events.CallCompleted(): ("completed", "caller_hung_up"),
        }
        for first, end in ends.items():
            driver = talking()
            driver.caller_says(None)
            driver.send(first)
            for later in ends:
                driver.send(later)
            driver.advance(10)
            self.assertEqual((driver.finish.status, driver.finish.ended_reason), end)

    def test_after_the_end_every_event_is_met_with_silence(self) -> None:
        driver = talking()
        driver.hang_up()
        late: list[events.Event] = [
            events.CallerAudio(audio(20)),
            events.StreamStopped(),
            events.ModelClosed("1000"),
            events.CallerTranscribed("u", "Hi"),
            events.ToolFinished("c", "{}"),
        ]
        self.assertEqual(driver.send(*late), [])
        self.assertEqual(driver.tick(), [])
        self.assertIsNone(driver.call.deadline())

    def test_the_agent_is_cut_off_where_the_caller_hung_up(self) -> None:
        driver = talking()
        driver.caller_says("When do you open?")
        driver.agent_says("We open at eight in the morning.", 4000)
        driver.advance(1)
        driver.hang_up()
        turn = driver.finish.turns[-1]
        self.assertTrue(turn.interrupted)
        self.assertEqual((turn.heard_ms, turn.generated_ms), (1000, 4000))
        self.assertEqual(turn.heard_text, "We open")
        self.assertEqual(driver.all(commands.TruncateItem), [])
        self.assertNotIn("interruptions", driver.finish.counters)

    def test_usage_is_the_sum_over_all_responses(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_says("Hi.", 400)
        driver.advance(1)
        driver.hang_up()
        self.assertEqual(driver.finish.usage, events.Usage(20, 10, 4))

    def test_and_over_all_that_was_transcribed_also_after_the_end(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.send(events.CallerTranscribed(driver.caller_item, "Hi", events.Usage(transcription_ms=1500)))
        driver.agent_says("Hi.", 400)
        driver.advance(1)
        driver.caller_says(None)
        driver.hang_up()
        driver.send(events.CallerTranscribed(driver.caller_item, "Bye", events.Usage(transcription_ms=700)))
        self.assertEqual(driver.finish.usage, events.Usage(20, 10, 4, transcription_ms=2200))


class Settling(SimpleTestCase):
    def test_a_late_transcript_is_waited_for_while_the_model_stays_open(self) -> None:
        driver = talking()
        driver.caller_says(None)
        self.assertEqual(driver.hang_up(), [])
        self.assertIs(driver.call.state, CallState.SETTLING)
        driver.advance(2)
        done = driver.transcribed("Thank you, goodbye.")
        self.assertEqual(kinds(done), [commands.CloseModel, commands.FinishCall])
        self.assertEqual(driver.finish.turns[-1].user_text, "Thank you, goodbye.")

    def test_a_transcript_that_never_comes_is_waited_for_three_seconds(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.hang_up()
        driver.advance(2.9)
        self.assertFalse(driver.over)
        driver.advance(0.1)
        self.assertEqual([turn.index for turn in driver.finish.turns], [0, 1])
        self.assertEqual(driver.finish.turns[1].user_text, "")

    def test_words_cut_off_by_the_hang_up_are_committed_and_transcribed(self) -> None:
        driver = talking()
        driver.caller_starts()
        driver.advance(0.5)
        self.assertEqual(driver.hang_up(), [commands.CommitAudio()])
        driver.item_added(driver.caller_item, "user")
        driver.transcribed("Never mind.")
        self.assertEqual(driver.finish.turns[-1].user_text, "Never mind.")

    def test_what_was_said_before_the_stream_ended_is_still_written_down(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.agent_begins("It is", 400)
        driver.hang_up()
        self.assertEqual(driver.agent_adds("", 400), [])  # too late to be played
        driver.agent_adds(" open.", 0)
        driver.agent_item_ends("It is open.")
        driver.response_ends("cancelled")
        driver.transcribed("Is it open?")
        turn = driver.finish.turns[-1]
        self.assertEqual((turn.user_text, turn.bot_reply), ("Is it open?", "It is open."))
        self.assertEqual(driver.finish.usage, events.Usage(20, 10, 4))

    def test_a_failed_transcript_is_not_waited_for(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.hang_up()
        driver.send(events.CallerTranscriptFailed(driver.caller_item, "audio_unintelligible"))
        self.assertTrue(driver.over)
        self.assertEqual(driver.finish.counters["transcripts_failed"], 1)

    def test_a_model_that_closes_owes_nothing_any_more(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.hang_up()
        self.assertEqual(driver.fresh_model_fails(), [])  # that one was to come
        self.assertEqual(kinds(driver.model_is_lost()), [commands.CloseModel, commands.FinishCall])
        self.assertEqual(driver.finish.ended_reason, "caller_hung_up")

    def test_errors_marks_tools_and_frames_change_nothing_any_more(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.hang_up()
        done = driver.send(
            events.ModelError("input_audio_buffer_commit_empty", fatal=False, benign=True),
            events.MarkReached("m1"),
            events.ToolFinished("c", "{}"),
            events.CallerAudio(audio(20)),
            events.CallerSpeechStarted("u9"),
            events.ShutdownRequested(),
        )
        self.assertEqual(done, [])
        driver.advance(3)
        self.assertEqual(driver.finish.counters["frames_after_end"], 1)


class Failing(SimpleTestCase):
    def test_a_model_lost_in_mid_call_for_which_no_other_comes_ends_it_without_waiting_for_words(self) -> None:
        driver = talking()
        driver.caller_says(None)
        self.assertEqual(driver.model_is_lost(), [commands.OpenModel(replace=True)])
        driver.advance(6.9)
        self.assertFalse(driver.over)
        done = driver.advance(0.1)
        self.assertEqual(kinds(done)[-3:], [commands.CloseStream, commands.CloseModel, commands.FinishCall])
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_failed"))

    def test_a_fatal_error_is_the_loss_of_the_model_too(self) -> None:
        driver = talking()
        done = driver.send(events.ModelError("session_expired", fatal=True))
        self.assertEqual(done, [commands.OpenModel(replace=True)])
        self.assertEqual(driver.end().counters["error_session_expired"], 1)

    def test_one_that_another_session_would_meet_as_well_ends_the_call(self) -> None:
        driver = talking()
        done = driver.send(events.ModelError("insufficient_quota", fatal=True, permanent=True))
        self.assertEqual(kinds(done), [commands.CloseStream, commands.CloseModel, commands.FinishCall])
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_refused"))

    def test_other_errors_are_counted_by_code_and_survived(self) -> None:
        driver = talking()
        driver.send(*[events.ModelError(f"code_{number}", fatal=False) for number in range(25)])
        driver.send(events.ModelError("code_3", fatal=False), events.ModelError("x" * 99, fatal=False))
        self.assertIs(driver.call.state, CallState.TALKING)
        driver.hang_up()
        self.assertEqual(driver.finish.counters["error_code_3"], 2)
        self.assertEqual(driver.finish.counters["error_other"], 6)

    def test_a_stream_that_sends_no_frames_is_lost(self) -> None:
        driver = talking()
        for _ in range(20):
            driver.caller_frame()
            driver.advance(1)
        driver.advance(29)
        self.assertTrue(driver.over)
        self.assertEqual(driver.finish.ended_reason, "stream_lost")
        self.assertEqual(driver.when(lambda c: isinstance(c, commands.CloseStream)), driver.now)

    def test_unknown_messages_are_counted(self) -> None:
        driver = talking()
        driver.send(events.UnknownModelEvent("a"), events.UnknownModelEvent("b"), events.UnknownCarrierEvent("c"))
        driver.hang_up()
        self.assertEqual(driver.finish.counters["unknown_model_events"], 2)
        self.assertEqual(driver.finish.counters["unknown_carrier_events"], 1)

    def test_a_failed_response_is_counted_and_asked_for_again(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        driver.agent_begins()
        self.assertEqual(driver.response_ends("failed"), [])
        self.assertEqual(driver.advance(0.6), [commands.Respond()])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["responses_failed"], 1)

    def test_a_session_whose_answers_fail_one_after_another_is_replaced(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        for _ in range(2):
            driver.agent_begins()
            driver.response_ends("failed")
            driver.advance(2)
        driver.agent_begins()
        self.assertEqual(driver.response_ends("failed"), [commands.OpenModel(replace=True)])
        done = driver.model_is_ready()
        self.assertEqual(done[0], commands.SwitchModel())
        self.assertEqual(done[-1], commands.Respond())
        self.assertEqual(driver.end().counters["model_lost"], 1)


class OurOwnEnds(SimpleTestCase):
    def test_the_longest_call_allowed_ends(self) -> None:
        driver = talking(max_call_seconds=20.0, media_timeout_seconds=60.0)
        driver.advance(20)
        self.assertEqual(driver.finish.ended_reason, "max_duration")
        self.assertIn(commands.CloseStream(), driver.all(commands.CloseStream))

    def test_a_stopping_server_ends_the_call_and_still_waits_for_what_was_said(self) -> None:
        driver = talking()
        driver.caller_says(None)
        self.assertEqual(driver.send(events.ShutdownRequested()), [commands.CloseStream()])
        driver.transcribed("Hello?")
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "server_stopped"))

    def test_a_stopping_server_fails_a_call_that_had_not_begun(self) -> None:
        driver = CallDriver()
        driver.send(events.ShutdownRequested())
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("failed", "server_stopped"))


HAND_OVER = events.HandOverRequested(10.0)


class HandingOver(SimpleTestCase):
    def assert_handed_over(self, driver: CallDriver) -> None:
        self.assertEqual(len(driver.all(commands.CloseStream)), 1)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "server_stopped"))

    def assert_goes_on(self, driver: CallDriver) -> None:
        self.assertIs(driver.call.state, CallState.TALKING)
        self.assertEqual(driver.all(commands.CloseStream), [])

    def test_a_call_in_which_nobody_speaks_is_handed_over_at_once(self) -> None:
        driver = talking()
        done = driver.send(HAND_OVER)
        self.assertEqual(kinds(done), [commands.CloseStream, commands.CloseModel, commands.FinishCall])
        self.assert_handed_over(driver)

    def test_the_agent_is_heard_to_the_end_first_and_its_turn_is_saved(self) -> None:
        driver = talking()
        driver.caller_says("When do you open?")
        driver.agent_says("We open at eight in the morning.", 4000)
        driver.send(HAND_OVER)
        driver.advance(3.9)
        self.assert_goes_on(driver)
        driver.advance(0.1)
        self.assert_handed_over(driver)
        self.assertEqual(driver.saved[-1], (1, 0, "When do you open?", "We open at eight in the morning."))

    def test_a_caller_who_speaks_is_heard_and_answered_first(self) -> None:
        driver = talking()
        driver.caller_starts()
        driver.send(HAND_OVER)
        driver.advance(1)
        driver.caller_stops()
        driver.transcribed("When do you open?")
        driver.advance(1)
        self.assert_goes_on(driver)  # the model has not begun to answer, but it is about to
        driver.agent_says("At eight.", 1000)
        driver.advance(0.9)
        self.assert_goes_on(driver)
        driver.advance(0.1)
        self.assert_handed_over(driver)

    def test_a_tool_that_runs_is_waited_for_and_its_result_is_spoken(self) -> None:
        driver = talking()
        driver.agent_begins()
        driver.agent_calls("look_up", "call_1")
        driver.response_ends()
        driver.send(HAND_OVER)
        driver.advance(1)
        self.assert_goes_on(driver)
        driver.send(events.ToolFinished("call_1", "{}"))
        self.assert_goes_on(driver)
        driver.agent_says("It is there.", 1000)
        driver.advance(1)
        self.assert_handed_over(driver)

    def test_pressed_keys_are_given_to_the_model_first(self) -> None:
        driver = talking()
        driver.send(events.DtmfPressed("1"), HAND_OVER)
        self.assert_goes_on(driver)
        driver.advance(5)
        self.assertEqual(len(driver.all(commands.Respond)), 1)
        self.assert_goes_on(driver)
        driver.agent_says("One, then.", 500)
        driver.advance(0.5)
        self.assert_handed_over(driver)

    def test_an_agent_that_does_not_come_to_an_end_is_cut_off_after_the_time_given(self) -> None:
        driver = talking()
        driver.agent_says("It is a long story.", 30_000)
        driver.send(HAND_OVER)
        driver.advance(9.9)
        self.assert_goes_on(driver)
        driver.advance(0.1)
        self.assert_handed_over(driver)
        self.assertTrue(driver.finish.turns[-1].interrupted)

    def test_a_caller_who_does_not_stop_is_cut_off_too_and_the_words_are_still_waited_for(self) -> None:
        driver = talking()
        driver.caller_starts()
        driver.send(HAND_OVER)
        driver.advance(10)
        self.assertEqual([driver.log[-1][1], driver.call.state], [commands.CommitAudio(), CallState.SETTLING])
        driver.item_added(driver.caller_item, "user")
        driver.transcribed("So I said to him")
        self.assert_handed_over(driver)
        self.assertEqual(driver.finish.turns[-1].user_text, "So I said to him")

    def test_late_transcripts_are_waited_for_after_the_stream_was_handed_over(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.agent_says("At eight.", 500)
        driver.advance(0.5)
        driver.send(HAND_OVER)
        self.assertIs(driver.call.state, CallState.SETTLING)
        driver.transcribed("When do you open?")
        self.assert_handed_over(driver)
        self.assertEqual(driver.finish.turns[-1].user_text, "When do you open?")

    def test_an_agent_that_says_goodbye_ends_the_call_itself(self) -> None:
        for goodbye_ms, after in ((2000, 2.0), (30_000, 10.0)):
            with self.subTest(goodbye_ms=goodbye_ms):
                driver = talking()
                driver.agent_begins("Goodbye.", goodbye_ms)
                driver.agent_item_ends("Goodbye.")
                driver.agent_calls("end_call")
                driver.response_ends()
                driver.send(HAND_OVER)
                driver.advance(after - 0.1)
                self.assertFalse(driver.over)
                driver.advance(0.1)
                self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "agent_ended"))

    def test_a_goodbye_taken_back_is_a_call_to_hand_over_again(self) -> None:
        driver = talking()
        driver.agent_begins("Goodbye.", 2000)
        driver.agent_calls("end_call")
        driver.send(HAND_OVER)
        driver.caller_says("One more thing.")
        driver.agent_item_ends("Goodbye.")
        driver.response_ends("cancelled")
        self.assert_goes_on(driver)
        driver.advance(9)
        self.assert_handed_over(driver)

    def test_a_caller_who_hangs_up_meanwhile_has_hung_up(self) -> None:
        driver = talking()
        driver.agent_says("It is a long story.", 5000)
        driver.send(HAND_OVER)
        driver.hang_up()
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "caller_hung_up"))

    def test_a_call_that_has_not_come_to_talking_is_handed_over_at_once(self) -> None:
        for halves in ((), ("stream_starts",), ("model_is_ready",)):
            with self.subTest(halves=halves):
                driver = CallDriver()
                for half in halves:
                    getattr(driver, half)()
                driver.send(HAND_OVER)
                self.assert_handed_over(driver)
                self.assertEqual(driver.finish.turns, ())

    def test_a_call_that_has_ended_stays_as_it_ended(self) -> None:
        driver = talking()
        driver.caller_says(None)
        driver.hang_up()
        self.assertEqual(driver.send(HAND_OVER), [])
        driver.advance(3)
        self.assertEqual(driver.finish.ended_reason, "caller_hung_up")


class AHalfHourCall(SimpleTestCase):
    def test_it_takes_no_more_steps_than_things_happen(self) -> None:
        driver = CallDriver(max_call_seconds=1800.0).connect()
        driver.agent_says("Hello, this is Robin.", 1440)
        driver.advance(0)
        for frame in range(90_000):
            if frame % 500 == 0:  # every ten seconds
                driver.caller_says("Are you open?", 0)
                driver.agent_says("Yes, all day.", 1440)
            driver.caller_frame()
            driver.advance(0.02)
        driver.advance(0.1)
        self.assertEqual(driver.finish.ended_reason, "max_duration")
        self.assertEqual(len(driver.all(commands.ForwardAudio)), 90_000)
        self.assertEqual(len(driver.finish.turns), 181)
        self.assertEqual(len(driver.all(commands.SaveTurn)), 181)
        # 15 events and 8 marks an exchange, a frame each 20 ms; deadlines are few
        self.assertLess(driver.steps, 90_000 + 180 * 25 + 200)
        self.assertLess(driver.ticks, 200)
