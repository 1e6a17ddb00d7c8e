"""Card numbers in what was said and what tools were given: masked before anything is kept. Pure.

What must hold so that a number is taken for a card's, and not for an order's or a phone's: it begins as the networks'
numbers do and is as long as theirs, its check digit is right (Luhn, ISO/IEC 7812-1), it begins and ends where a group
of digits does, and no letter or "+" touches it. Of the numbers that look like a card's in all but the check digit, one
in ten is masked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

MASK = "•"
KEPT = 4  # the digits that PCI DSS lets be shown, and by which people tell their cards apart

# Between two groups of one number, as speech is transcribed and forms are filled in: "4111 1111", "4111-1111", "4 1".
_BETWEEN = r"\s*(?:[,.\-\u2010-\u2013]\s*)?"
_RUN = re.compile(rf"(?<![\w+{MASK}])[0-9]+(?:{_BETWEEN}(?<![0-9])[0-9]+)*")
_GROUP = re.compile(r"[0-9]+")

# Beginnings and lengths of the networks that are in use (ISO/IEC 7812-1 issuer ranges, as the networks publish them).
_NETWORKS = (
    ("4", (16, 19)),  # Visa
    ("5[1-5]", (16,)),  # Mastercard
    ("2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)", (16,)),  # Mastercard
    ("3[47]", (15,)),  # American Express
    ("3(?:0[0-5]|[689][0-9])", (14,)),  # Diners Club
    ("35(?:2[89]|[3-8][0-9])", (16, 17, 18, 19)),  # JCB
    ("6(?:011|4[4-9][0-9]|5[0-9]{2})", (16, 17, 18, 19)),  # Discover
    ("62", (16, 17, 18, 19)),  # UnionPay
    ("50|5[6-8]|63|67", (16, 17, 18, 19)),  # Maestro
)
_SHORTEST = min(min(lengths) for _, lengths in _NETWORKS)
_LONGEST = max(max(lengths) for _, lengths in _NETWORKS)
# Wherever a number may begin, with the group of its network; it takes no characters, so that each digit is looked at.
_BEGINNING = re.compile("(?=" + "|".join(f"({digits})" for digits, _ in _NETWORKS) + ")")
_DOUBLED = bytes(sum(divmod(2 * (digit - 48), 10)) if 48 <= digit <= 57 else 0 for digit in range(256))
_PLAIN = bytes(digit - 48 if 48 <= digit <= 57 else 0 for digit in range(256))


def masked(text: str) -> str:
    """The text with every card number's digits but the last four as "•". It keeps its length, and masked again it stays
    as it is. It takes as long as the text is: 16 kB of digits a few milliseconds."""
    characters: list[str] = []
    for run in _RUN.finditer(text):
        if run.end() - run.start() < _SHORTEST:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, run.start(), run.end())]
        if text[run.end() : run.end() + 1].isalpha():
            groups.pop()  # "4b": a part of another thing
        for part in _parts(groups):
            places = [place for start, end in part for place in range(start, end)]
            for first, last in _card_numbers("".join([text[start:end] for start, end in part]), part):
                characters = characters or list(text)
                for place in places[first : last - KEPT]:
                    characters[place] = MASK
    return "".join(characters) or text


def masked_beginning(beginning: str, whole: str) -> str:
    """What is heard of an answer, masked as in the whole of it: a number that was cut off is none by itself."""
    return masked(whole)[: len(beginning)] if whole.startswith(beginning) else masked(beginning)


def _parts(groups: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The groups between those that are longer than any card's number."""
    part: list[tuple[int, int]] = []
    for start, end in groups:
        if end - start <= _LONGEST:
            part.append((start, end))
        elif part:
            yield part
            part = []
    if part:
        yield part


def _card_numbers(digits: str, groups: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where among the digits every card number begins and ends that is made of whole groups that follow each other; of
    numbers that overlap each begins where the digits are not in an earlier one that is to be masked."""
    bounds = bytearray(len(digits) + 1)  # 1 where a group begins or ends
    for place in accumulate((end - start for start, end in groups), initial=0):
        bounds[place] = 1
    sums = _luhn_sums(digits.encode())
    done = 0
    for found in _BEGINNING.finditer(digits):
        first = found.start()
        if not bounds[first]:
            continue
        assert found.lastindex is not None
        for length in _NETWORKS[found.lastindex - 1][1]:
            last = first + length
            if last >= len(bounds):
                break
            total = sums[last & 1]
            if bounds[last] and (total[last] - total[first]) % 10 == 0:
                yield max(first, done), last
                done = max(done, last - KEPT)


def _luhn_sums(digits: bytes) -> tuple[list[int], list[int]]:
    """Of Luhn's check (every second digit from the right doubled, all digits added up): the sums up to each place, for
    numbers that end at an even place and at an odd one."""
    plain, doubled = digits.translate(_PLAIN), digits.translate(_DOUBLED)
    even, odd = bytearray(plain), bytearray(plain)
    even[::2] = doubled[::2]
    odd[1::2] = doubled[1::2]
    return list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))
