"""A call that lost its stream goes on in another one: the model is told what was said, and the turns count on."""

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import PastItem
from tests.engine.driver import CallDriver

PAST = (
    PastItem("past_0_a", "assistant", "Hello, this is Robin."),
    PastItem("past_1_u", "user", "When do you open?"),
    PastItem("past_1_a", "assistant", "At nine."),
)


def resumed(greeting: str = "Sorry, we were cut off.") -> CallDriver:
    driver = CallDriver(greeting=greeting, first_turn_index=10_000, past=PAST)
    driver.model_is_ready()
    driver.stream_starts()
    return driver


class Resumed(SimpleTestCase):
    def test_the_model_learns_what_was_said_before_it_says_the_sentence_that_resumes(self) -> None:
        self.assertEqual(
            [command for _, command in resumed().log],
            [commands.SwitchModel(), commands.RecallConversation(PAST), commands.Say("Sorry, we were cut off.")],
        )

    def test_without_a_sentence_it_only_learns(self) -> None:
        learns = [commands.SwitchModel(), commands.RecallConversation(PAST)]
        self.assertEqual([command for _, command in resumed("").log], learns)

    def test_the_echo_of_the_past_is_no_turn_and_new_turns_count_on(self) -> None:
        driver = resumed()
        for item in PAST:
            driver.send(events.ItemAdded(item.item_id, item.role, None, item.text if item.role == "user" else ""))
        driver.send(
            events.ResponseStarted("r1"),
            events.ItemAdded("a1", "assistant", "past_1_a"),
            events.AgentTextDone("r1", "a1", "Sorry, we were cut off."),
            events.ResponseFinished("r1", "completed"),
        )
        driver.send(events.ItemAdded("u1", "user", "a1"), events.CallerTranscribed("u1", "And on Sunday?"))
        driver.hang_up()
        turns = [(turn.index, turn.user_text, turn.bot_reply) for turn in driver.finish.turns]
        self.assertEqual(turns, [(10_000, "", "Sorry, we were cut off."), (10_001, "And on Sunday?", "")])
        self.assertEqual([save.turn.index for save in driver.all(commands.SaveTurn)], [10_000])
