"""The agent puts the caller through: the tool has said that it may, its last words are heard, the stream ends."""

from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import ToolSpec
from media.engine.states import CallState
from tests.engine.driver import CONFIG, CallDriver, talking

TOOLS = {**CONFIG.tools, "transfer_call": ToolSpec("transfer_call", 4.0, puts_through=True)}
ALLOWED, REFUSED = '{"ok": true}', '{"error": "premium"}'


def asking(words: str = "I am putting you through.", ms: int = 2000, **changes: object) -> CallDriver:
    """The agent has asked for a transfer, with or without words before, and the tool is at work."""
    driver = talking(tools=TOOLS, **changes)
    driver.caller_says("Sales, please.")
    driver.agent_begins(words, ms)
    if words:
        driver.agent_item_ends(words)
    driver.agent_calls("transfer_call", "call_transfer")
    driver.response_ends()
    return driver


def answer(driver: CallDriver, output: str = ALLOWED, *, succeeded: bool = True) -> list[commands.Command]:
    return driver.send(events.ToolFinished("call_transfer", output, succeeded=succeeded))


class TheAgentPutsTheCallerThrough(SimpleTestCase):
    def test_the_stream_ends_when_its_words_were_heard_and_the_call_goes_on(self) -> None:
        driver = asking()
        self.assertIs(driver.call.state, CallState.TALKING)
        answer(driver)
        self.assertIs(driver.call.state, CallState.SAYING_GOODBYE)
        self.assertEqual(len(driver.all(commands.Respond)), 1)  # for what the caller said; none for the tool
        driver.advance(1.9)
        self.assertEqual(driver.all(commands.CloseStream), [])
        driver.advance(0.2)
        self.assertEqual(len(driver.all(commands.CloseStream)), 1)
        self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "transferred"))
        self.assertEqual(driver.finish.turns[-1].heard_text, "I am putting you through.")

    def test_an_answer_that_comes_when_the_words_were_heard_ends_it_at_once(self) -> None:
        driver = asking()
        driver.advance(3)
        answer(driver)
        self.assertEqual(driver.finish.ended_reason, "transferred")

    def test_words_that_were_not_said_yet_are_asked_for(self) -> None:
        driver = asking(words="", ms=0)
        self.assertEqual(answer(driver)[-1], commands.Respond())
        driver.agent_says("I am putting you through.", 1000)
        driver.advance(1.1)
        self.assertEqual(driver.finish.ended_reason, "transferred")

    def test_a_refusal_is_told_and_the_call_goes_on(self) -> None:
        driver = asking()
        done = answer(driver, REFUSED, succeeded=False)
        self.assertIn(commands.SendToolResult("call_transfer", REFUSED), done)
        self.assertIs(driver.call.state, CallState.TALKING)
        driver.advance(3)
        self.assertEqual(len(driver.all(commands.Respond)), 2)
        self.assertFalse(driver.over)

    def test_a_caller_who_speaks_up_is_not_put_through(self) -> None:
        driver = asking()
        answer(driver)
        driver.advance(0.5)
        driver.caller_says("Wait, one more thing.")
        self.assertIs(driver.call.state, CallState.TALKING)
        driver.agent_says("Yes?", 500)
        driver.advance(5)
        self.assertFalse(driver.over)
        driver.hang_up()
        driver.advance(10)
        self.assertEqual(driver.finish.ended_reason, "caller_hung_up")

    def test_nor_one_who_did_before_the_tool_had_its_answer(self) -> None:
        driver = asking()
        driver.advance(0.5)
        driver.caller_says("Wait, one more thing.")
        answer(driver)
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_an_answer_that_comes_too_late_puts_nobody_through(self) -> None:
        driver = asking()
        driver.advance(4.5)  # the model was told that it took too long
        self.assertEqual(answer(driver), [])
        self.assertIs(driver.call.state, CallState.TALKING)

    def test_asked_for_together_with_the_end_it_is_the_end(self) -> None:
        for first in (True, False):
            driver = talking(tools=TOOLS)
            driver.agent_begins("Goodbye.", 1000)
            driver.agent_item_ends("Goodbye.")
            driver.agent_calls("transfer_call", "call_transfer")
            if first:
                answer(driver)
            driver.agent_calls("end_call")
            driver.response_ends()
            if not first:
                answer(driver)
            driver.advance(1.1)
            self.assertEqual((driver.finish.status, driver.finish.ended_reason), ("in-progress", "transferred"))

    def test_a_server_that_stops_does_not_keep_the_caller_from_it(self) -> None:
        driver = asking()
        answer(driver)
        driver.send(events.HandOverRequested(1.0))
        driver.advance(2.1)
        self.assertEqual(driver.finish.ended_reason, "transferred")

    def test_a_stream_that_closes_meanwhile_is_put_through_all_the_same(self) -> None:
        driver = asking()
        answer(driver)
        driver.send(events.CarrierClosed())
        self.assertEqual(driver.finish.ended_reason, "transferred")

    def test_a_caller_who_hangs_up_meanwhile_has_hung_up(self) -> None:
        driver = asking()
        answer(driver)
        self.assertEqual(driver.end().ended_reason, "caller_hung_up")
