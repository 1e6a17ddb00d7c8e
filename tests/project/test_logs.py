"""Logs are one line each, carry the CallSid, and never a phone number."""

import io
import json
import logging
import logging.config
from unittest import mock

import structlog
from django.test import SimpleTestCase

from voiceagent.logs import logging_config, mask_phone_numbers

CALL_SID = "CA0123456789012345678901234567890a"


class MaskTests(SimpleTestCase):
    def test_phone_numbers_keep_two_digits(self) -> None:
        for text, expected in {
            "call from +15550100123 refused": "call from …23 refused",
            "From=%2B15550100123&To=+15550100100": "From=…23&To=…00",
            "number 15550100123.": "number …23.",
            "'+4915550100'": "'…00'",
        }.items():
            with self.subTest(text=text):
                self.assertEqual(mask_phone_numbers(text), expected)

    def test_identifiers_times_and_counts_stay(self) -> None:
        for text in (CALL_SID, "2026-11-24T00:18:21.450998Z", "took 1234567 ms", "127.0.0.1:34107", "x-1234567890123"):
            with self.subTest(text=text):
                self.assertEqual(mask_phone_numbers(text), text)


class LogTests(SimpleTestCase):
    def logged(self, log_format: str, *args: object, **fields: object) -> str:
        """What one line through the real configuration writes; the process's own logging is put back."""
        root, stream = logging.getLogger(), io.StringIO()
        handlers, level = list(root.handlers), root.level
        config = logging_config(log_format, "INFO") | {"loggers": {}}
        config["handlers"]["stderr"]["stream"] = stream
        try:
            logging.config.dictConfig(config)
            with structlog.contextvars.bound_contextvars(call_sid=CALL_SID):
                if fields:
                    structlog.get_logger("voiceagent.tests").warning(*args, **fields)
                else:
                    logging.getLogger("voiceagent.tests").warning(*args)
        finally:
            root.handlers, root.level = handlers, level
        return stream.getvalue()

    def test_a_line_for_machines_is_json_with_the_call_and_without_numbers(self) -> None:
        line = json.loads(self.logged("json", "refused", who="+15550100123"))
        self.assertEqual(
            (line["event"], line["who"], line["call_sid"], line["level"]), ("refused", "…23", CALL_SID, "warning")
        )

    def test_the_standard_librarys_lines_are_treated_alike(self) -> None:
        line = json.loads(self.logged("json", "no business for %s", "+15550100123"))
        self.assertEqual((line["event"], line["call_sid"]), ("no business for …23", CALL_SID))

    def test_a_newline_cannot_forge_a_second_line(self) -> None:
        for log_format in ("json", "console"):
            with self.subTest(format=log_format):
                text = self.logged(log_format, "refused", name="x\n2026-11-24 [info] all is well\r")
                self.assertEqual(text.count("\n"), 1)

    def test_an_exceptions_text_is_masked_too(self) -> None:
        try:
            raise ValueError("bad number +15550100123")
        except ValueError:
            text = self.logged("console", "failed", exc_info=True)
        self.assertIn("ValueError: bad number …23", text)
        self.assertNotIn("5550100123", text)


class WorkerLoggingTests(SimpleTestCase):
    def test_a_worker_uses_the_same_configuration(self) -> None:
        from voiceagent import logs

        with mock.patch("logging.config.dictConfig") as configure:
            logs.configure_worker(loglevel=None)
        configure.assert_called_once()
