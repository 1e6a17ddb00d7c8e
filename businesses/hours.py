"""Whether a number is open at a moment: by the weekday's hours, unless the day is a holiday. Pure.

Hours are wall time in the business's zone. A moment has exactly one wall time, so that an hour which the clocks skip or
repeat needs no rule of its own: one that is repeated counts as open both times.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

# A time field knows no 24:00: this minute, as the end, is until midnight. What goes on after it is the next day's.
LAST_MINUTE = time(23, 59)


@dataclass(frozen=True, slots=True)
class Span:
    """Open on one weekday (as datetime.date.weekday() counts) from `opens`, until before `closes`. `number_id`: the
    number that has these hours of its own; None: of the whole business."""

    weekday: int
    opens: time
    closes: time
    number_id: int | None = None


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A day that is not as its weekday. Without `opens` and `closes` it is closed; several of one day add up."""

    date: date
    opens: time | None = None
    closes: time | None = None
    number_id: int | None = None


def is_open(
    moment: datetime, zone: ZoneInfo, number_id: int, spans: Collection[Span], days: Collection[SpecialDay]
) -> bool:
    """Whether the number is open at `moment` (aware). Spans and days of other numbers are passed over.

    A number with hours of its own follows only those, and on a day that is special to it only that. Without any hours
    it is always open, but for the special days.
    """
    local = moment.astimezone(zone)
    today = [day for day in days if day.date == local.date()]
    if special := _own([day.number_id for day in today], number_id):
        return any(_within(local.time(), day.opens, day.closes) for day in today if day.number_id in special)
    whose = _own([span.number_id for span in spans], number_id)
    if not whose:
        return True
    of_today = [span for span in spans if span.number_id in whose and span.weekday == local.weekday()]
    return any(_within(local.time(), span.opens, span.closes) for span in of_today)


def _own(owners: Collection[int | None], number_id: int) -> set[int | None]:
    """Whose entries count: the number's, if there are any, else the business's. Empty: there are neither."""
    if number_id in owners:
        return {number_id}
    return {None} if None in owners else set()


def _within(now: time, opens: time | None, closes: time | None) -> bool:
    if opens is None or closes is None:
        return False
    return opens <= now and (now < closes or closes.replace(second=0, microsecond=0) == LAST_MINUTE)
