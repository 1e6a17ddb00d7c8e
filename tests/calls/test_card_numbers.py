"""Which numbers are a card's. The card numbers are the test numbers that the networks and payment services publish."""

from __future__ import annotations

import time

from django.test import SimpleTestCase

from calls.card_numbers import MASK, masked, masked_beginning

CARDS = (
    "4111111111111111",
    "4242424242424242",
    "4000056655665556",
    "4012888888881881",  # Visa
    "5555555555554444",
    "5200828282828210",
    "5105105105105100",
    "2223003122003222",  # Mastercard
    "378282246310005",
    "371449635398431",  # American Express
    "30569309025904",
    "38520000023237",
    "36227206271667",  # Diners Club
    "3566002020360505",
    "3530111333300000",  # JCB
    "6011111111111117",
    "6011000990139424",  # Discover
    "6200000000000005",
    "6205500000000000004",  # UnionPay
    "6759649826438453",  # Maestro
)


WORDS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "de": ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
    "es": ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"],
    "fr": ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"],
}


def grouped(number: str, between: str, by: int) -> str:
    return between.join(number[at : at + by] for at in range(0, len(number), by))


class CardNumbersTest(SimpleTestCase):
    def test_all_but_the_last_four_digits_of_a_card_number_are_masked(self) -> None:
        for number in CARDS:
            with self.subTest(number=number):
                self.assertEqual(masked(f"It is {number}."), f"It is {MASK * (len(number) - 4)}{number[-4:]}.")

    def test_however_it_is_grouped(self) -> None:
        for number in CARDS:
            for between in (" ", "-", ", ", ". ", " - ", "\n", "   \n ", "\u2013"):
                for by in (1, 2, 3, 4):
                    with self.subTest(number=number, between=between, by=by):
                        text = masked(f"My card is {grouped(number, between, by)}, thanks.")
                        self.assertEqual("".join(c for c in text if c.isdigit()), number[-4:])

    def test_what_stands_around_it_stays(self) -> None:
        number = "4111 1111 1111 1111"
        hidden = "•••• •••• •••• 1111"
        for around in (
            "Visa {}",
            "{} valid until 12/27, code 123",
            "{} 12/27 123",
            "order 17, {}",
            "call +49 30 901820, {}",
            '{{"card": "{}", "amount": 4200}}',
            "{} and {}",
            "no. {}; no. {}",
        ):
            with self.subTest(around=around):
                self.assertEqual(masked(around.format(number, number)), around.format(hidden, hidden))

    def test_digits_may_be_said_as_words_or_partly(self) -> None:
        for language, words in WORDS.items():
            for number in CARDS:
                spoken = [words[int(digit)] for digit in number]
                for between in (" ", ", ", "-"):
                    with self.subTest(language=language, number=number, between=between):
                        text = f"Well: {between.join(spoken)}."
                        kept = between.join(spoken[-4:])
                        hidden = between.join(MASK * len(word) for word in spoken[:-4])
                        self.assertEqual(masked(text), f"Well: {hidden}{between}{kept}.")
                        self.assertEqual(masked(masked(text)), masked(text))
        for text, left in (
            ("4111 1111 one one one one 1111", "•••• •••• ••• ••• ••• ••• 1111"),
            ("Four ONE one One 1111 1111 1111", "•••• ••• ••• ••• •••• •••• 1111"),
            ("double four oh oh oh oh five six six five five six six five five six",) * 2,  # its check digit is wrong
            (
                "four double one one, triple one one, one one one one, one one one one",
                "•••• •••••••••• •••, •••••••••• •••, ••• ••• ••• •••, one one one one",
            ),
            ("four " + "triple one " * 5, "•••• " + "•••••••••• " * 3 + "•••••••••• triple one "),
        ):
            with self.subTest(text):
                self.assertEqual(masked(text), left)

    def test_other_numbers_in_words_stay(self) -> None:
        for text in (
            "four one one one one one one one one one one one one one one two",  # the check digit is wrong
            "zero three zero nine zero one eight two zero",
            "one two three four five six seven eight nine ten eleven twelve",
            "It is one or two, three at most; four one one is the number for information.",
            "phone one one one one one one one one one one one one one one one",
            "foureight one one one one one one one one one one one one one one",
            "null, null, null, null, null, null, null, null, null, null, null, null, null, null",
            "uno dos tres, un deux trois, eins zwei drei",
            "four one one one four eleven one one one one one one one one one one one",
            "plus four nine one seven zero one two three four five six seven",
        ):
            with self.subTest(text=text):
                self.assertEqual(masked(text), text)

    def test_a_number_in_json_is_one_too(self) -> None:
        self.assertEqual(masked('{"pan": 4111111111111111}'), '{"pan": ••••••••••••1111}')

    def test_other_numbers_stay(self) -> None:
        for text in (
            "",
            "no digits at all",
            "4111111111111112",  # the check digit is wrong
            "4111 1111 1111 1112",
            "9111111111111111",  # no network's
            "0000000000000000",
            "order 1234567890123456",
            "order A4111111111111111",
            "4111111111111111B",
            "order_4111111111111111",
            "+4111111111111111",
            "+49 170 1234567",
            "+49 (0)30 9018-20",
            "0049 30 901820",
            "030 901820, 030 901821, 030 901822",
            "tel. 415 555 2671 or 415 555 2672",
            "(415) 555-2671",
            "+1 415-555-2671 +1 415-555-2672",
            "+44 20 7946 0958",
            "DE89 3704 0044 0532 0130 00",  # an IBAN
            "GB29NWBK60161331926819",
            "978-3-16-148410-0",  # an ISBN
            "490154203237518",  # an IMEI: 15 digits with the right check digit
            "2026-11-26 13:46:54",
            "1764164814000000000",  # a time in nanoseconds
            "41111111111111111111111111",  # longer than a card's
            "9941111111111111119",  # a card's digits inside of a longer group
            "550e8400-e29b-41d4-a716-446655440000",
            "CA0123456789abcdef0123456789abcdef",
            "52.520008, 13.404954",
            "192.168.100.200",
            "12:30, 13:30, 14:30 or 15:30",
            "4,200.00 EUR",
            "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
        ):
            with self.subTest(text=text):
                self.assertEqual(masked(text), text)

    def test_masked_again_it_stays_and_it_keeps_its_length(self) -> None:
        for number in CARDS:
            for by in (1, 4, 19):
                text = f"17 {grouped(number, ' ', by)} 4111 1111 2 {grouped(number, '-', by)} 123"
                once = masked(text)
                self.assertEqual((masked(once), len(once)), (once, len(text)))

    def test_two_that_share_digits_are_both_masked(self) -> None:
        # Read one by one, any stretch of the right length may be the number: "4 2" before it makes another one.
        text = " ".join("42" + "4242424242424242")
        shown = "".join(character for character in masked(text) if character.isdigit())
        self.assertLessEqual(len(shown), 4)

    def test_of_a_number_that_was_cut_off_nothing_is_left(self) -> None:
        whole = "You said 4111 1111 1111 1111, right?"
        self.assertEqual(masked_beginning("You said 4111 1111 11", whole), "You said •••• •••• ••")
        self.assertEqual(masked_beginning(whole, whole), masked(whole))
        self.assertEqual(masked_beginning("", whole), "")
        self.assertEqual(masked_beginning("Another 4111111111111111", whole), "Another ••••••••••••1111")

    def test_it_takes_as_long_as_the_text_is(self) -> None:
        said = ("four ", "four 1 ", "double four ", "four" + " one" * 15 + " ", "o-o ", "one" + " " * 30, "fou oneo ")
        for unit in ("4 ", "4111 1111 1111 1111 ", "41-", "4" + " " * 30, "4,  ", *said):
            with self.subTest(unit=unit):
                short, long = (self.seconds((unit * size)[:size]) for size in (8_000, 64_000))
                self.assertLess(long, 24 * short)  # of a square it would be 64 times as much
                self.assertLess(long, 0.5)

    def seconds(self, text: str) -> float:
        """Of this thread, whatever else the machine does."""
        taken = []
        for _ in range(3):
            began = time.thread_time()
            masked(text)
            taken.append(time.thread_time() - began)
        return min(taken)
