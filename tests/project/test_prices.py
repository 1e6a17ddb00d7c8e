"""The table of prices: the built-in one, and a file of one's own."""

from __future__ import annotations

import json
import tempfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import SimpleTestCase

from calls.costs import cost, price_of
from voiceagent import checks, prices

ENTRY: dict[str, Any] = {
    "from": "2026-12-01",
    "text_in": 1,
    "text_cached": 0.1,
    "text_out": 2,
    "audio_in": 3,
    "audio_cached": 0.3,
    "audio_out": 4.25,
}


class PricesTest(SimpleTestCase):
    def file(self, content: object) -> str:
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "prices.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    def test_the_default_model_has_a_price(self) -> None:
        self.assertIsNotNone(price_of(settings.OPENAI_REALTIME_MODEL, date(2026, 11, 24), prices.BUILT_IN))
        self.assertIsNotNone(price_of(settings.OPENAI_TRANSCRIPTION_MODEL, date(2026, 11, 24), prices.BUILT_IN))
        self.assertEqual(settings.SPEECH_PRICES, prices.BUILT_IN)

    def test_a_minute_of_talk_costs_what_the_list_says(self) -> None:
        """A token for 100 ms of the caller's audio and for 50 ms of the agent's."""
        minute = {"input_tokens": 600, "input_audio_tokens": 600, "output_tokens": 1200, "output_audio_tokens": 1200}
        self.assertEqual(cost("gpt-realtime-2.1", minute, date(2026, 11, 24), prices.BUILT_IN), Decimal("0.096"))

    def test_a_file_replaces_the_models_it_names_and_leaves_the_others(self) -> None:
        table = prices.table(self.file({"gpt-realtime-2.1": [ENTRY], "own-model": [ENTRY]}))
        day = date(2026, 12, 1)
        self.assertEqual(table["gpt-realtime-1.5"], prices.BUILT_IN["gpt-realtime-1.5"])
        self.assertIsNone(price_of("gpt-realtime-2.1", date(2026, 11, 30), table))
        price = price_of("own-model", day, table)
        assert price is not None
        self.assertEqual((price.text_cached, price.audio_out), (Decimal("0.1"), Decimal("4.25")))
        self.assertEqual(price.minute, 0)
        paid_by_the_minute = prices.table(self.file({"own-writer": [{**ENTRY, "minute": 0.01}]}))["own-writer"]
        self.assertEqual(paid_by_the_minute[0][1].minute, Decimal("0.01"))

    def test_a_file_that_cannot_be_used_is_refused_at_start_with_what_is_wrong(self) -> None:
        bad: list[tuple[object, str]] = [
            ("{", "not JSON"),
            ("[]", "not an object"),
            ({"m": []}, "m has no list"),
            ({"m": ENTRY}, "m has no list"),
            ({"m": [ENTRY, {}]}, "m, price 2 is not an object of from, text_in"),
            ({"m": [{**ENTRY, "image_in": 1}]}, "m, price 1 is not an object"),
            ({"m": [{**ENTRY, "from": "soon"}]}, "from is not a day"),
            ({"m": [{**ENTRY, "from": 2026}]}, "from is not a day"),
            ({"m": [{**ENTRY, "text_out": "2"}]}, "text_out is not a number"),
            ({"m": [{**ENTRY, "text_out": -1}]}, "text_out is not a number"),
            ({"m": [{**ENTRY, "text_out": True}]}, "text_out is not a number"),
            (json.dumps({"m": [ENTRY]}).replace("4.25", "NaN"), "not JSON"),
            (json.dumps({"m": [ENTRY]}).replace("4.25", "1e999"), "audio_out is not a number"),
            ({"m": [ENTRY, ENTRY]}, "two prices from the same day"),
        ]
        for content, problem in bad:
            path = self.file(content)
            with self.subTest(problem=problem, content=content):
                [error] = checks.check_prices(path)
                self.assertEqual(error.id, "voiceagent.E011")
                self.assertIn(path, error.msg)
                self.assertIn(problem, error.msg)
                self.assertEqual(prices.table(path), prices.BUILT_IN)

    def test_a_missing_file_is_said_and_none_is_no_problem(self) -> None:
        [error] = checks.check_prices("/nowhere/prices.json")
        self.assertIn("cannot be read (FileNotFoundError)", error.msg)
        self.assertEqual(list(checks.check_prices("")), [])
        self.assertEqual(list(checks.check_prices(self.file({"m": [ENTRY]}))), [])
