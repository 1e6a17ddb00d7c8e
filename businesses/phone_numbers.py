"""Phone numbers as people write them, read by libphonenumber. Pure."""

from __future__ import annotations

import re

import phonenumbers

LONGEST = 40  # characters; no number with its brackets and spaces is longer
# No letters: libphonenumber reads them as keys, as extensions and as parameters of a URI.
_WRITTEN = re.compile(r"\+?[0-9 ().\-/\u00a0]+")


def written(text: str) -> str:
    """The text if it could be a phone number, with a plus in place of 00, as most of the world has it; else empty."""
    text = text.strip()
    if len(text) > LONGEST or not _WRITTEN.fullmatch(text):
        return ""
    digits = re.sub("[^0-9]", "", text)
    return f"+{digits[2:]}" if digits.startswith("00") else text


def normalized(text: str, home_country: str) -> str:
    """A number in E.164 form, read as in the home country when it has no plus; empty when there is no such number."""
    try:
        number = phonenumbers.parse(written(text), home_country)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def countries() -> frozenset[str]:
    """The countries that have phone numbers, as ISO 3166 codes."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)
