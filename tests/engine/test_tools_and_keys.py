from django.test import SimpleTestCase

from media.engine import commands, events
from media.engine.config import ModelTraits
from media.engine.toolcalls import TIMED_OUT, UNKNOWN_TOOL
from tests.engine.driver import CallDriver, talking


def calling(*call_ids: str) -> CallDriver:
    """A response that calls a tool once for each id, and is done."""
    driver = talking()
    driver.caller_says("When is my appointment?")
    driver.agent_begins()
    for call_id in call_ids:
        driver.agent_calls("look_up", call_id, '{"day": 1}')
    driver.response_ends()
    return driver


def asked(driver: CallDriver) -> int:
    """How often an answer was asked for since the caller's question, which is answered by the call of the tool."""
    return len(driver.all(commands.Respond)) - 1


def result(call_id: str) -> events.ToolFinished:
    return events.ToolFinished(call_id, f'{{"of": "{call_id}"}}')


class Tools(SimpleTestCase):
    def test_a_tool_is_run_its_result_sent_and_an_answer_asked_for_once(self) -> None:
        driver = calling("c1")
        self.assertEqual(driver.all(commands.RunTool), [commands.RunTool("c1", "look_up", '{"day": 1}', 4.0)])
        done = driver.send(result("c1"))
        self.assertEqual(done, [commands.SendToolResult("c1", '{"of": "c1"}'), commands.Respond()])
        self.assertEqual(driver.send(result("c1")), [])

    def test_the_same_call_never_runs_twice(self) -> None:
        driver = calling("c1", "c1")
        self.assertEqual(len(driver.all(commands.RunTool)), 1)

    def test_results_keep_the_order_of_the_calls(self) -> None:
        driver = calling("c1", "c2", "c3")
        self.assertEqual(driver.send(result("c2")), [])
        sent = [c.tool_call_id for c in driver.send(result("c1")) if isinstance(c, commands.SendToolResult)]
        self.assertEqual(sent, ["c1", "c2"])
        self.assertEqual(driver.send(result("c3"))[1:], [commands.Respond()])
        self.assertEqual(asked(driver), 1)

    def test_no_answer_is_asked_for_while_the_response_is_running(self) -> None:
        driver = talking()
        driver.agent_begins("Let me see.", 400)
        driver.agent_calls("look_up", "c1")
        self.assertEqual(len(driver.send(result("c1"))), 1)
        self.assertIn(commands.Respond(), driver.response_ends())

    def test_two_responses_with_tools_are_answered_apart(self) -> None:
        driver = calling("c1")
        driver.caller_says("And my sister's?")
        driver.agent_begins()
        driver.agent_calls("look_up", "c2")
        driver.response_ends()
        self.assertEqual(len(driver.send(result("c2"))), 2)
        driver.agent_says("Monday.", 400)
        self.assertEqual(len(driver.send(result("c1"))), 2)

    def test_a_tool_nobody_knows_is_an_error_for_the_model(self) -> None:
        driver = talking()
        driver.agent_begins()
        self.assertEqual(driver.agent_calls("fly", "c1"), [commands.SendToolResult("c1", UNKNOWN_TOOL)])
        self.assertEqual(driver.response_ends(), [commands.Respond()])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["unknown_tools"], 1)

    def test_a_tool_that_takes_too_long_is_answered_for(self) -> None:
        driver = calling("c1", "c2")
        driver.send(result("c2"))
        driver.advance(4.1)
        self.assertEqual(driver.all(commands.SendToolResult)[0], commands.SendToolResult("c1", TIMED_OUT))
        self.assertEqual(asked(driver), 1)
        self.assertEqual(driver.send(result("c1")), [])
        driver.hang_up()
        self.assertEqual(driver.finish.counters["tool_timeouts"], 1)

    def test_the_answer_after_a_tool_belongs_to_the_same_turn(self) -> None:
        driver = talking()
        driver.caller_says("When is my appointment?")
        driver.agent_begins("Let me see.", 400)
        driver.agent_item_ends("Let me see.")
        driver.agent_calls("look_up", "c1")
        driver.response_ends()
        driver.advance(2)
        self.assertEqual(len(driver.saved), 1)  # the greeting: this turn is not over yet
        driver.send(result("c1"))
        driver.agent_says("On Monday.", 400)
        driver.advance(1)
        self.assertEqual(driver.saved[1:], [(1, 0, "When is my appointment?", "Let me see. On Monday.")])


class AskingForAnswers(SimpleTestCase):
    def test_a_caller_who_has_stopped_is_answered_at_once(self) -> None:
        driver = talking()
        driver.caller_starts()
        driver.advance(1)
        self.assertEqual(driver.caller_stops(), [commands.Respond()])

    def test_a_caller_who_is_speaking_gets_one_answer_to_all_of_it(self) -> None:
        driver = calling("c1")
        driver.caller_starts()
        self.assertEqual(len(driver.send(result("c1"))), 1)
        driver.caller_stops()
        self.assertEqual(asked(driver), 1)
        driver.agent_says("On Monday.", 400)
        driver.advance(5)
        self.assertEqual(asked(driver), 1)

    def test_a_model_that_answers_by_itself_is_only_asked_if_it_does_not(self) -> None:
        driver = talking(traits=ModelTraits(answers_itself=True))
        driver.caller_says("When is my appointment?")
        driver.agent_begins()
        driver.agent_calls("look_up", "c1")
        driver.response_ends()
        driver.caller_starts()
        driver.send(result("c1"))
        driver.caller_stops()
        driver.advance(1.9)
        self.assertEqual(driver.all(commands.Respond), [])
        driver.advance(0.2)
        self.assertEqual(len(driver.all(commands.Respond)), 1)

    def test_an_answer_refused_because_another_was_running_is_asked_for_again(self) -> None:
        driver = calling("c1")
        driver.send(result("c1"))
        driver.agent_begins("By the way", 400)
        conflict = events.ModelError("conversation_already_has_active_response", False, answering_already=True)
        self.assertEqual(driver.send(conflict), [])
        self.assertIn(commands.Respond(), driver.response_ends())

    def test_a_greeting_is_never_asked_for_again(self) -> None:
        driver = CallDriver().connect()
        driver.agent_begins("Hm", 400)
        conflict = events.ModelError("conversation_already_has_active_response", False, answering_already=True)
        driver.send(conflict)
        driver.response_ends()
        driver.advance(5)
        self.assertEqual(len(driver.all(commands.Say)), 1)
        self.assertEqual(driver.all(commands.Respond), [])

    def test_a_second_wish_waits_for_the_answer_to_the_first(self) -> None:
        driver = talking()
        driver.caller_says("Hi")
        self.assertEqual(len(driver.send(events.DtmfPressed("#"))), 1)
        driver.advance(5)  # the model does not answer
        self.assertEqual(len(driver.all(commands.Respond)), 1)
        driver.agent_says("Hello.", 400)
        self.assertEqual(len(driver.all(commands.Respond)), 2)

    def test_an_answer_refused_by_an_error_is_asked_for_again(self) -> None:
        driver = calling("c1")
        driver.send(result("c1"), events.ModelError("server_error", fatal=False))
        self.assertEqual(asked(driver), 1)
        driver.advance(0.6)
        self.assertEqual(asked(driver), 2)
        driver.agent_says("On Monday.", 400)
        driver.advance(5)
        self.assertEqual(asked(driver), 2)

    def test_a_benign_error_is_no_refusal(self) -> None:
        driver = calling("c1")
        driver.send(result("c1"), events.ModelError("invalid_value", fatal=False, benign=True))
        done = driver.send(events.DtmfPressed("#"))
        self.assertEqual(len(done), 1)  # the answer asked for is still to come


class Keys(SimpleTestCase):
    def test_keys_are_collected_until_a_pause(self) -> None:
        driver = talking()
        for digit in "123":
            self.assertEqual(driver.send(events.DtmfPressed(digit)), [])
            self.assertEqual(driver.advance(1.0), [])
        done = driver.advance(0.6)
        self.assertEqual(done, [commands.SendUserText("[The caller pressed: 123]"), commands.Respond()])

    def test_a_hash_ends_the_entry_at_once(self) -> None:
        driver = talking()
        driver.send(events.DtmfPressed("4"))
        done = driver.send(events.DtmfPressed("#"))
        self.assertEqual(done, [commands.SendUserText("[The caller pressed: 4#]"), commands.Respond()])
        self.assertEqual(driver.advance(5), [])

    def test_pressed_keys_open_a_turn(self) -> None:
        driver = talking()
        driver.send(events.DtmfPressed("#"))
        driver.item_added("keys", "user", "[The caller pressed: #]")
        driver.agent_says("Thank you.", 400)
        driver.advance(1)
        self.assertEqual(driver.saved[-1], (1, 0, "[The caller pressed: #]", "Thank you."))

    def test_endless_keys_are_cut_short(self) -> None:
        driver = talking()
        driver.send(*[events.DtmfPressed("1")] * 100)
        driver.advance(2)
        self.assertEqual(driver.all(commands.SendUserText)[0].text.count("1"), 64)
