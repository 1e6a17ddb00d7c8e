"""What the fields of a business and its agents accept, and what they say to everything else."""

from typing import Any

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase

from businesses.models import default_tools, default_turn_detection
from businesses.validation import E164, LANGUAGE_TAG, validate_time_zone, validate_tools, validate_turn_detection


class ValidationCase(SimpleTestCase):
    def refused(self, validate: Any, value: Any) -> str:
        with self.assertRaises(ValidationError) as caught:
            validate(value)
        return " ".join(caught.exception.messages)


class TurnDetectionTest(ValidationCase):
    def test_the_default_and_all_documented_settings_are_accepted(self) -> None:
        validate_turn_detection(default_turn_detection())
        validate_turn_detection({"type": "server_vad", "threshold": 1, "idle_timeout_ms": None})
        validate_turn_detection({"type": "server_vad", "idle_timeout_ms": 5_000, "interrupt_response": False})
        for eagerness in ("low", "medium", "high", "auto"):
            validate_turn_detection({"type": "semantic_vad", "eagerness": eagerness, "create_response": True})

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
            ({"type": "server_vad", "create_response": False}, "the agent never answers"),
            ({"type": "server_vad", "interrupt_response": "yes"}, "must be true or false"),
        ]
        for value, sentence in cases:
            with self.subTest(value=value):
                self.assertIn(sentence, self.refused(validate_turn_detection, value))

    def test_everything_wrong_is_said_at_once(self) -> None:
        said = self.refused(validate_turn_detection, {"type": "server_vad", "threshold": 7, "typo": 1})
        self.assertIn("threshold", said)
        self.assertIn("typo", said)


class OtherFieldsTest(ValidationCase):
    def test_tools_are_a_list_of_known_names(self) -> None:
        validate_tools(default_tools())
        validate_tools([])
        self.assertIn("list of names", self.refused(validate_tools, "end_call"))
        self.assertIn("list of names", self.refused(validate_tools, [1]))
        self.assertIn("no tool “fly”", self.refused(validate_tools, ["end_call", "fly"]))
        self.assertIn("twice", self.refused(validate_tools, ["end_call", "end_call"]))

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
