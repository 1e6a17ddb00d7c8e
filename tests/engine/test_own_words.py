"""Audio of our own: said without the model, told to it, and written down where it was said."""

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import Clip, PastItem
from media.engine.states import CallState
from tests.engine.driver import CallDriver, sound, talking

GREETING = Clip("Thank you for calling.", sound(2000, 0x33))


class AGreetingOfOurOwn(SimpleTestCase):
    def test_it_does_not_wait_for_the_model(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING})
        driver.stream_starts()
        driver.advance(0.5)
        self.assertIs(driver.call.state, CallState.STREAM_OPEN)
        self.assertEqual(driver.carrier.sent, GREETING.audio)
        learns = commands.RecallConversation((PastItem("own_0_1", "assistant", "Thank you for calling."),))
        self.assertEqual(driver.model_is_ready(), [commands.SwitchModel(), learns])
        driver.advance(3)
        self.assertEqual(driver.saved, [(0, 0, "", "Thank you for calling.")])

    def test_it_is_said_once_when_the_model_is_there_first(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING})
        driver.model_is_ready()
        driver.stream_starts()
        driver.advance(3)
        self.assertEqual(driver.carrier.sent, GREETING.audio)
        self.assertEqual(driver.all(commands.Say), [])

    def test_it_can_be_interrupted_and_the_model_is_not_told_to_truncate_what_it_never_said(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING}).connect()
        driver.advance(1)
        self.assertIn(commands.Respond(), driver.caller_says("Are you open?", 0.5))
        self.assertEqual(driver.all(commands.TruncateItem), [])
        turn = driver.end().turns[0]
        self.assertEqual((turn.heard_ms, turn.heard_text, turn.interrupted), (1000, "Thank you", True))

    def test_what_was_heard_of_it_takes_its_place_in_the_conversation(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING}).connect()
        driver.advance(1)
        done = driver.caller_says("Are you open?", 0.5)
        self.assertIn(commands.ReplaceItem("own_0_1", "own_0_1_cut", "Thank you"), done)
        driver.send(events.ItemAdded("own_0_1_cut", "assistant", "own_0_1", ""))  # nothing new was said
        driver.agent_says("We are.", 500)
        driver.advance(2)
        turns = driver.end().turns
        self.assertEqual([turn.bot_reply for turn in turns], ["Thank you for calling.", "We are."])

    def test_who_is_still_speaking_then_follows_it_under_its_new_name(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING}).connect()
        driver.advance(1)
        driver.caller_starts()
        driver.advance(2)
        self.assertEqual(len(driver.all(commands.ReplaceItem)), 1)
        driver.item_added("own_0_1_cut", "assistant")
        driver.caller_stops()
        driver.transcribed("Are you open?")
        driver.agent_says("We are.", 500)
        driver.advance(2)
        said = [(turn.user_text, turn.bot_reply) for turn in driver.end().turns]
        self.assertEqual(said, [("", "Thank you for calling."), ("Are you open?", "We are.")])

    def test_one_of_which_nothing_was_heard_is_taken_out(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING}).connect()
        driver.caller_says("Are you open?", 0.5)
        self.assertEqual(driver.all(commands.DropItem), [commands.DropItem("own_0_1")])

    def test_it_is_not_said_again_to_a_caller_whose_first_answer_is_lost_with_a_session(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING}).connect()
        driver.advance(3)
        driver.caller_says("Are you open?")
        driver.model_is_lost()
        self.assertEqual(driver.model_is_ready()[-1], commands.Respond())
        driver.advance(3)
        self.assertEqual(driver.carrier.sent, GREETING.audio)

    def test_a_call_whose_model_is_gone_when_it_starts_is_greeted_all_the_same(self) -> None:
        driver = CallDriver(clips={"greeting": GREETING})
        driver.model_is_ready()
        driver.model_is_lost()
        driver.stream_starts()
        driver.advance(2)
        self.assertEqual(driver.carrier.sent, GREETING.audio)


class InTheMiddle(SimpleTestCase):
    def test_the_model_is_told_at_once(self) -> None:
        driver = talking(clips={"still_there": Clip("Are you there?", sound(500))}, silence_seconds=8.0)
        done = driver.advance(7)
        self.assertIn(commands.RecallConversation((PastItem("own_0_1", "assistant", "Are you there?"),)), done)

    def test_it_stands_where_it_was_said_whatever_the_model_says_later(self) -> None:
        filler = Clip("One moment.", sound(500))
        driver = talking(clips={"filler": filler}, dead_air_seconds=(2.5, 99.0, 99.0))
        driver.caller_says("Is there parking?")
        driver.advance(3)
        driver.agent_says("Yes.", 500)
        driver.advance(2)
        driver.caller_says("Thank you.")
        driver.agent_says("You are welcome.", 500)
        driver.advance(2)
        replies = [turn.bot_reply for turn in driver.end().turns]
        self.assertEqual(replies, ["Hello, this is Robin.", "One moment. Yes.", "You are welcome."])
