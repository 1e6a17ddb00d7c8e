"""The rows that the dial policy needs: what a business allows, its own numbers, and what it has dialled so far."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from importlib import resources

from django.db.models import Q

from businesses import phone_numbers
from businesses.models import Business, DialPolicy, DoNotCall, PhoneNumber
from calls import dial_policy
from calls.dial_policy import Dialled, DialRules, Verdict
from calls.models import CallLeg, CallLog, Direction, LegKind, LegState

# Legs that the dial policy refused; a colleague who declines has answered before.
NEVER_DIALLED = Q(state=LegState.REFUSED, answered_at=None)
# Callers forwarded to the business's own number are not what the caps are against, and must not use them up.
_NOT_COUNTED = NEVER_DIALLED | Q(kind=LegKind.FORWARD)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def rules_of(business_id: int) -> DialRules:
    """What the business allows; the defaults, where nobody has set anything."""
    row = DialPolicy.objects.filter(business_id=business_id).first() or DialPolicy()
    return DialRules(
        home_country=row.home_country,
        allowed_countries=frozenset(row.allowed_countries),
        max_per_hour=row.max_per_hour,
        max_per_day=row.max_per_day,
        max_at_once=row.max_at_once,
        max_attempts=row.max_attempts,
        max_call_seconds=row.max_call_seconds,
        calls_from=row.calls_from,
        calls_until=row.calls_until,
    )


def check(
    business_id: int,
    text: str,
    now: datetime,
    *,
    to_colleague: bool = False,
    besides: tuple[str, str] | None = None,
) -> Verdict:
    """Whether the business may dial `text` at `now`. `to_colleague`: a transfer target of its own choice, who is no
    customer: neither the do-not-call list nor the attempts for one number count. `besides`: CallSid and key of the
    leg that this is about, where it has its row already.

    Whoever then dials leaves a CallLeg or an outbound CallLog, over which the caps are counted.
    """
    rules = rules_of(business_id)
    number = phone_numbers.normalized(text, rules.home_country)
    dialled = dialled_since(business_id, "" if to_colleague else number, now, besides)
    unwanted = DoNotCall.objects.filter(business_id=business_id, number=number)
    return dial_policy.check(
        text,
        rules,
        own_numbers=own_numbers(),
        do_not_call=frozenset() if to_colleague else frozenset(unwanted.values_list("number", flat=True)),
        dialled=dialled,
    )


def own_numbers() -> frozenset[str]:
    """The numbers of every business of this server: a call to any of them would come back here."""
    return frozenset(PhoneNumber.objects.values_list("number", flat=True))


def dialled_since(business_id: int, number: str, now: datetime, besides: tuple[str, str] | None = None) -> Dialled:
    """What the business dialled in the last hour and the last 24, and how often `number` of that."""
    legs = CallLeg.objects.filter(business_id=business_id, asked_at__gt=now - DAY).exclude(_NOT_COUNTED)
    if besides is not None:
        legs = legs.exclude(call__call_sid=besides[0], key=besides[1])
    calls = CallLog.objects.filter(
        business_id=business_id, direction=Direction.OUTBOUND, created_at__gt=now - DAY
    ).order_by()
    last_hour = legs.filter(asked_at__gt=now - HOUR).count() + calls.filter(created_at__gt=now - HOUR).count()
    attempts = (legs.filter(number=number).count() + calls.filter(to_number=number).count()) if number else 0
    return Dialled(last_hour=last_hour, last_day=legs.count() + calls.count(), attempts=attempts)


def zones_for(country: str, business: Business, home_country: str) -> tuple[str, ...]:
    """The zones that somebody in `country` may be in. In the home country the business's own; elsewhere all that the
    country has, since a number does not tell which (libphonenumber's own table is not in its light package)."""
    if country == home_country:
        return (str(business.zone),)
    return _zones_by_country().get(country, ()) or (str(business.zone),)


@functools.cache
def _zones_by_country() -> dict[str, tuple[str, ...]]:
    """The time zone database's own list, which `tzdata` carries."""
    zones: dict[str, list[str]] = {}
    text = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            zones.setdefault(country, []).append(zone)
    return {country: tuple(names) for country, names in zones.items()}
