"""What a call's speech model cost."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.test import SimpleTestCase

from calls.costs import Price, Prices, cost, of_streams, transcription_cost

DAY = date(2026, 11, 24)
PRICE = Price(*(Decimal(amount) for amount in ("4", "0.4", "24", "32", "0.5", "64")))
DEARER = Price(*[Decimal(100)] * 6)
PRICES: Prices = {
    # Not in the order of their days.
    "gpt": [(date(2027, 1, 1), DEARER), (date(2026, 1, 1), PRICE)],
    "gpt-mini": [(date(2026, 1, 1), DEARER)],
}
MILLION = 1_000_000


class CostTest(SimpleTestCase):
    def usd(self, usage: dict[str, int], model: str = "gpt", on: date = DAY) -> str | None:
        amount = cost(model, usage, on, PRICES)
        return None if amount is None else f"{amount:f}"

    def test_each_kind_has_its_price(self) -> None:
        cases: tuple[tuple[dict[str, int], str], ...] = (
            ({"input_tokens": MILLION}, "4.000000"),
            ({"input_tokens": MILLION, "cached_tokens": MILLION}, "0.400000"),
            ({"output_tokens": MILLION}, "24.000000"),
            ({"input_tokens": MILLION, "input_audio_tokens": MILLION}, "32.000000"),
            ({"output_tokens": MILLION, "output_audio_tokens": MILLION}, "64.000000"),
            ({"input_tokens": 1}, "0.000004"),
            ({}, "0.000000"),
        )
        for usage, usd in cases:
            with self.subTest(usage):
                self.assertEqual(self.usd(usage), usd)

    def test_cached_tokens_are_part_of_the_input_and_not_paid_twice(self) -> None:
        mixed = {
            "input_tokens": 10 * MILLION,
            "input_audio_tokens": 6 * MILLION,
            "cached_tokens": 5 * MILLION,
            "cached_audio_tokens": 2 * MILLION,
        }
        # text: 1 in, 3 cached; audio: 4 in, 2 cached
        self.assertEqual(self.usd(mixed), "134.200000")

    def test_numbers_that_contradict_each_other_never_make_it_negative(self) -> None:
        for usage in (
            {"input_audio_tokens": 5},
            {"cached_tokens": 5},
            {"input_tokens": 5, "cached_tokens": 9, "cached_audio_tokens": 12},
            {"input_tokens": -5},
        ):
            amount = cost("gpt", usage, DAY, PRICES)
            assert amount is not None
            self.assertGreaterEqual(amount, 0)

    def test_the_price_is_that_of_the_day(self) -> None:
        for on, usd in (
            (date(2025, 12, 31), None),
            (date(2026, 1, 1), "4.000000"),
            (date(2026, 12, 31), "4.000000"),
            (date(2027, 1, 1), "100.000000"),
        ):
            self.assertEqual(self.usd({"input_tokens": MILLION}, on=on), usd)

    def test_a_dated_name_costs_what_its_model_costs_and_another_model_has_no_price(self) -> None:
        for model, usd in (
            ("gpt-2026-10-15", "4.000000"),
            ("gpt-20261015", "4.000000"),
            ("gpt-mini-2026-10-15", "100.000000"),
            ("gpt-mini", "100.000000"),
            ("gpt-nano", None),
            ("gpt2", None),
            ("", None),
        ):
            with self.subTest(model):
                self.assertEqual(self.usd({"input_tokens": MILLION}, model), usd)

    def test_no_amount_is_too_large_for_its_column(self) -> None:
        huge = {"input_tokens": 2**31 - 1, "output_tokens": 2**31 - 1, "output_audio_tokens": 2**31 - 1}
        reports = [{"model": "gpt-mini", "usage": huge}] * 9
        self.assertEqual(of_streams(reports, "", DAY, PRICES), Decimal("999999.999999"))

    def test_streams_are_added_up_as_far_as_they_told_and_have_prices(self) -> None:
        priced: dict[str, Any] = {"model": "gpt", "usage": {"input_tokens": MILLION}}
        silent: dict[str, Any] = {"model": "", "usage": {}}
        of_the_release_before: dict[str, Any] = {"turns": 3}
        unknown: dict[str, Any] = {"model": "another", "usage": {"input_tokens": 1}}
        self.assertEqual(of_streams([priced, silent, of_the_release_before, priced], "", DAY, PRICES), Decimal(8))
        self.assertIsNone(of_streams([priced, unknown], "", DAY, PRICES))
        self.assertIsNone(of_streams([silent], "", DAY, PRICES))
        self.assertIsNone(of_streams([], "", DAY, PRICES))


class TranscriptionTest(SimpleTestCase):
    BY_MINUTE = Price(*(Decimal(amount) for amount in (*["0"] * 6, "0.006")))
    TABLE: Prices = {**PRICES, "by-minute": [(date(2026, 1, 1), BY_MINUTE)]}

    def test_it_is_paid_by_the_minute_or_by_tokens(self) -> None:
        usage = {
            "transcription_input_tokens": MILLION,
            "transcription_audio_tokens": MILLION // 2,
            "transcription_output_tokens": MILLION,
            "transcription_ms": 90_000,
        }
        self.assertEqual(transcription_cost("by-minute", usage, DAY, self.TABLE), Decimal("0.009"))
        self.assertEqual(transcription_cost("gpt", usage, DAY, self.TABLE), Decimal(2 + 16 + 24))
        self.assertIsNone(transcription_cost("unknown", usage, DAY, self.TABLE))
        self.assertEqual(transcription_cost("unknown", {"input_tokens": 5}, DAY, self.TABLE), Decimal(0))

    def test_it_is_part_of_what_a_call_costs(self) -> None:
        report: dict[str, Any] = {"model": "gpt", "usage": {"input_tokens": MILLION, "transcription_ms": 60_000}}
        self.assertEqual(of_streams([report, report], "by-minute", DAY, self.TABLE), Decimal("8.012"))
        self.assertIsNone(of_streams([report], "unknown", DAY, self.TABLE))
