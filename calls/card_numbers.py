"""Card numbers in what was said and what tools were given: masked before anything is kept. Pure.

A digit may be said as a word, in the languages that callers are spoken to in (calls.phrases): "four one one one" is a
number of four digits. Numbers that are said in pairs or more ("forty-one eleven") are not understood.

What must hold so that a number is taken for a card's, and not for an order's or a phone's: it begins as the networks'
numbers do and is as long as theirs, its check digit is right (Luhn, ISO/IEC 7812-1), it begins and ends where a group
of digits does, and no letter or "+" touches it. Of the numbers that look like a card's in all but the check digit, one
in ten is masked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

MASK = "•"
KEPT = 4  # the digits that PCI DSS lets be shown, and by which people tell their cards apart

# Between two groups of one number, as speech is transcribed and forms are filled in: "4111 1111", "4111-1111", "4 1".
_BETWEEN = r"\s*(?:[,.\-\u2010-\u2013]\s*)?"
_DIGITS = (
    "zero oh o nought null cero zéro",
    "one eins uno un",
    "two zwei zwo dos deux",
    "three drei tres trois",
    "four vier cuatro quatre",
    "five fünf cinco cinq",
    "six sechs seis",
    "seven sieben siete sept",
    "eight acht ocho huit",
    "nine neun nueve neuf",
)
_SAID = {word: str(digit) for digit, words in enumerate(_DIGITS) for word in words.split()}
_MORE = {"double": 2, "triple": 3, "doppel": 2, "doble": 2}  # "double four"
_WORD = rf"(?<!\w)(?:(?:{'|'.join(_MORE)})[ \-])?(?:{'|'.join(_SAID)})(?!\w)"
_RUN = re.compile(rf"(?<![\w+{MASK}])(?:[0-9]+|{_WORD})(?:{_BETWEEN}(?:(?<![0-9])[0-9]+|{_WORD}))*", re.IGNORECASE)
_GROUP = re.compile(rf"[0-9]+|{_WORD}", re.IGNORECASE)
_PLAIN_GROUP = re.compile(r"[0-9]+")
_LETTER = re.compile(r"[^\W0-9_]")

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

# Where a group stands in the text, and its digits.
Group = tuple[int, int, str]
_DOUBLED = bytes(sum(divmod(2 * (digit - 48), 10)) if 48 <= digit <= 57 else 0 for digit in range(256))
_PLAIN = bytes(digit - 48 if 48 <= digit <= 57 else 0 for digit in range(256))


def masked(text: str) -> str:
    """The text with every card number's digits but the last four as "•". It keeps its length, and masked again it stays
    as it is. It takes as long as the text is: 16 kB of digits a few milliseconds."""
    characters: list[str] = []
    for run in _RUN.finditer(text):
        if run.end() - run.start() < _SHORTEST:
            continue
        pattern = _GROUP if _LETTER.search(text, run.start(), run.end()) else _PLAIN_GROUP
        groups = [_group(found) for found in pattern.finditer(text, run.start(), run.end())]
        if text[run.end() : run.end() + 1].isalpha():
            groups.pop()  # "4b": a part of another thing
        for part in _parts(groups):
            places: list[int | slice] = []
            for first, last in _card_numbers("".join([digits for _, _, digits in part]), part):
                places = places or [place for group in part for place in _places(group)]
                characters = characters or list(text)
                for place in places[first : last - KEPT]:
                    if isinstance(place, int):
                        characters[place] = MASK
                    else:
                        characters[place] = MASK * (place.stop - place.start)
    return "".join(characters) or text


def masked_beginning(beginning: str, whole: str) -> str:
    """What is heard of an answer, masked as in the whole of it: a number that was cut off is none by itself."""
    return masked(whole)[: len(beginning)] if whole.startswith(beginning) else masked(beginning)


def _group(found: re.Match[str]) -> Group:
    written, (start, end) = found.group(), found.span()
    return start, end, written if written[0] in "0123456789" else _SAID.get(written) or _said(written)


def _said(written: str) -> str:
    *more, word = re.split("[ -]", written.lower())
    return _SAID[word] * (_MORE[more[0]] if more else 1)


def _places(group: Group) -> Sequence[int | slice]:
    """Where in the text each of its digits stands: that of a word is all of it."""
    start, end, digits = group
    return range(start, end) if len(digits) == end - start else [slice(start, end)] * len(digits)


def _parts(groups: list[Group]) -> Iterator[list[Group]]:
    """The groups between those that are longer than any card's number."""
    part: list[Group] = []
    for group in groups:
        if len(group[2]) <= _LONGEST:
            part.append(group)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _card_numbers(digits: str, groups: list[Group]) -> Iterator[tuple[int, int]]:
    """Where among the digits every card number begins and ends that is made of whole groups that follow each other; of
    numbers that overlap each begins where the digits are not in an earlier one that is to be masked."""
    bounds = bytearray(len(digits) + 1)  # 1 where a group begins or ends
    for place in accumulate((len(group) for _, _, group in groups), initial=0):
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
