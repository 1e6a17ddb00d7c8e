"""The simulated Responses API: what it refuses, what it answers, and what can go wrong. Asked by the openai package."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from django.test import SimpleTestCase
from openai import APIStatusError, OpenAI

from simulators.model import reader, strict_schema
from simulators.model.oracle import Refused
from simulators.model.texts import PARAMETERS
from tests.analysis.support import KEY, text_model

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "lead": {
            "type": "object",
            "properties": {"their_name": {"type": ["string", "null"]}},
            "required": ["their_name"],
            "additionalProperties": False,
        },
    },
    "required": ["summary", "lead"],
    "additionalProperties": False,
}
TALK = json.dumps([{"turn": 1, "caller": "My name is Ada Byron", "agent": "Hello Ada."}])


def request(**changes: Any) -> dict[str, Any]:
    chosen = {"type": "json_schema", "name": "form", "schema": SCHEMA, "strict": True}
    return {"model": "gpt-6-luna", "input": [{"role": "user", "content": TALK}], "text": {"format": chosen}} | changes


class StrictSchemaTest(SimpleTestCase):
    def refused(self, change: Any) -> str:
        schema = copy.deepcopy(SCHEMA)
        change(schema)
        with self.assertRaises(Refused) as caught:
            strict_schema.check("form", schema)
        self.assertEqual(caught.exception.refusal.code, "invalid_json_schema")
        return caught.exception.refusal.message

    def test_a_right_one_passes(self) -> None:
        strict_schema.check("form", SCHEMA)

    def test_each_rule_of_strict_mode(self) -> None:
        def lead(schema: Any) -> Any:
            return schema["properties"]["lead"]

        for change, said in (
            (lambda s: s.pop("additionalProperties"), "additionalProperties"),
            (lambda s: lead(s).update(additionalProperties=True), "additionalProperties"),
            (lambda s: lead(s).pop("required"), "required"),
            (lambda s: s["required"].remove("lead"), "lead"),
            (lambda s: s["required"].append("more"), "more"),
            (lambda s: s.update(type="array"), "object"),
            (lambda s: s.update(anyOf=[]), "object"),
            (lambda s: s["properties"]["summary"].update(minLength=3), "minLength"),
            (lambda s: s["properties"]["summary"].update(default="x"), "default"),
            (lambda s: s["properties"]["summary"].pop("type"), "type"),
            (lambda s: s["properties"]["summary"].update(type="text"), "text"),
            (lambda s: s["properties"]["summary"].update(type="array"), "items"),
            (lambda s: s["properties"]["summary"].update(enum=[]), "enum"),
            (lambda s: s["properties"]["summary"].update(enum=list(range(1001))), "enum"),
            (lambda s: s.update(properties=None), "properties"),
        ):
            with self.subTest(said):
                self.assertIn(said, self.refused(change))


class ReaderTest(SimpleTestCase):
    def test_its_answer_has_the_schemas_form(self) -> None:
        answer = reader.fill(SCHEMA, TALK)
        self.assertEqual(answer["lead"], {"their_name": "Ada Byron"})
        self.assertIn("Ada Byron", answer["summary"])

    def test_an_offer_or_a_question_is_no_claim(self) -> None:
        items = {"properties": {"kind": {"enum": ["booking"]}, "tool": {"enum": ["book", "none"]}, "quote": {}}}
        for said, count in (("I have booked it.", 1), ("Shall I have it booked?", 0), ("I can have it booked.", 0)):
            self.assertEqual(len(list(reader._claims(items, [said]))), count, said)


class ServerTest(SimpleTestCase):
    def ask(self, *faults: str, key: str = KEY, **changes: Any) -> Any:
        with text_model(*faults) as server:
            client = OpenAI(api_key=key, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0, timeout=10)
            with client:
                return client.responses.create(**request(**changes))

    def refused(self, *faults: str, **changes: Any) -> tuple[int, str]:
        with self.assertRaises(APIStatusError) as caught:
            self.ask(*faults, **changes)
        return caught.exception.status_code, str(caught.exception.code)

    def test_an_answer_is_one_that_the_package_understands(self) -> None:
        response = self.ask(max_output_tokens=500, store=False, instructions="Fill in.")
        self.assertEqual((response.status, response.model), ("completed", "gpt-6-luna"))
        self.assertEqual(json.loads(response.output_text)["lead"], {"their_name": "Ada Byron"})
        usage = response.usage
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)
        self.assertEqual(response.to_dict(), type(response).model_validate(response.to_dict()).to_dict())

    def test_what_is_not_the_protocol_is_refused(self) -> None:
        chosen = request()["text"]["format"]
        for changes, expected in (
            ({"key": "wrong"}, (401, "invalid_api_key")),
            ({"model": "gpt-realtime-2.1"}, (404, "model_not_found")),
            ({"extra_body": {"response_format": {}}}, (400, "unknown_parameter")),
            ({"extra_body": {"max_tokens": 5}}, (400, "unknown_parameter")),
            ({"input": []}, (400, "invalid_type")),
            ({"input": [{"role": "caller", "content": "x"}]}, (400, "invalid_value")),
            ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, (400, "invalid_value")),
            ({"max_output_tokens": 5}, (400, "integer_below_min_value")),
            ({"text": {"format": {"type": "text"}}}, (400, "unsupported_value")),
            ({"text": {"format": {**chosen, "strict": False}}}, (400, "unsupported_value")),
            ({"text": {"format": {**chosen, "name": "two words"}}}, (400, "invalid_value")),
            ({"text": {"format": {**chosen, "schema": {"type": "object"}}}}, (400, "invalid_json_schema")),
        ):
            with self.subTest(expected=expected, changes=str(changes)[:60]):
                self.assertEqual(self.refused(**changes), expected)

    def test_each_fault(self) -> None:
        self.assertEqual(self.refused("text-status:429"), (429, "rate_limit_exceeded"))
        self.assertEqual(self.refused("text-status:500")[0], 500)
        self.assertEqual(self.ask("text-refusal").output[0].content[0].type, "refusal")
        incomplete = self.ask("text-incomplete")
        self.assertEqual((incomplete.status, incomplete.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        with self.assertRaises(ValueError):
            json.loads(self.ask("text-garbage").output_text)
        self.assertEqual(self.ask("text-status:500@2").status, "completed")  # only the second request
        with self.assertRaises(ValueError):
            self.ask("text-broken")  # the package reads no answer out of it
        began = time.monotonic()
        self.ask("text-slow:0.3")
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_what_it_says_can_be_written_for_it(self) -> None:
        with text_model(text_answers={"Ada": {"summary": "scripted"}}) as server:
            client = OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
            with client:
                self.assertEqual(client.responses.create(**request()).output_text, '{"summary": "scripted"}')

    def test_it_knows_the_packages_parameters(self) -> None:
        self.assertLessEqual({"model", "input", "instructions", "text", "store", "max_output_tokens"}, PARAMETERS)
