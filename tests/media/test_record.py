"""What the record hands to the recorder."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase

from calls import transcripts
from media.engine.commands import FinishCall, Turn
from media.engine.events import Usage
from media.record import Caller
from tests.media.fakes import CALL_SID, ListRecorder, record

TURN = Turn(0, 0, "", "Hello.", "Hello.", 900, 900, False, 101.0, 102.0)
ANSWER = Turn(1, 0, "Hi.", "Yes?", "Yes?", 900, 900, False, 103.0, 105.0, reply_ms=800, reply_heard_ms=950)
SECRET = "nobody else may read this"
FACTS = ("save_conversation_turn", "save_tool_use", "save_message")


class RecordTest(SimpleTestCase):
    def setUp(self) -> None:
        self.recorder = ListRecorder()
        self.record = record(self.recorder, opened_at=100.0)
        self.record.start(Caller("AC1", "+1555", "+1666", "inbound"), "MZ1", 100.5)

    def finish(self, now: float = 110.0, **changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {"status": "completed", "ended_reason": "caller_hung_up", "turns": (TURN, ANSWER)}
        self.record.finish(FinishCall(**{"counters": {}, **fields, **changes}), now)
        [end] = self.recorder.of("finalize_call_log")
        return end

    def test_a_turn_says_how_long_the_caller_waited_if_that_is_known(self) -> None:
        self.record.save_turn(TURN)
        self.record.save_turn(ANSWER)
        told = [(turn["reply_ms"], turn["reply_heard_ms"]) for turn in self.recorder.of("save_conversation_turn")]
        self.assertEqual(told, [(None, None), (800, 950)])
        self.assertEqual(self.finish()["turns"][1]["reply_ms"], 800)

    def test_the_end_says_what_was_counted_and_by_which_model(self) -> None:
        self.record.model = "gpt-realtime-2.1"
        end = self.finish(counters={"interruptions": 2, "echoes": 1}, usage=Usage(input_tokens=7, output_tokens=3))
        self.assertEqual((end["counters"], end["interruptions"]), ({"interruptions": 2, "echoes": 1}, 2))
        self.assertEqual((end["usage"]["input_tokens"], end["usage"]["output_tokens"]), (7, 3))
        self.assertEqual(end["model"], "gpt-realtime-2.1")

    def test_a_tool_is_told_when_it_starts_when_it_ends_and_with_the_end_of_the_call(self) -> None:
        self.record.tool_started("call_1", "look_up", '{"day": "Monday"}', 103.0)
        self.record.tool_finished("call_1", '{"free": true}', "finished", 104.5)
        first, second = self.recorder.of("save_tool_use")
        self.assertEqual((first["call_sid"], first["state"], first["ended_at"]), (CALL_SID, "started", ""))
        self.assertEqual((second["name"], second["arguments"]), ("look_up", '{"day": "Monday"}'))
        self.assertEqual((second["state"], second["output"]), ("finished", '{"free": true}'))
        self.assertLess(second["started_at"], second["ended_at"])
        [use] = self.finish()["tool_uses"]
        self.assertEqual({**use, "call_sid": CALL_SID, "business_id": 3}, second)

    def test_a_tool_that_still_runs_at_the_end_is_given_up_and_may_end_after_all(self) -> None:
        self.record.tool_started("call_1", "look_up", "{}", 109.0)
        [use] = self.finish(now=110.0)["tool_uses"]
        self.assertEqual(use["state"], "abandoned")
        self.assertLess(use["started_at"], use["ended_at"])
        self.assertEqual(len(self.recorder.of("save_tool_use")), 1)  # the end of the call has said it
        self.record.tool_finished("call_1", "{}", "finished", 111.0)
        self.assertEqual(self.recorder.of("save_tool_use")[-1]["state"], "finished")

    def test_an_end_without_a_start_a_second_start_and_one_without_an_id_are_passed_over(self) -> None:
        self.record.tool_finished("call_9", "{}", "finished", 104.0)
        self.record.tool_started("", "look_up", "{}", 104.0)
        self.record.tool_started("call_1", "look_up", "{}", 104.0)
        self.record.tool_started("call_1", "another", "{}", 105.0)
        self.assertEqual([use["name"] for use in self.recorder.of("save_tool_use")], ["look_up"])

    def test_a_message_is_told_once_and_again_with_the_end(self) -> None:
        for _ in range(2):
            self.record.save_message("call_1", "Nina", "+1555", "Call me back.", 104.0)
        self.record.save_message("", "Nina", "+1555", "Call me back.", 104.0)
        [told] = self.recorder.of("save_message")
        self.assertEqual((told["key"], told["caller_name"], told["callback_number"]), ("call_1", "Nina", "+1555"))
        self.assertEqual(told["text"], "Call me back.")
        [message] = self.finish()["messages"]
        self.assertEqual({**message, "call_sid": CALL_SID, "business_id": 3}, told)

    def test_of_the_legs_that_were_asked_for_the_last_one_goes_with_the_caller(self) -> None:
        self.record.save_leg("call_1", "cold", "Nina", "It is 4111 1111 1111 1111.", 104.0)
        self.record.save_leg("call_2", "cold", "Bert", "", 105.0, refused_for="premium")
        self.record.save_leg("call_3", "cold", "Nina", "", 106.0)
        told = [(leg["key"], leg["state"], leg["reason"]) for leg in self.recorder.of("save_leg")]
        given_up = ("call_1", "canceled", "not_put_through")
        self.assertEqual(
            told, [("call_1", "asked", ""), ("call_2", "refused", "premium"), given_up, ("call_3", "asked", "")]
        )
        self.assertNotIn("4111 1111", self.recorder.of("save_leg")[0]["briefing"])
        self.finish(ended_reason="transferred")
        self.assertEqual(len(self.recorder.of("save_leg")), 4)

    def test_a_leg_that_was_asked_for_is_given_up_when_the_call_ends_otherwise(self) -> None:
        self.record.save_leg("call_1", "cold", "Nina", "", 104.0)
        self.finish()
        last = self.recorder.of("save_leg")[-1]
        self.assertEqual((last["key"], last["state"]), ("call_1", "canceled"))

    def test_an_abrupt_end_carries_them_too(self) -> None:
        self.record.tool_started("call_1", "look_up", "{}", 104.0)
        self.record.save_message("call_2", "Nina", "+1555", "Call me back.", 105.0)
        self.record.finish_abruptly("model_failed", 106.0)
        [end] = self.recorder.of("finalize_call_log")
        self.assertEqual([use["state"] for use in end["tool_uses"]], ["abandoned"])
        self.assertEqual(len(end["messages"]), 1)

    def test_nothing_that_was_said_is_in_what_a_debugger_or_an_error_shows(self) -> None:
        self.record.tool_started("call_1", "look_up", SECRET, 104.0)
        self.record.save_message("call_2", SECRET, SECRET, SECRET, 105.0)
        self.assertNotIn(SECRET, repr(self.record))

    def test_a_card_number_is_masked_wherever_it_was_said_typed_or_returned(self) -> None:
        card = "4111 1111 1111 1111"
        said = Turn(0, 0, f"It is {card}.", f"So {card}?", "So 4111 1111 11", 900, 400, True, 101.0, 102.0)
        self.record.save_turn(said)
        self.record.tool_started("call_1", "pay", f'{{"card": "{card}"}}', 103.0)
        self.record.tool_finished("call_1", '{"paid_with": 4111111111111111}', "finished", 104.0)
        self.record.save_message("call_2", card, card, f"Charge {card}.", 105.0)
        end = self.finish(turns=(said,))
        told = [end, *(fact for kind in FACTS for fact in self.recorder.of(kind))]
        self.assertEqual(len(told), 5)
        for fact in told:
            self.assertNotRegex(repr(fact), r"4111[ ]?1111")
        self.assertEqual(end["transcript"], "Caller: It is •••• •••• •••• 1111.\nAgent: So •••• •••• ••")
        self.assertEqual(end["transcript"], transcripts.render(end["turns"]))
