from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.states import CallState
from tests.engine.driver import CONFIG, CallDriver, audio


class Opening(SimpleTestCase):
    def test_the_agent_speaks_first_once_both_sides_are_there(self) -> None:
        for first, second in (("stream_starts", "model_is_ready"), ("model_is_ready", "stream_starts")):
            driver = CallDriver()
            getattr(driver, first)()
            self.assertEqual(driver.all(commands.Say), [])
            getattr(driver, second)()
            self.assertEqual([each for _, each in driver.log], [commands.SwitchModel(), commands.Say(CONFIG.greeting)])
            self.assertIs(driver.call.state, CallState.TALKING)

    def test_without_a_greeting_the_caller_is_waited_for(self) -> None:
        driver = CallDriver(greeting="")
        driver.stream_starts()
        self.assertEqual(driver.model_is_ready(), [commands.SwitchModel()])

    def test_audio_that_comes_before_the_model_is_ready_follows_in_order(self) -> None:
        driver = CallDriver()
        driver.stream_starts()
        for number in range(10):
            self.assertEqual(driver.caller_frame(number), [])
        expected = [commands.ForwardAudio(audio(20, number)) for number in range(10)]
        opening = [commands.SwitchModel(), commands.Say(CONFIG.greeting)]
        self.assertEqual(driver.model_is_ready(), [*opening, *expected])
        self.assertEqual(driver.caller_frame(10), [commands.ForwardAudio(audio(20, 10))])

    def test_of_too_much_early_audio_the_oldest_is_dropped_and_counted(self) -> None:
        driver = CallDriver()
        driver.stream_starts()
        for number in range(255):  # 5.1 seconds
            driver.caller_frame(number)
        driver.model_is_ready()
        self.assertEqual(len(driver.all(commands.ForwardAudio)), 250)
        self.assertEqual(driver.all(commands.ForwardAudio)[0].payload, audio(20, 5))
        driver.hang_up()
        self.assertEqual(driver.finish.counters["dropped_frames"], 5)

    def test_nothing_is_forwarded_or_played_before_the_stream_started(self) -> None:
        driver = CallDriver()
        driver.model_is_ready()
        self.assertEqual(driver.caller_frame(), [])
        self.assertEqual(driver.agent_begins("Hello", 400), [])
        driver.stream_starts()
        self.assertEqual(driver.all(commands.PlayAudio), [])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["dropped_frames"], 1)

    def test_a_second_start_or_ready_changes_nothing(self) -> None:
        driver = CallDriver().connect()
        self.assertEqual(driver.stream_starts(), [])
        self.assertEqual(driver.model_is_ready(), [])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["unexpected_events"], 2)

    def test_keys_pressed_before_anybody_listens_count_as_unexpected(self) -> None:
        driver = CallDriver()
        driver.stream_starts()
        self.assertEqual(driver.send(events.DtmfPressed("1")), [])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["unexpected_events"], 1)


class NotOpening(SimpleTestCase):
    def test_a_stream_that_never_starts_is_given_up(self) -> None:
        driver = CallDriver()
        driver.model_is_ready()
        driver.advance(4.9)
        self.assertFalse(driver.over)
        driver.advance(0.2)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "never_connected"))
        self.assertEqual(
            [type(command) for _, command in driver.log],
            [commands.SwitchModel, commands.CloseStream, commands.CloseModel, commands.FinishCall],
        )

    def test_a_stream_that_closes_before_it_started_was_never_connected(self) -> None:
        driver = CallDriver()
        driver.send(events.CarrierClosed())
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "never_connected"))

    def test_a_model_that_never_gets_ready_has_failed(self) -> None:
        driver = CallDriver()
        driver.stream_starts()
        driver.caller_frame()
        driver.advance(8)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_failed"))
        self.assertEqual(driver.finish.counters["dropped_frames"], 1)

    def test_a_model_that_refuses_us_fails_the_call_before_it_started(self) -> None:
        driver = CallDriver()
        driver.fresh_model_fails(permanent=True)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_refused"))

    def test_a_model_that_cannot_be_reached_is_tried_again_until_it_took_too_long(self) -> None:
        driver = CallDriver()
        driver.stream_starts()
        while not driver.over:
            driver.fresh_model_fails()
            driver.advance((driver.call.deadline() or driver.now) - driver.now)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_failed"))
        tries = [time - 1000.0 for time, command in driver.log if command == commands.OpenModel(replace=True)]
        self.assertEqual([round(time, 1) for time in tries], [0.3, 0.9, 2.1, 4.5])

    def test_a_model_that_is_lost_before_the_stream_starts_is_opened_again(self) -> None:
        driver = CallDriver()
        driver.model_is_ready()
        self.assertEqual(driver.model_is_lost(), [commands.OpenModel(replace=True)])
        self.assertIs(driver.call.state, CallState.CONNECTING)
        driver.stream_starts()
        self.assertEqual(driver.model_is_ready(), [commands.SwitchModel(), commands.Say(CONFIG.greeting)])
        self.assertNotIn("model_lost", driver.end().counters)

    def test_a_caller_who_hangs_up_while_it_rings_ends_the_call(self) -> None:
        driver = CallDriver()
        driver.send(events.CallCompleted())
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("completed", "caller_hung_up"))
