"""Tools: what the engine and the model are told of them, what becomes of arguments, and what the record is told."""

import asyncio
import json
from typing import Any
from unittest import mock

from django.test import SimpleTestCase, override_settings
from structlog.testing import capture_logs

from businesses.snapshots import AgentSnapshot, HttpTool, TransferOption
from calls import doors, live_calls
from calls.dial_policy import Allowed, Refused, Verdict
from calls.live_calls import AskedTransfer
from media import tools
from media.engine.config import ToolSpec
from media.tools import arguments
from tests.media.fakes import CALL_SID, agent

NUMBER = "+15550100111"
ANYTHING = {"type": "object", "properties": {}}


class ListRecord:
    """Keeps what a tool has had recorded."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, str, str, float]] = []
        self.legs: list[tuple[str, str, str, str, float, str]] = []

    def save_message(self, key: str, name: str, number: str, text: str, now: float) -> None:
        self.messages.append((key, name, number, text, now))

    def save_leg(
        self, key: str, kind: str, target_name: str, briefing: str, now: float, *, refused_for: str = ""
    ) -> None:
        self.legs.append((key, kind, target_name, briefing, now, refused_for))

    def tool_started(self, tool_call_id: str, name: str, arguments: str, now: float) -> None:
        raise AssertionError("the bridge says that, not a tool")

    def tool_finished(self, tool_call_id: str, output: str, state: str, now: float) -> None:
        raise AssertionError("the bridge says that, not a tool")


def context(of: AgentSnapshot, record: tools.ToolRecord | None = None, **changes: Any) -> tools.ToolContext:
    facts: dict[str, Any] = {
        "call_sid": CALL_SID,
        "business_id": 3,
        "tool_call_id": "call_1",
        "from_number": NUMBER,
        "to_number": "+15550100100",
        "agent": of,
        "record": record or ListRecord(),
        "now": 12.5,
    }
    return tools.ToolContext(**{**facts, **changes})


def http_tool(**changes: Any) -> HttpTool:
    facts: dict[str, Any] = {
        "name": "find_order",
        "description": "Look up an order.",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "string"}, "year": {"type": "integer"}},
            "required": ["number"],
        },
        "url": "https://api.example.com/orders",
    }
    return HttpTool(**{**facts, **changes})


@override_settings(HTTP_TOOL_HOSTS=["api.example.com"], HTTP_TOOLS_ALLOW_LOCAL=False)
class ToolsOfAnAgentTests(SimpleTestCase):
    def test_the_engine_learns_that_end_call_ends_the_call(self) -> None:
        self.assertEqual(tools.specs(agent()), {"end_call": ToolSpec("end_call", 10.0, ends_call=True)})

    def test_the_model_is_given_functions_with_closed_schemas(self) -> None:
        for schema in tools.schemas(agent(tools=tuple(tools.TOOLS))):
            with self.subTest(tool=schema["name"]):
                self.assertEqual(schema["type"], "function")
                self.assertIs(schema["parameters"]["additionalProperties"], False)

    def test_every_tool_is_registered_under_its_own_name(self) -> None:
        self.assertEqual({name: tool.name for name, tool in tools.TOOLS.items()}, {name: name for name in tools.TOOLS})

    def test_an_unknown_name_is_left_out_with_a_warning(self) -> None:
        with capture_logs() as logs:
            self.assertEqual(list(tools.specs(agent(tools=("end_call", "book")))), ["end_call"])
        self.assertEqual([(line["event"], line["tool"]) for line in logs], [("tool_left_out", "book")])

    def test_http_tools_are_told_of_like_the_others(self) -> None:
        of = agent(tools=("end_call", "find_order"), http_tools=(http_tool(timeout_seconds=4),))
        with capture_logs() as logs:
            self.assertEqual(tools.specs(of)["find_order"], ToolSpec("find_order", 4.0))
            schema = tools.schemas(of)[1]
        self.assertEqual((schema["name"], schema["description"]), ("find_order", "Look up an order."))
        self.assertEqual(schema["parameters"], http_tool().parameters)
        self.assertEqual(logs, [])

    def test_a_timeout_is_kept_within_what_a_caller_bears(self) -> None:
        for asked, given in {0: 1.0, 10: 10.0, 600: 30.0}.items():
            [spec] = tools.specs(agent(tools=(), http_tools=(http_tool(timeout_seconds=asked),))).values()
            self.assertEqual(spec.timeout_seconds, given)

    def test_what_could_never_work_is_left_out_with_a_reason(self) -> None:
        cases = {
            "name_is_taken": http_tool(name="take_message"),
            "host_not_allowed": http_tool(url="https://elsewhere.example/"),
            "address_is_not_https": http_tool(url="http://api.example.com/"),
            "address_is_malformed": http_tool(url="https://{number}.api.example.com/"),
            "tool_is_malformed": http_tool(method="DELETE"),
            "secret_is_malformed": http_tool(secret="one\ntwo"),
        }
        for reason, definition in cases.items():
            with self.subTest(reason=reason), capture_logs() as logs:
                self.assertEqual(list(tools.specs(agent(http_tools=(definition,)))), ["end_call"])
                self.assertEqual([line["reason"] for line in logs], [reason])
        broken = [http_tool(name=name) for name in ("no spaces", "", "x" * 65)]
        wrong: list[Any] = [{"type": "string"}, {}, [], None, {"type": "object", "properties": {"x": True}}]
        for definition in [*broken, *(http_tool(parameters=schema) for schema in wrong)]:
            with self.subTest(name=definition.name), capture_logs() as logs:
                self.assertEqual(tools.schemas(agent(tools=(), http_tools=(definition,))), [])
                self.assertEqual([line["reason"] for line in logs], ["tool_is_malformed"])

    def test_of_two_http_tools_of_one_name_the_first_counts(self) -> None:
        of = agent(tools=(), http_tools=(http_tool(timeout_seconds=3), http_tool(timeout_seconds=7)))
        with capture_logs() as logs:
            self.assertEqual(tools.specs(of), {"find_order": ToolSpec("find_order", 3.0)})
        self.assertEqual([line["reason"] for line in logs], ["name_is_taken"])


class RunningTests(SimpleTestCase):
    async def test_end_call_answers(self) -> None:
        for text in ('{"reason": "task_done"}', ""):
            self.assertEqual(await tools.run("end_call", text, context(agent())), {"ok": True})

    async def test_what_cannot_be_run_is_refused_with_a_reason(self) -> None:
        cases = [
            ("book", "{}", "unknown_tool"),
            ("take_message", '{"message": "Call me."}', "unknown_tool"),  # not one of this agent's
            ("end_call", "{", "arguments_are_not_json"),
            ("end_call", "[" * 10_000, "arguments_are_not_json"),
            ("end_call", '{"x": NaN}', "arguments_are_not_json"),
            ("end_call", "[]", "arguments_are_not_an_object"),
            ("end_call", json.dumps({"x": "x" * 30_000}), "arguments_are_too_long"),
        ]
        for name, text, reason in cases:
            with self.subTest(reason=reason), self.assertRaises(tools.ToolRefused) as raised:
                await tools.run(name, text, context(agent()))
            self.assertEqual(raised.exception.reason, reason)

    async def test_every_end_has_its_state_and_an_answer(self) -> None:
        async def hang(*_: Any) -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        ends: list[tuple[Any, str, dict[str, Any]]] = [
            (mock.AsyncMock(return_value={"ok": True}), "finished", {"ok": True}),
            (mock.AsyncMock(side_effect=tools.ToolRefused("no", "Not so.")), "refused", {"error": "no"}),
            (mock.AsyncMock(side_effect=tools.ToolFailed("down", status=503)), "failed", {"error": "down"}),
            (mock.AsyncMock(side_effect=ZeroDivisionError), "failed", {"error": "failed"}),
            (hang, "timed_out", {"error": "timeout"}),
        ]
        for runs, state, expected in ends:
            with self.subTest(state=state), mock.patch("media.tools.run", runs), capture_logs():
                output, ended = await tools.answer("x", "{}", context(agent()), 0.01)
                self.assertEqual(ended, state)
                self.assertLessEqual(expected.items(), json.loads(output).items())

    async def test_no_word_of_a_tool_is_in_the_log(self) -> None:
        failures = [
            KeyError("canary"),
            tools.ToolFailed("down", "canary", answer="canary"),
            tools.ToolRefused("no", "canary"),
        ]
        for failure in failures:
            with capture_logs() as logs, mock.patch("media.tools.run", mock.AsyncMock(side_effect=failure)):
                await tools.answer("x", '{"name": "canary"}', context(agent()), 1.0)
            self.assertEqual(len(logs), 1)
            self.assertNotIn("canary", str(logs))
            self.assertNotIn("canary", str(failure) if isinstance(failure, tools.ToolError) else "")

    def test_an_answer_can_be_written_in_any_encoding(self) -> None:
        text = tools.as_text({"answer": "Zürich \ud83d"})
        self.assertEqual(json.loads(text.encode())["answer"], "Zürich ?")


class TakeMessageTests(SimpleTestCase):
    def setUp(self) -> None:
        self.record = ListRecord()

    async def take(self, **given: Any) -> dict[str, Any]:
        of = agent(tools=("take_message",))
        output, _state = await tools.answer("take_message", json.dumps(given), context(of, self.record), 1.0)
        answer: dict[str, Any] = json.loads(output)
        return answer

    async def test_a_message_is_recorded_under_the_key_of_its_tool_call(self) -> None:
        answer = await self.take(name="Ada", number="+41445550100", message="The boiler leaks.")
        self.assertIs(answer["ok"], True)
        self.assertEqual(self.record.messages, [("call_1", "Ada", "+41445550100", "The boiler leaks.", 12.5)])

    async def test_without_a_number_the_callers_own_is_called_back(self) -> None:
        for given in ({}, {"number": ""}, {"number": "  "}, {"number": None}):
            with self.subTest(given=given):
                answer = await self.take(message="Hello.", **given)
                self.assertEqual((self.record.messages.pop()[2], answer["call_back"]), (NUMBER, NUMBER))

    async def test_a_number_that_is_withheld_is_none(self) -> None:
        of = agent(tools=("take_message",))
        for number in ("+266696687", "+7378742833", "anonymous", "Restricted", ""):
            with self.subTest(number=number):
                calling = context(of, self.record, from_number=number)
                answer = await tools.run("take_message", '{"message": "Hello."}', calling)
                self.assertEqual((answer["call_back"], self.record.messages.pop()[2]), ("", ""))

    async def test_an_empty_message_is_an_error_that_the_model_can_mend(self) -> None:
        with capture_logs():
            for given in ({"message": " \n"}, {"message": "\x00"}, {}, {"message": None}, {"message": 5}):
                with self.subTest(given=given):
                    answer = await self.take(**given)
                    self.assertIn("error", answer)
                    self.assertTrue(answer["message"])
        self.assertEqual(self.record.messages, [])

    async def test_what_is_too_long_is_cut_and_what_no_database_takes_is_left_out(self) -> None:
        await self.take(name="A" * 500, number="1" * 500, message="a\x00b\ud800c\u00a0d" + "e" * 3_000)
        [(_, name, number, text, _)] = self.record.messages
        self.assertEqual((len(name), len(number), len(text)), (100, 40, 2_000))
        self.assertTrue(text.startswith("abc de"))


class ArgumentTests(SimpleTestCase):
    SCHEMA = {
        "type": "object",
        "properties": {
            "word": {"type": "string", "maxLength": 5},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "price": {"type": "number"},
            "sure": {"type": "boolean"},
            "size": {"type": "string", "enum": ["s", "m"]},
            "maybe": {"type": ["string", "null"]},
            "free": {},
        },
        "required": ["word"],
    }

    def test_what_fits_is_passed_on_and_what_is_not_named_is_dropped(self) -> None:
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"word": "x"}, {"word": "x"}),
            ({"word": "x", "evil": 1}, {"word": "x"}),
            ({"word": "x", "count": None}, {"word": "x"}),
            ({"word": "x", "maybe": None}, {"word": "x", "maybe": None}),
            ({"word": "x", "count": 3.0}, {"word": "x", "count": 3}),
            ({"word": "x", "price": 3, "sure": False}, {"word": "x", "price": 3, "sure": False}),
            ({"word": "x", "size": "m", "free": [1]}, {"word": "x", "size": "m", "free": [1]}),
        ]
        for given, expected in cases:
            with self.subTest(given=given):
                found = arguments.fitting(self.SCHEMA, given)
                self.assertEqual(found, expected)
                self.assertNotIsInstance(found.get("count"), float)

    def test_what_does_not_fit_is_refused_with_a_sentence(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "argument_missing"),
            ({"word": None}, "argument_missing"),
            ({"word": 5}, "argument_has_wrong_type"),
            ({"word": "x", "count": "3"}, "argument_has_wrong_type"),
            ({"word": "x", "count": 3.5}, "argument_has_wrong_type"),
            ({"word": "x", "count": True}, "argument_has_wrong_type"),
            ({"word": "x", "sure": 1}, "argument_has_wrong_type"),
            ({"word": "x", "count": 10}, "argument_out_of_range"),
            ({"word": "x", "count": 0}, "argument_out_of_range"),
            ({"word": "x", "size": "xl"}, "argument_is_no_choice"),
            ({"word": "longer"}, "argument_is_too_long"),
        ]
        for given, reason in cases:
            with self.subTest(given=given), self.assertRaises(tools.ToolRefused) as raised:
                arguments.fitting(self.SCHEMA, given)
            answer = raised.exception.answer()
            self.assertEqual(answer["error"], reason)
            self.assertRegex(answer["message"], "“(word|count|sure|size)”")


class DoNotCallTest(SimpleTestCase):
    def run_tool(self, **changes: Any) -> tuple[str, str]:
        of = tools.for_outbound(agent(tools=("end_call",)))
        return asyncio.run(tools.answer("do_not_call", "{}", context(of, **changes), 1))

    def test_every_agent_has_it_on_outbound_calls_and_once(self) -> None:
        once = tools.for_outbound(agent(tools=("end_call",)))
        self.assertEqual(once.tools, ("end_call", "do_not_call"))
        self.assertIs(tools.for_outbound(once), once)
        self.assertIn("do_not_call", tools.specs(once))

    def test_the_number_is_that_of_who_is_not_us(self) -> None:
        for is_outbound, number in ((True, "+15550100100"), (False, NUMBER)):
            output, state = self.run_tool(is_outbound=is_outbound)
            self.assertEqual((json.loads(output)["number"], state), (number, "finished"))

    def test_a_withheld_number_cannot_be_listed(self) -> None:
        with capture_logs():
            output, state = self.run_tool(from_number="anonymous")
        self.assertEqual((json.loads(output)["error"], state), ("no_number", "refused"))


class TransferCallTests(SimpleTestCase):
    """The agent puts the caller through, by a name that it may choose."""

    nina = TransferOption(7, "Nina", "Sales", "cold")
    bert = TransferOption(8, "Bert", "", "cold")

    def setUp(self) -> None:
        self.record = ListRecord()
        self.asked: list[tuple[object, ...]] = []
        self.verdict: Verdict | Exception = Allowed("+12125550171", "US", 1800)
        self.addCleanup(live_calls.note_transfer, CALL_SID, AskedTransfer("", 0))

        async def may_put_through(*asked: object) -> Verdict:
            self.asked.append(asked)
            if isinstance(self.verdict, Exception):
                raise self.verdict
            return self.verdict

        self.enterContext(mock.patch.object(doors, "may_put_through", may_put_through))

    def use(self, **arguments: str) -> tuple[str, str]:
        of = agent(tools=("transfer_call",), transfer_options=(self.bert, self.nina))
        text = json.dumps({"to": "Nina", "reason": "Ms. Lee wants a price.", **arguments})
        return asyncio.run(tools.answer("transfer_call", text, context(of, self.record), 5.0))

    def test_the_model_chooses_among_the_names_and_knows_no_number(self) -> None:
        of = agent(tools=("end_call", "transfer_call"), transfer_options=(self.bert, self.nina))
        [_, schema] = tools.schemas(of)
        to = schema["parameters"]["properties"]["to"]
        self.assertEqual((to["enum"], to["description"]), (["Bert", "Nina"], "Nina: Sales"))
        self.assertIs(schema["parameters"]["additionalProperties"], False)
        self.assertEqual(tools.specs(of)["transfer_call"], ToolSpec("transfer_call", 10.0, puts_through=True))

    def test_without_targets_there_is_no_such_tool(self) -> None:
        with capture_logs() as logs:
            self.assertEqual(list(tools.specs(agent(tools=("end_call", "transfer_call")))), ["end_call"])
        self.assertEqual(logs, [])

    def test_what_is_allowed_is_recorded_and_remembered(self) -> None:
        output, state = self.use()
        self.assertEqual((state, json.loads(output)["ok"]), ("finished", True))
        self.assertNotIn("2125550171", output)
        self.assertEqual(self.asked, [(CALL_SID, 3, 7)])
        self.assertEqual(self.record.legs, [("call_1", "cold", "Nina", "Ms. Lee wants a price.", 12.5, "")])
        self.assertEqual(live_calls.transfer(CALL_SID), AskedTransfer("call_1", 7))

    def test_the_agent_is_told_that_a_colleague_is_asked_first(self) -> None:
        self.assertNotIn("asked first", self.use()[0])
        self.nina = TransferOption(7, "Nina", "Sales", "warm")
        self.assertIn("asked first", self.use()[0])
        self.assertEqual([leg[1] for leg in self.record.legs], ["cold", "warm"])

    def test_a_refusal_is_told_with_its_reason_and_kept(self) -> None:
        self.verdict = Refused("hourly_cap")
        output, state = self.use()
        told = json.loads(output)
        self.assertEqual((state, told["error"]), ("refused", "hourly_cap"))
        self.assertIn("as many calls as we may in an hour", told["message"])
        self.assertEqual([leg[-1] for leg in self.record.legs], ["hourly_cap"])
        self.assertNotEqual(live_calls.transfer(CALL_SID), AskedTransfer("call_1", 7))

    def test_a_name_that_is_none_of_them_is_not_even_asked_for(self) -> None:
        for name in ("Zoe", "+12125550171"):
            output, state = self.use(to=name)
            self.assertEqual((state, json.loads(output)["error"]), ("refused", "argument_is_no_choice"))
        self.assertEqual((self.asked, self.record.legs), ([], []))

    def test_without_rows_nobody_is_put_through(self) -> None:
        self.verdict = doors.RowsAway()
        output, state = self.use()
        self.assertEqual((state, json.loads(output)["error"]), ("failed", "unavailable"))
        self.assertEqual(self.record.legs, [])
