"""Tools: what the engine and the model are told of them, and what happens to arguments that make no sense."""

from django.test import SimpleTestCase
from structlog.testing import capture_logs

from media import tools
from media.engine.config import ToolSpec


class ToolTests(SimpleTestCase):
    def test_the_engine_learns_that_end_call_ends_the_call(self) -> None:
        self.assertEqual(tools.specs(["end_call"]), {"end_call": ToolSpec("end_call", 10.0, ends_call=True)})

    def test_the_model_is_given_a_function_with_a_closed_schema(self) -> None:
        (schema,) = tools.schemas(["end_call"])
        self.assertEqual((schema["type"], schema["name"]), ("function", "end_call"))
        self.assertIs(schema["parameters"]["additionalProperties"], False)

    def test_an_unknown_name_is_left_out_with_a_warning(self) -> None:
        with capture_logs() as logs:
            self.assertEqual(list(tools.specs(["end_call", "book"])), ["end_call"])
        self.assertEqual([(line["event"], line["tool"]) for line in logs], [("unknown_tool_ignored", "book")])

    def test_every_tool_is_registered_under_its_own_name(self) -> None:
        self.assertEqual({name: tool.name for name, tool in tools.TOOLS.items()}, {name: name for name in tools.TOOLS})

    async def test_end_call_answers(self) -> None:
        self.assertEqual(await tools.run("end_call", '{"reason": "task_done"}'), {"ok": True})
        self.assertEqual(await tools.run("end_call", ""), {"ok": True})

    async def test_what_cannot_be_run_is_refused_with_a_reason(self) -> None:
        cases = [
            ("book", "{}", "unknown_tool"),
            ("end_call", "{", "arguments_are_not_json"),
            ("end_call", "[" * 100_000, "arguments_are_not_json"),
            ("end_call", "[]", "arguments_are_not_an_object"),
        ]
        for name, arguments, reason in cases:
            with self.subTest(reason=reason), self.assertRaises(tools.ToolRefused) as raised:
                await tools.run(name, arguments)
            self.assertEqual(raised.exception.reason, reason)
