"""What the fields of a business and its agents accept, and what they say to everything else."""

from typing import Any

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase, override_settings

from businesses.models import default_tools, default_turn_detection
from businesses.validation import (
    E164,
    LANGUAGE_TAG,
    TOOL_NAME,
    refuse_built_in_name,
    refuse_secrets_in_address,
    refuse_unfilled_placeholders,
    refuse_unknown_tools,
    validate_parameters,
    validate_time_zone,
    validate_tool_url,
    validate_tools,
    validate_turn_detection,
)


class ValidationCase(SimpleTestCase):
    def refused(self, validate: Any, value: Any) -> str:
        with self.assertRaises(ValidationError) as caught:
            validate(value)
        return " ".join(caught.exception.messages)


class TurnDetectionTest(ValidationCase):
    def test_the_default_and_all_documented_settings_are_accepted(self) -> None:
        validate_turn_detection(default_turn_detection())
        validate_turn_detection({"type": "server_vad", "threshold": 1, "idle_timeout_ms": None})
        validate_turn_detection({"type": "server_vad", "idle_timeout_ms": 5_000})
        for eagerness in ("low", "medium", "high", "auto"):
            validate_turn_detection({"type": "semantic_vad", "eagerness": eagerness})

    def test_what_is_wrong_is_named(self) -> None:
        cases: list[tuple[Any, str]] = [
            (None, "object in braces"),
            ([], "object in braces"),
            ({}, "“type” must be"),
            ({"type": ["server_vad"]}, "“type” must be"),
            ({"type": "manual"}, "“type” must be"),
            ({"type": "server_vad", "treshold": 0.5}, "“treshold” is not a setting of server_vad"),
            ({"type": "server_vad", "eagerness": "low"}, "“eagerness” is not a setting of server_vad"),
            ({"type": "semantic_vad", "threshold": 0.5}, "“threshold” is not a setting of semantic_vad"),
            ({"type": "server_vad", "threshold": 1.5}, "“threshold” must be a number from 0 to 1"),
            ({"type": "server_vad", "threshold": "0.5"}, "“threshold” must be a number"),
            ({"type": "server_vad", "threshold": True}, "“threshold” must be a number"),
            ({"type": "server_vad", "threshold": float("nan")}, "“threshold” must be a number"),
            ({"type": "server_vad", "silence_duration_ms": 500.5}, "must be a whole number from 100 to 5000"),
            ({"type": "server_vad", "prefix_padding_ms": None}, "“prefix_padding_ms” must be a whole number"),
            ({"type": "server_vad", "idle_timeout_ms": 100}, "“idle_timeout_ms” must be a whole number from 5000"),
            ({"type": "semantic_vad", "eagerness": "very"}, "“eagerness” must be one of"),
            ({"type": "server_vad", "create_response": True}, "“create_response” is no setting any more"),
            ({"type": "semantic_vad", "interrupt_response": False}, "“interrupt_response” is no setting any more"),
        ]
        for value, sentence in cases:
            with self.subTest(value=value):
                self.assertIn(sentence, self.refused(validate_turn_detection, value))

    def test_everything_wrong_is_said_at_once(self) -> None:
        said = self.refused(validate_turn_detection, {"type": "server_vad", "threshold": 7, "typo": 1})
        self.assertIn("threshold", said)
        self.assertIn("typo", said)


class HttpToolTest(ValidationCase):
    def test_a_name_is_one_that_models_take_and_none_that_is_built_in(self) -> None:
        for name in ("a", "find_order", "x" * 41):
            TOOL_NAME(name)
            refuse_built_in_name(name)
        for name in ("", "Find", "1st", "_x", "find-order", "find order", "x" * 42, "a\n"):
            with self.subTest(name=name):
                self.assertIn("small letters", self.refused(TOOL_NAME, name))
        self.assertIn("built in", self.refused(refuse_built_in_name, "end_call"))

    def test_parameters_are_a_flat_object(self) -> None:
        validate_parameters({"type": "object"})
        validate_parameters(
            {
                "type": "object",
                "properties": {
                    "number": {"type": "string", "description": "The order's number", "maxLength": 20},
                    "size": {"type": "string", "enum": ["small", "large"]},
                    "card": {"type": "string", "format": "secret"},
                    "count": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["number"],
                "additionalProperties": False,
            }
        )
        properties: list[tuple[Any, str]] = [
            ([], "must be an object"),
            ({"a b": {"type": "string"}}, "cannot be a parameter's name"),
            ({"a": "string"}, "must have a type"),
            ({"a": {}}, "must have a type"),
            ({"a": {"type": "object"}}, "must have a type"),
            ({"a": {"type": ["string", "null"]}}, "must have a type"),
            ({"a": {"type": "string", "$ref": "#"}}, "“$ref” of “a”"),
            ({"a": {"type": "string", "enum": []}}, "“enum” of “a”"),
            ({"a": {"type": "string", "format": "date"}}, "“format” of “a” can only be “secret”"),
            ({"a": {"type": "integer", "format": "secret"}}, "“format” of “a” can only be “secret”"),
        ]
        cases: list[tuple[Any, str]] = [
            (None, "Parameters are an object"),
            ([], "Parameters are an object"),
            ({"properties": {}}, "Parameters are an object"),
            ({"type": "object", "anyOf": []}, "“anyOf” is not known"),
            ({"type": "object", "additionalProperties": True}, "must be false"),
            ({"type": "object", "required": ["a"]}, "“a” is required, and not among"),
            ({"type": "object", "required": "a"}, "must be a list of names"),
            *[({"type": "object", "properties": wrong}, sentence) for wrong, sentence in properties],
        ]
        for value, sentence in cases:
            with self.subTest(value=value):
                self.assertIn(sentence, self.refused(validate_parameters, value))

    def test_secret_digits_are_for_no_address(self) -> None:
        schema = {"type": "object", "properties": {"card": {"type": "string", "format": "secret"}}}
        refuse_secrets_in_address("POST", "https://api.example.com/pay/{order}", schema)
        refuse_secrets_in_address("GET", "https://api.example.com/", {"properties": {"card": {"type": "string"}}})
        for method, url in (("GET", "https://api.example.com/"), ("POST", "https://api.example.com/{card}")):
            with self.assertRaises(ValidationError):
                refuse_secrets_in_address(method, url, schema)

    def test_an_address_is_https_with_a_fixed_host(self) -> None:
        for url in (
            "https://api.example.com",
            "https://api.example.com:8443/orders/{number}?by={who}",
            "https://api.example.com/?q={a}{b}",
        ):
            validate_tool_url(url)
        for url, sentence in (
            ("http://api.example.com/", "begins with https"),
            ("ftp://api.example.com/", "begins with https"),
            ("https://", "begins with https"),
            ("https:///orders", "begins with https"),
            ("https://me:secret@api.example.com/", "use the secret"),
            ("https://{host}.example.com/", "host must be fixed"),
            ("https://api.example.com:{port}/", "no address"),
            ("https://api.example.com/{", "name of a parameter"),
            ("https://localhost/", "name with a dot"),
            ("https://2130706433/", "name with a dot"),
            ("https://api_1.example.com/", "name with a dot"),
            ("https://api.example.com/straße", "plain characters"),
            ("https://api.example.com\\@evil.example.com/", "plain characters"),
            ("http://127.0.0.1:8000/", "begins with https"),
            ("https://api.example.com/{a b}", "without spaces"),
            ("https://api.example.com/{}", "name of a parameter"),
            ("https://api.example.com/{{a}}", "name of a parameter"),
            ("https://api.example.com/{a.b}", "name of a parameter"),
            ("https://api.example.com/a b", "without spaces"),
            ("https://api.example.com/\n", "without spaces"),
            ("https://api.example.com/#part", "never sent"),
            ("https://[::1/", "no address"),
        ):
            with self.subTest(url=url):
                self.assertIn(sentence, self.refused(validate_tool_url, url))

    def test_where_settings_allow_it_this_machine_is_asked_without_tls(self) -> None:
        with override_settings(HTTP_TOOLS_ALLOW_LOCAL=True):
            validate_tool_url("http://127.0.0.1:8000/{number}")
            for url in ("http://api.example.com/", "http://10.0.0.1/", "http://localhost/"):
                self.assertIn("begins with https", self.refused(validate_tool_url, url))

    def test_what_the_address_needs_is_required(self) -> None:
        url, number = "https://api.example.com/orders/{number}", {"number": {"type": "string"}}
        schema = {"type": "object", "properties": number, "required": ["number"]}
        refuse_unfilled_placeholders(url, schema)
        del schema["required"]
        said = self.refused(lambda value: refuse_unfilled_placeholders(url, value), schema)
        self.assertIn("needs “number”", said)


class OtherFieldsTest(ValidationCase):
    def test_tools_are_a_list_of_names_built_in_or_of_the_business(self) -> None:
        validate_tools(default_tools())
        validate_tools([])
        self.assertIn("list of names", self.refused(validate_tools, "end_call"))
        self.assertIn("list of names", self.refused(validate_tools, [1]))
        self.assertIn("twice", self.refused(validate_tools, ["end_call", "end_call"]))
        refuse_unknown_tools(["end_call", "find_order"], ["find_order"])
        said = self.refused(lambda names: refuse_unknown_tools(names, ["find_order"]), ["end_call", "fly"])
        self.assertIn("no tool “fly”", said)
        self.assertIn("find_order", said)

    def test_a_time_zone_is_a_name_of_the_zone_database(self) -> None:
        validate_time_zone("Europe/Berlin")
        for name in ("EST5", "Berlin", "../etc/passwd", ""):
            with self.subTest(name=name):
                self.assertIn("is not a time zone", self.refused(validate_time_zone, name))

    def test_a_number_is_in_e164_form(self) -> None:
        E164("+15550100100")
        for number in (
            "15550100100",
            "+0155501001",
            "+1 555 010 0100",
            "+12345",
            "+1234567890123456",
            "+15550100100\n",
        ):
            with self.subTest(number=number):
                self.assertIn("E.164", self.refused(E164, number))

    def test_a_language_is_a_tag(self) -> None:
        for tag in ("en", "de-CH", "pt-BR", "zh-Hans-CN"):
            LANGUAGE_TAG(tag)
        for tag in ("english", "de_CH", "", "en-", "en\n"):
            with self.subTest(tag=tag):
                self.assertIn("language tag", self.refused(LANGUAGE_TAG, tag))
