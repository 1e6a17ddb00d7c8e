"""A call outlives its sessions of the model: renewed in a pause before they expire, replaced when they are lost."""

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import PastItem
from media.engine.states import CallState
from tests.engine.driver import CallDriver, audio, sound, talking

ANSWER = "There is free parking behind the building."


def expiring(lives: float = 1000.0) -> CallDriver:
    """A call whose session says how long it lives; the greeting was heard three seconds ago."""
    driver = CallDriver(media_timeout_seconds=9999.0)
    driver.stream_starts()
    driver.model_is_ready(lives)
    driver.agent_says("Hello, this is Robin.", 1500)
    driver.advance(3)
    return driver


class Renewed(SimpleTestCase):
    def test_another_session_is_opened_some_time_before_the_present_one_expires(self) -> None:
        driver = expiring(1200.0)
        driver.advance(896)
        self.assertEqual(driver.all(commands.OpenModel), [])
        driver.advance(2)
        self.assertEqual(driver.all(commands.OpenModel), [commands.OpenModel(replace=False)])

    def test_and_of_a_short_life_when_a_quarter_is_left(self) -> None:
        for lives, after in ((100.0, 75.0), (0.0, 0.0)):
            driver = CallDriver(media_timeout_seconds=9999.0)
            driver.stream_starts()
            driver.model_is_ready(lives)
            driver.advance(after - 0.1)
            self.assertEqual(driver.all(commands.OpenModel), [])
            driver.advance(0.2)
            self.assertEqual(driver.all(commands.OpenModel), [commands.OpenModel(replace=False)])

    def test_a_session_that_does_not_say_when_it_expires_is_kept(self) -> None:
        driver = talking(max_call_seconds=9999.0, media_timeout_seconds=9999.0)
        driver.advance(9000)
        self.assertEqual(driver.all(commands.OpenModel), [])

    def test_it_takes_over_in_a_pause_and_learns_what_was_said(self) -> None:
        driver = expiring()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 3000)
        driver.advance(748)
        self.assertEqual(
            driver.model_is_ready(1000.0),
            [
                commands.SwitchModel(),
                commands.RecallConversation(
                    (
                        PastItem("a2", "assistant", "Hello, this is Robin."),
                        PastItem("u3", "user", "Is there parking?"),
                        PastItem("a5", "assistant", ANSWER),
                    )
                ),
            ],
        )
        self.assertEqual(driver.caller_frame(), [commands.ForwardAudio(audio(20, 0))])
        driver.advance(749)
        self.assertEqual(len(driver.all(commands.OpenModel)), 1)
        driver.advance(2)
        self.assertEqual(len(driver.all(commands.OpenModel)), 2)
        self.assertEqual(driver.end().counters["model_renewals"], 1)

    def test_nobody_is_interrupted_by_it(self) -> None:
        driver = expiring()
        driver.advance(748)
        driver.caller_says(None)
        self.assertEqual(driver.model_is_ready(), [])
        driver.agent_says(ANSWER, 3000)
        driver.advance(2.9)
        self.assertEqual(len(driver.all(commands.SwitchModel)), 1)
        driver.advance(0.2)
        self.assertEqual(len(driver.all(commands.SwitchModel)), 1)  # what the caller said is not written down yet
        self.assertIn(commands.SwitchModel(), driver.transcribed("Is there parking?"))
        self.assertIn("Is there parking?", [item.text for item in driver.all(commands.RecallConversation)[-1].items])

    def test_the_echo_of_what_it_learned_makes_no_turn(self) -> None:
        driver = expiring()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 3000)
        driver.advance(748)
        driver.model_is_ready()
        for item in driver.all(commands.RecallConversation)[-1].items:
            driver.item_added(item.item_id, item.role, item.text if item.role == "user" else "")
        driver.caller_says("Thank you.")
        driver.agent_says("You are welcome.", 500)
        driver.advance(1)
        turns = driver.end().turns
        self.assertEqual([turn.user_text for turn in turns], ["", "Is there parking?", "Thank you."])
        self.assertEqual([turn.bot_reply for turn in turns], ["Hello, this is Robin.", ANSWER, "You are welcome."])

    def test_one_that_does_not_come_is_tried_again_while_the_present_one_goes_on(self) -> None:
        driver = expiring()
        driver.advance(748)
        self.assertEqual(driver.fresh_model_fails(permanent=True), [])
        driver.advance(29.9)
        self.assertEqual(len(driver.all(commands.OpenModel)), 1)
        driver.advance(0.2)
        self.assertEqual(len(driver.all(commands.OpenModel)), 2)
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_one_that_came_to_be_ready_and_was_lost_before_it_took_over_is_nobodys_loss(self) -> None:
        driver = expiring()
        driver.advance(748)
        driver.caller_starts()
        driver.model_is_ready()
        driver.fresh_model_fails()
        driver.caller_stops()
        self.assertEqual(len(driver.all(commands.SwitchModel)), 1)
        self.assertNotIn("model_lost", driver.end().counters)

    def test_a_session_that_expires_while_nobody_pauses_is_followed_at_once_by_the_one_that_waits(self) -> None:
        driver = expiring()
        driver.advance(748)
        driver.caller_starts()
        driver.model_is_ready()
        done = driver.send(events.ModelError("session_expired", fatal=True))
        self.assertEqual(done[0], commands.SwitchModel())
        self.assertEqual(driver.caller_frame(), [commands.ForwardAudio(audio(20, 0))])

    def test_before_the_stream_starts_it_waits_too(self) -> None:
        driver = CallDriver()
        driver.model_is_ready(4.0)
        driver.advance(3.1)
        self.assertEqual(driver.all(commands.OpenModel), [commands.OpenModel(replace=False)])
        driver.fresh_model_fails()
        self.assertIs(driver.call.state, CallState.MODEL_OPEN)


class Lost(SimpleTestCase):
    def test_another_one_is_opened_at_once_and_learns_what_was_said(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 1000)
        driver.advance(2)
        self.assertEqual(driver.model_is_lost(), [commands.OpenModel(replace=True)])
        done = driver.model_is_ready()
        self.assertEqual([type(command) for command in done], [commands.SwitchModel, commands.RecallConversation])
        self.assertEqual(
            [item.text for item in driver.all(commands.RecallConversation)[-1].items][1:], ["Is there parking?", ANSWER]
        )
        self.assertEqual(driver.end().counters["model_lost"], 1)

    def test_what_the_caller_says_meanwhile_is_kept_for_it(self) -> None:
        driver = talking()
        driver.model_is_lost()
        for number in range(10):
            self.assertEqual(driver.caller_frame(number), [])
        self.assertEqual(driver.model_is_ready()[2:], [commands.ForwardAudio(audio(20, n)) for n in range(10)])

    def test_so_is_what_it_presses(self) -> None:
        driver = talking()
        driver.model_is_lost()
        self.assertEqual(driver.send(events.DtmfPressed("#")), [])
        done = driver.model_is_ready()
        self.assertEqual(done[-2:], [commands.SendUserText("[The caller pressed: #]"), commands.Respond()])

    def test_an_answer_that_was_owed_is_asked_for_again(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready()[-1], commands.Respond())
        driver.agent_says(ANSWER, 500)
        driver.advance(2)
        self.assertEqual(driver.end().turns[-1].bot_reply, ANSWER)

    def test_what_it_has_said_is_still_played_and_what_is_missing_of_it_asked_for(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_begins("There is", 3000)
        driver.model_is_lost()
        driver.advance(3.1)
        self.assertEqual(driver.carrier.sent[-24_000:], sound(3000))
        self.assertEqual(driver.model_is_ready()[-1], commands.Respond())

    def test_a_caller_who_was_making_a_sound_is_not_waited_for(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 3000)
        driver.advance(1)
        driver.caller_starts()
        done = driver.model_is_lost()
        self.assertTrue(any(isinstance(command, commands.PlayAudio) for command in done), "it does not go on")
        driver.advance(3)
        driver.model_is_ready()
        turn = driver.end().turns[1]
        self.assertEqual((turn.heard_ms, turn.interrupted), (3000, False))

    def test_what_it_has_as_text_only_is_not_truncated(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 4000)
        driver.model_is_lost()
        driver.model_is_ready()
        driver.advance(1)
        done = driver.caller_says("And on Saturday?")
        self.assertEqual(done[0], commands.ClearPlayback())
        self.assertEqual(driver.all(commands.TruncateItem), [])
        self.assertIn(commands.Respond(), done)
        driver.agent_says("Yes.", 500)
        driver.advance(1)
        self.assertEqual([turn.interrupted for turn in driver.end().turns], [False, True, False])

    def test_of_what_was_cut_it_learns_what_was_heard(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 6000)
        driver.advance(2)
        driver.caller_says("Stop.")
        driver.agent_says("Yes?", 500)
        driver.advance(1)
        driver.model_is_lost()
        (learned,) = [c for c in driver.model_is_ready() if isinstance(c, commands.RecallConversation)]
        self.assertIn("There is free", [item.text for item in learned.items])

    def test_nothing_the_old_session_says_counts(self) -> None:
        driver = talking()
        driver.model_is_lost()
        self.assertEqual(driver.agent_begins("Late", 400), [])
        self.assertEqual(driver.end().counters["unexpected_events"], 4)

    def test_a_pause_is_not_waited_for(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 3000)
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready()[0], commands.SwitchModel())

    def test_a_greeting_it_had_been_asked_for_is_asked_of_the_next(self) -> None:
        driver = CallDriver().connect()
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready(), [commands.SwitchModel(), commands.Say(driver.config.greeting)])
        driver.agent_says("Hello, this is Robin.", 1000)
        driver.advance(2)
        driver.model_is_lost()
        self.assertEqual(len(driver.model_is_ready()), 2)
        self.assertEqual(len(driver.all(commands.Say)), 2)

    def test_opening_is_tried_again_ever_later(self) -> None:
        driver = talking()
        driver.model_is_lost()
        driver.fresh_model_fails()
        driver.advance(0.29)
        self.assertEqual(len(driver.all(commands.OpenModel)), 1)
        driver.advance(0.02)
        self.assertEqual(driver.all(commands.OpenModel)[1:], [commands.OpenModel(replace=True)])
        driver.fresh_model_fails()
        driver.advance(0.59)
        self.assertEqual(len(driver.all(commands.OpenModel)), 2)
        driver.advance(0.02)
        self.assertEqual(len(driver.all(commands.OpenModel)), 3)

    def test_a_second_message_of_the_loss_opens_no_second_one(self) -> None:
        driver = talking()
        driver.send(events.ModelError("session_expired", fatal=True))
        self.assertEqual(driver.model_is_lost(), [])
        driver.fresh_model_fails()
        self.assertEqual(driver.model_is_lost(), [commands.OpenModel(replace=True)])
        driver.advance(1)  # the one that was to be tried again is being opened
        self.assertEqual(len(driver.all(commands.OpenModel)), 2)


class WordsOfALostSession(SimpleTestCase):
    """What the caller was saying, or had just said, is in no text yet: the next session hears it again."""

    def frames(self, driver: CallDriver, count: int, first: int) -> list[commands.Command]:
        for number in range(first, first + count):
            driver.caller_frame(number)
            driver.advance(0.02)
        return [commands.ForwardAudio(audio(20, number)) for number in range(first, first + count)]

    def forwarded(self, done: list[commands.Command]) -> list[commands.Command]:
        return [command for command in done if isinstance(command, commands.ForwardAudio)]

    def test_from_shortly_before_it_began_to_the_present(self) -> None:
        driver = talking()
        before = self.frames(driver, 100, 0)
        driver.caller_starts()
        said = self.frames(driver, 50, 100)
        driver.model_is_lost()
        meanwhile = self.frames(driver, 20, 150)
        done = driver.model_is_ready()
        self.assertEqual(self.forwarded(done)[-99:], before[-29:] + said + meanwhile)
        self.assertNotIn(commands.Respond(), done)
        self.assertIn(driver.call._counters["frames_again"], (79, 80))  # 600 ms, and 50 frames

    def test_what_was_said_long_ago_and_has_no_answer_is_heard_again_without_the_silence_since(self) -> None:
        driver = talking()
        self.frames(driver, 100, 0)
        driver.caller_starts()
        one = self.frames(driver, 40, 100)
        driver.caller_stops()
        between = self.frames(driver, 10, 140)
        driver.caller_starts()
        other = self.frames(driver, 40, 150)
        driver.caller_stops()
        for _ in range(4):
            self.frames(driver, 50, 190)
        driver.model_is_lost()
        again = self.forwarded(driver.model_is_ready())
        self.assertEqual(again[-90:], one + between + other)
        self.assertLessEqual(len(again), 200)

    def test_and_it_is_answered_when_that_one_says_so_and_makes_one_turn(self) -> None:
        driver = talking()
        driver.caller_starts()
        self.frames(driver, 50, 0)
        driver.caller_stops()
        self.frames(driver, 10, 50)
        driver.model_is_lost()
        done = driver.model_is_ready()
        self.assertEqual(len(self.forwarded(done)), 60)
        self.assertNotIn(commands.Respond(), done)
        driver.caller_starts()
        self.assertIn(commands.Respond(), driver.caller_stops())
        driver.transcribed("Is there parking?")
        driver.agent_says(ANSWER, 500)
        driver.advance(1)
        turns = driver.end().turns
        self.assertEqual([turn.user_text for turn in turns], ["", "Is there parking?"])

    def test_what_is_written_down_is_not_said_again(self) -> None:
        driver = talking()
        driver.caller_starts()
        self.frames(driver, 50, 0)
        driver.caller_stops()
        driver.transcribed("Is there parking?")
        driver.model_is_lost()
        done = driver.model_is_ready()
        self.assertEqual(self.forwarded(done), [])
        self.assertEqual(done[-1], commands.Respond())

    def test_nor_is_what_was_answered_already(self) -> None:
        driver = talking()
        driver.caller_starts()
        self.frames(driver, 50, 0)
        driver.caller_stops()
        driver.agent_says(ANSWER, 500)
        driver.advance(1)
        driver.model_is_lost()
        self.assertEqual(self.forwarded(driver.model_is_ready()), [])

    def test_nor_is_a_cough(self) -> None:
        driver = talking()
        driver.caller_says("Is there parking?")
        driver.agent_says(ANSWER, 3000)
        driver.advance(0.5)
        driver.caller_starts()
        self.frames(driver, 10, 0)
        driver.caller_stops()
        driver.transcribed("")
        driver.model_is_lost()
        self.assertEqual(self.forwarded(driver.model_is_ready()), [])

    def test_sessions_that_are_lost_one_after_another_without_an_answer_are_given_up(self) -> None:
        driver = talking()
        for _ in range(2):
            driver.caller_says("Is there parking?")
            driver.model_is_lost()
            driver.model_is_ready()
        driver.model_is_lost()
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "model_failed"))

    def test_but_not_when_one_has_answered_between(self) -> None:
        driver = talking()
        for _ in range(5):
            driver.caller_says("Is there parking?")
            driver.model_is_lost()
            driver.model_is_ready()
            driver.agent_says(ANSWER, 500)
            driver.advance(1)
        self.assertFalse(driver.over)


class ToolsOfALostSession(SimpleTestCase):
    def asking(self, *call_ids: str) -> CallDriver:
        driver = talking()
        driver.caller_says("When is my appointment?")
        driver.agent_begins()
        for call_id in call_ids:
            driver.agent_calls("look_up", call_id)
        driver.response_ends()
        return driver

    def test_what_they_answer_is_a_note_for_the_next_which_answers_the_caller(self) -> None:
        driver = self.asking("c1", "c2")
        driver.model_is_lost()
        driver.model_is_ready()
        self.assertEqual(
            driver.send(events.ToolFinished("c2", '{"day": 2}')), [commands.SendNote('[look_up answered: {"day": 2}]')]
        )
        self.assertEqual(
            [c for c in driver.send(events.ToolFinished("c1", '{"day": 1}')) if isinstance(c, commands.SendNote)],
            [commands.SendNote('[look_up answered: {"day": 1}]')],
        )
        self.assertEqual(driver.all(commands.SendToolResult), [])
        self.assertEqual(driver.end().ended_reason, "caller_hung_up")

    def test_what_they_answered_before_or_meanwhile_is_told_when_it_takes_over(self) -> None:
        driver = self.asking("c1", "c2", "c3")
        driver.send(events.ToolFinished("c2", '{"day": 2}'))
        driver.model_is_lost()
        self.assertEqual(driver.send(events.ToolFinished("c3", '{"day": 3}')), [])
        done = driver.model_is_ready()
        notes = [commands.SendNote(f'[look_up answered: {{"day": {day}}}]') for day in (2, 3, 1)]
        self.assertEqual([c for c in done if isinstance(c, commands.SendNote)], notes[:2])
        done = driver.send(events.ToolFinished("c1", '{"day": 1}'))
        self.assertEqual([c for c in done if isinstance(c, commands.SendNote)], notes[2:])

    def test_it_is_not_run_again(self) -> None:
        driver = self.asking("c1")
        driver.model_is_lost()
        driver.model_is_ready()
        driver.agent_begins()
        driver.agent_calls("look_up", "c1")
        self.assertEqual(len(driver.all(commands.RunTool)), 1)
