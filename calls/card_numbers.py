"""Card numbers in what was said and what tools were given: masked before anything is kept. Pure.

What must hold so that a number is taken for a card's, and not for an order's or a phone's: it begins as the networks'
numbers do and is as long as theirs, its check digit is right (Luhn, ISO/IEC 7812-1), it begins and ends where a group
of digits does, and no letter or "+" touches it. Of the numbers that look like a card's in all but the check digit, one
in ten is masked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MASK = "•"
KEPT = 4  # the digits that PCI DSS lets be shown, and by which people tell their cards apart

# Between two groups of one number, as speech is transcribed and forms are filled in: "4111 1111", "4111-1111", "4 1".
_BETWEEN = r"\s*(?:[,.\-\u2010-\u2013]\s*)?"
_RUN = re.compile(rf"(?<![\w+{MASK}])[0-9]+(?:{_BETWEEN}(?<![0-9])[0-9]+)*")
_BEGINS = "23456"
_GROUP = re.compile(r"[0-9]+")
_LENGTHS = range(14, 20)

# Beginnings and lengths of the networks that are in use (ISO/IEC 7812-1 issuer ranges, as the networks publish them).
_NETWORKS = re.compile(
    r"""
      4[0-9]{15}(?:[0-9]{3})?                                             # Visa
    | 5[1-5][0-9]{14}                                                     # Mastercard
    | 2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}      # Mastercard
    | 3[47][0-9]{13}                                                      # American Express
    | 3(?:0[0-5]|[689][0-9])[0-9]{11}                                     # Diners Club
    | 35(?:2[89]|[3-8][0-9])[0-9]{12,15}                                  # JCB
    | 6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}                          # Discover
    | 62[0-9]{14,17}                                                      # UnionPay
    | (?:50|5[6-8]|63|67)[0-9]{14,17}                                     # Maestro
    """,
    re.VERBOSE,
)


def masked(text: str) -> str:
    """The text with every card number's digits but the last four as "•". It keeps its length, and masked again it stays
    as it is."""
    characters = list(text)
    for run in _RUN.finditer(text):
        groups = [(group.start(), group.group()) for group in _GROUP.finditer(text, run.start(), run.end())]
        if text[run.end() : run.end() + 1].isalpha():
            groups.pop()  # "4b": a part of another thing
        for places in _card_numbers(groups):
            for place in places[:-KEPT]:
                characters[place] = MASK
    return "".join(characters)


def masked_beginning(beginning: str, whole: str) -> str:
    """What is heard of an answer, masked as in the whole of it: a number that was cut off is none by itself."""
    return masked(whole)[: len(beginning)] if whole.startswith(beginning) else masked(beginning)


def _card_numbers(groups: list[tuple[int, str]]) -> Iterator[list[int]]:
    """The places of the digits of every card number that is made of whole groups that follow each other."""
    for first, (_, beginning) in enumerate(groups):
        if beginning[0] not in _BEGINS:
            continue
        digits = ""
        for end in range(first, len(groups)):
            digits += groups[end][1]
            if len(digits) >= _LENGTHS.stop:
                break
            if len(digits) in _LENGTHS and _NETWORKS.fullmatch(digits) and _checks(digits):
                yield [start + at for start, group in groups[first : end + 1] for at in range(len(group))]


def _checks(digits: str) -> bool:
    """Luhn's check: every second digit from the right doubled, the digits of all add up to a multiple of ten."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0
