"""Numbers of a call as they are read."""

from decimal import Decimal

from django.test import SimpleTestCase

from calls import figures


class FiguresTest(SimpleTestCase):
    def test_small_amounts_keep_the_places_that_say_something(self) -> None:
        for usd, text in (
            (None, "-"),
            (Decimal(0), "$0.0000"),
            (Decimal("0.001234"), "$0.0012"),
            (Decimal("0.98766"), "$0.9877"),
            (Decimal("1.5"), "$1.50"),
            (Decimal("1234.567"), "$1,234.57"),
        ):
            self.assertEqual(figures.money(usd), text)

    def test_tokens(self) -> None:
        self.assertEqual(figures.tokens({}), "-")
        self.assertEqual(figures.tokens({"input_tokens": 12_345, "output_tokens": 6}), "12,345 in, 6 out")
        self.assertEqual(
            figures.tokens({"input_tokens": 9, "cached_tokens": 4, "output_tokens": 1}), "9 in (4 cached), 1 out"
        )

    def test_times_to_answer(self) -> None:
        self.assertEqual(figures.answer_times([]), "")
        self.assertEqual(figures.answer_times([None, None]), "")
        self.assertEqual(figures.answer_times([None, 840]), "0.8 s")
        self.assertEqual(figures.answer_times([600, 2100, None, 700]), "0.7 s, at most 2.1 s")

    def test_what_was_counted_is_said_in_words_and_what_was_not_is_left_out(self) -> None:
        counters = {
            "zeta_things": 2,
            "error_rate_limit": 1,
            "underrun_ms": 1240,
            "echoes": 3,
            "interruptions": 5,
            "reprompts": 0,
            "dropped_frames": 30,
            "model_renewals": 1200,
        }
        self.assertEqual(
            figures.counted(counters),
            [
                ("Echoes of the agent's voice", "3"),
                ("Length of these gaps", "1.2 s"),
                ("Caller's audio lost", "0.6 s"),
                ("Renewed model sessions", "1,200"),
                ("Model error rate_limit", "1"),
                ("Zeta things", "2"),
            ],
        )
