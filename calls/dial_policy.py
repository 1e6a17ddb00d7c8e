"""Whom a business may dial: one rule for outbound calls, transfers and callbacks. Pure.

What a number is (country, premium rate, satellite, emergency) is libphonenumber's knowledge. Short numbers are never
dialled: whoever needs help must reach it from a phone that can be located.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import datetime, time

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from businesses.phone_numbers import written

_SHORTEST_LOCAL_DIGITS = 7
_SATELLITE = {870, 881, 882, 883}  # Inmarsat, global mobile satellite, and the international networks beside them
_NOT_A_COUNTRY = "001"  # libphonenumber's region of country codes that belong to no country
_REFUSED_TYPES = {
    PhoneNumberType.PREMIUM_RATE: "premium",
    PhoneNumberType.SHARED_COST: "shared_cost",
    PhoneNumberType.PERSONAL_NUMBER: "premium",  # forwards anywhere, at a price that cannot be known before
    PhoneNumberType.PAGER: "special_number",
    PhoneNumberType.UAN: "special_number",
    PhoneNumberType.VOICEMAIL: "special_number",
}

SENTENCES = {
    "malformed": "That does not look like a complete phone number.",
    "emergency": "I cannot dial emergency numbers. Please dial it yourself, from your own phone, right away.",
    "short_number": "I cannot dial short numbers.",
    "invalid": "There is no such phone number.",
    "own_number": "That is one of our own numbers, and the call would come back here.",
    "satellite": "I cannot dial satellite numbers.",
    "premium": "I cannot dial numbers that cost extra.",
    "shared_cost": "I cannot dial numbers that cost extra.",
    "special_number": "I cannot dial special service numbers.",
    "country": "I cannot dial numbers in that country.",
    "do_not_call": "This person asked not to be called, and we keep to that.",
    "hourly_cap": "We have placed as many calls as we may in an hour. Please try again later.",
    "daily_cap": "We have placed as many calls as we may in a day. Please try again tomorrow.",
    "attempts": "We have tried this number often enough for now.",
    "per_call": "Nobody could be reached so far, and I cannot try again in this call.",
    "no_target": "Callers are not put through there any more.",
    "calling_hours": "It is not a good time of day to call there.",
}


@dataclass(frozen=True, slots=True)
class DialRules:
    """What a business allows, as in its DialPolicy. Countries are ISO 3166 codes like US."""

    home_country: str = "US"
    allowed_countries: frozenset[str] = frozenset()
    max_per_hour: int = 60
    max_per_day: int = 300
    max_at_once: int = 5
    max_attempts: int = 3
    max_call_seconds: int = 1800
    calls_from: time = time(8)
    calls_until: time = time(21)


@dataclass(frozen=True, slots=True)
class Dialled:
    """What was dialled already: by the business in the last hour and 24 hours, and this number in 24 hours."""

    last_hour: int = 0
    last_day: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Allowed:
    """`number` is in E.164 form; the carrier ends the call after `max_seconds`."""

    number: str
    country: str
    max_seconds: int


@dataclass(frozen=True, slots=True)
class Refused:
    """`code` is for the record and for programs, a key of SENTENCES."""

    code: str

    @property
    def sentence(self) -> str:
        """The reason, to be spoken to a caller or shown to an operator."""
        return SENTENCES[self.code]


Verdict = Allowed | Refused


def check(
    text: str,
    rules: DialRules,
    *,
    own_numbers: frozenset[str],
    do_not_call: frozenset[str] = frozenset(),
    dialled: Dialled = Dialled(),
) -> Verdict:
    """Whether `text` may be dialled now, whatever the time of day. Numbers without a plus are read as in the home
    country; `own_numbers` and `do_not_call` are in E.164 form."""
    number = _read(text, rules.home_country)
    if isinstance(number, Refused):
        return number
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if e164 in own_numbers:
        return Refused("own_number")
    code = _what_it_is(number) or _where_it_is(number, rules)
    if not code and e164 in do_not_call:
        code = "do_not_call"
    code = code or _how_often(rules, dialled)
    if code:
        return Refused(code)
    return Allowed(e164, phonenumbers.region_code_for_number(number) or "", rules.max_call_seconds)


def is_time_to_call(zones: tuple[str, ...], rules: DialRules, now: datetime) -> bool:
    """Whether it is within the calling hours in every one of `zones` (IANA names), one of which is the callee's."""
    return all(_is_between(now.astimezone(zoneinfo.ZoneInfo(zone)).time(), rules) for zone in zones)


def _is_between(local: time, rules: DialRules) -> bool:
    begin, end = rules.calls_from, rules.calls_until
    # From and until the same hour is all day.
    return begin <= local < end if begin < end else local >= begin or local < end


def _read(text: str, home_country: str) -> PhoneNumber | Refused:
    text = written(text)
    if not text:
        return Refused("malformed")
    digits = re.sub("[^0-9]", "", text)
    if digits in {"112", "911"} or phonenumbers.is_emergency_number(digits, home_country):
        return Refused("emergency")
    try:
        number = phonenumbers.parse(text, home_country)
    except phonenumbers.NumberParseException:
        return Refused("short_number" if digits and len(digits) < _SHORTEST_LOCAL_DIGITS else "malformed")
    return _short(number) or number


def _short(number: PhoneNumber) -> Refused | None:
    """Short numbers also behind a country code, as in +49 110: some carriers would connect it."""
    national = str(number.national_number)
    for region in phonenumbers.region_codes_for_country_code(number.country_code or 0):
        if region != _NOT_A_COUNTRY and phonenumbers.is_emergency_number(national, region):
            return Refused("emergency")
    if not phonenumbers.is_valid_number(number) and len(national) < _SHORTEST_LOCAL_DIGITS:
        return Refused("short_number")
    return None


def _what_it_is(number: PhoneNumber) -> str:
    """Why a number of this kind is not dialled; empty for one that is."""
    country_code, national = number.country_code, str(number.national_number)
    if country_code in _SATELLITE:
        return "satellite"
    if country_code == 1 and len(national) == 10 and national[3:6] == "976":
        return "premium"  # the old local premium exchange of any American area code
    kind = phonenumbers.number_type(number)
    if kind == PhoneNumberType.UAN and country_code == 44 and national.startswith("3"):
        return ""  # costs what a call to a landline does, by law
    if kind in _REFUSED_TYPES:
        return _REFUSED_TYPES[kind]
    return "" if phonenumbers.is_valid_number(number) else "invalid"


def _where_it_is(number: PhoneNumber, rules: DialRules) -> str:
    # By the number's own region, not by its country code: +1 876 is Jamaica.
    region = phonenumbers.region_code_for_number(number)
    allowed = {rules.home_country, *rules.allowed_countries}
    return "" if region in allowed and region != _NOT_A_COUNTRY else "country"


def _how_often(rules: DialRules, dialled: Dialled) -> str:
    if dialled.attempts >= rules.max_attempts:
        return "attempts"
    if dialled.last_hour >= rules.max_per_hour:
        return "hourly_cap"
    return "daily_cap" if dialled.last_day >= rules.max_per_day else ""
