"""Whether a number is open: weekdays, holidays, midnight, clocks that change, and numbers with hours of their own."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from unittest import TestCase
from zoneinfo import ZoneInfo

from businesses.hours import Span, SpecialDay, is_open

BERLIN, NEW_YORK, AUCKLAND = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Pacific/Auckland")
NUMBER, OTHER = 7, 8
MORNING = [Span(day, time(9), time(12)) for day in range(5)]  # Monday to Friday
TUESDAY = date(2026, 11, 24)


def on(day: date, hour: int, minute: int = 0, zone: ZoneInfo = BERLIN, *, fold: int = 0, second: int = 0) -> datetime:
    """A wall time in the zone, as the moment in UTC."""
    return datetime.combine(day, time(hour, minute, second, fold=fold), zone).astimezone(UTC)


class WeekdayTest(TestCase):
    def test_the_first_minute_is_open_and_the_last_is_over(self) -> None:
        for hour, minute, second, expected in (
            (8, 59, 59, False),
            (9, 0, 0, True),
            (11, 59, 59, True),
            (12, 0, 0, False),
            (23, 0, 0, False),
        ):
            with self.subTest(hour=hour, minute=minute):
                moment = on(TUESDAY, hour, minute, second=second)
                self.assertIs(is_open(moment, BERLIN, NUMBER, MORNING, []), expected)

    def test_a_day_without_hours_is_closed(self) -> None:
        self.assertFalse(is_open(on(date(2026, 11, 28), 10), BERLIN, NUMBER, MORNING, []))

    def test_a_lunch_break_is_closed(self) -> None:
        spans = [*MORNING, Span(1, time(13), time(17))]
        found = [is_open(on(TUESDAY, hour), BERLIN, NUMBER, spans, []) for hour in (11, 12, 13, 16, 17)]
        self.assertEqual(found, [True, False, True, True, False])

    def test_without_any_hours_it_is_always_open(self) -> None:
        for hour in range(24):
            self.assertTrue(is_open(on(TUESDAY, hour), BERLIN, NUMBER, [], []))

    def test_the_businesss_clock_counts(self) -> None:
        """One moment: nine in the morning in Berlin, three at night in New York, nine in the evening in Auckland."""
        moment = on(TUESDAY, 9)
        found = [is_open(moment, zone, NUMBER, MORNING, []) for zone in (BERLIN, NEW_YORK, AUCKLAND)]
        self.assertEqual(found, [True, False, False])

    def test_the_businesss_day_counts(self) -> None:
        """Late on Sunday in UTC it is Monday morning in Auckland."""
        moment = datetime(2026, 11, 22, 21, 30, tzinfo=UTC)
        self.assertTrue(is_open(moment, AUCKLAND, NUMBER, MORNING, []))
        self.assertFalse(is_open(moment, BERLIN, NUMBER, MORNING, []))


class MidnightTest(TestCase):
    spans = (Span(4, time(18), time(23, 59)), Span(5, time(0), time(2)))  # from Friday evening until two
    friday = date(2026, 11, 27)

    def test_the_night_has_no_hole_at_midnight(self) -> None:
        began = on(self.friday, 18)
        for minutes in (0, 5 * 60 + 58, 5 * 60 + 59, 6 * 60, 6 * 60 + 1, 8 * 60 - 1):
            moment = began + timedelta(minutes=minutes, seconds=59)
            self.assertTrue(is_open(moment, BERLIN, NUMBER, self.spans, []), minutes)

    def test_it_ends_at_two(self) -> None:
        saturday = self.friday + timedelta(days=1)
        self.assertFalse(is_open(on(saturday, 2), BERLIN, NUMBER, self.spans, []))
        self.assertFalse(is_open(on(self.friday, 1), BERLIN, NUMBER, self.spans, []))

    def test_a_minute_earlier_is_not_midnight(self) -> None:
        spans = [Span(4, time(18), time(23, 58))]
        self.assertFalse(is_open(on(self.friday, 23, 58), BERLIN, NUMBER, spans, []))


class ClocksChangeTest(TestCase):
    def test_an_hour_that_comes_twice_is_open_twice(self) -> None:
        day = date(2026, 10, 25)  # at three it is two again
        spans = [Span(6, time(2), time(3))]
        self.assertTrue(is_open(on(day, 2, 30, fold=0), BERLIN, NUMBER, spans, []))
        self.assertTrue(is_open(on(day, 2, 30, fold=1), BERLIN, NUMBER, spans, []))
        opened = [is_open(on(day, 0) + timedelta(minutes=m), BERLIN, NUMBER, spans, []) for m in range(25 * 60)]
        self.assertEqual(sum(opened), 120)

    def test_an_hour_that_is_skipped_opens_nothing(self) -> None:
        day = date(2026, 3, 29)  # at two it is three
        spans = [Span(6, time(2), time(3))]
        opened = [is_open(on(day, 0) + timedelta(minutes=m), BERLIN, NUMBER, spans, []) for m in range(23 * 60)]
        self.assertEqual(sum(opened), 0)

    def test_hours_over_the_gap_are_an_hour_shorter(self) -> None:
        day = date(2026, 3, 8)  # New York skips from two to three
        spans = [Span(6, time(1), time(5))]
        opened = [
            is_open(on(day, 0, zone=NEW_YORK) + timedelta(minutes=m), NEW_YORK, NUMBER, spans, [])
            for m in range(23 * 60)
        ]
        self.assertEqual(sum(opened), 180)

    def test_nine_oclock_is_nine_oclock_before_and_after(self) -> None:
        for day in (date(2026, 3, 27), date(2026, 3, 30), date(2026, 10, 23), date(2026, 10, 26)):
            self.assertFalse(is_open(on(day, 8, 59), BERLIN, NUMBER, MORNING, []), day)
            self.assertTrue(is_open(on(day, 9), BERLIN, NUMBER, MORNING, []), day)


class HolidayTest(TestCase):
    def test_a_holiday_is_closed_all_day(self) -> None:
        for hour in range(24):
            self.assertFalse(is_open(on(TUESDAY, hour), BERLIN, NUMBER, MORNING, [SpecialDay(TUESDAY)]))

    def test_the_days_around_it_are_as_ever(self) -> None:
        for days in (-1, 1):
            day = TUESDAY + timedelta(days=days)
            self.assertTrue(is_open(on(day, 10), BERLIN, NUMBER, MORNING, [SpecialDay(TUESDAY)]))

    def test_it_begins_at_the_businesss_midnight(self) -> None:
        monday_evening = Span(0, time(18), time(23, 59))
        holiday = [SpecialDay(TUESDAY)]
        self.assertTrue(is_open(on(TUESDAY, 0) - timedelta(seconds=1), BERLIN, NUMBER, [monday_evening], holiday))
        self.assertFalse(is_open(on(TUESDAY, 0), BERLIN, NUMBER, [Span(1, time(0), time(2))], holiday))

    def test_other_hours_take_the_place_of_the_weekdays(self) -> None:
        days = [SpecialDay(TUESDAY, time(14), time(16))]
        found = [is_open(on(TUESDAY, hour), BERLIN, NUMBER, MORNING, days) for hour in (10, 14, 15, 16)]
        self.assertEqual(found, [False, True, True, False])

    def test_two_spans_of_one_day_add_up(self) -> None:
        days = [SpecialDay(TUESDAY, time(8), time(9)), SpecialDay(TUESDAY, time(20), time(23, 59))]
        found = [is_open(on(TUESDAY, hour), BERLIN, NUMBER, MORNING, days) for hour in (8, 10, 20, 23)]
        self.assertEqual(found, [True, False, True, True])

    def test_it_closes_what_is_otherwise_always_open(self) -> None:
        self.assertFalse(is_open(on(TUESDAY, 10), BERLIN, NUMBER, [], [SpecialDay(TUESDAY)]))
        self.assertTrue(is_open(on(TUESDAY + timedelta(days=1), 10), BERLIN, NUMBER, [], [SpecialDay(TUESDAY)]))

    def test_half_an_entry_is_closed(self) -> None:
        for day in (SpecialDay(TUESDAY, opens=time(0)), SpecialDay(TUESDAY, closes=time(23, 59))):
            self.assertFalse(is_open(on(TUESDAY, 10), BERLIN, NUMBER, MORNING, [day]))


class OwnHoursTest(TestCase):
    evening = Span(1, time(18), time(20), NUMBER)

    def test_a_number_with_its_own_hours_follows_only_those(self) -> None:
        spans = [*MORNING, self.evening]
        self.assertEqual([is_open(on(TUESDAY, h), BERLIN, NUMBER, spans, []) for h in (10, 19)], [False, True])
        self.assertEqual([is_open(on(TUESDAY, h), BERLIN, OTHER, spans, []) for h in (10, 19)], [True, False])

    def test_they_are_closed_on_days_they_do_not_name(self) -> None:
        self.assertFalse(is_open(on(date(2026, 11, 25), 10), BERLIN, NUMBER, [*MORNING, self.evening], []))

    def test_hours_of_another_number_alone_leave_this_one_open(self) -> None:
        self.assertTrue(is_open(on(TUESDAY, 10), BERLIN, OTHER, [self.evening], []))

    def test_a_holiday_of_the_business_counts_for_a_number_with_its_own_hours(self) -> None:
        self.assertFalse(is_open(on(TUESDAY, 19), BERLIN, NUMBER, [self.evening], [SpecialDay(TUESDAY)]))

    def test_a_numbers_own_day_counts_more_than_the_businesss(self) -> None:
        days = [SpecialDay(TUESDAY), SpecialDay(TUESDAY, time(10), time(11), NUMBER)]
        self.assertTrue(is_open(on(TUESDAY, 10), BERLIN, NUMBER, MORNING, days))
        self.assertFalse(is_open(on(TUESDAY, 10), BERLIN, OTHER, MORNING, days))

    def test_a_holiday_of_another_number_is_none_here(self) -> None:
        self.assertTrue(is_open(on(TUESDAY, 10), BERLIN, OTHER, MORNING, [SpecialDay(TUESDAY, number_id=NUMBER)]))
