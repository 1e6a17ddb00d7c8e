"""The dial policy over many numbers, and the rows it is asked with."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, time, timedelta
from unittest import TestCase as PureTestCase

from django.test import TestCase

from businesses.models import DialPolicy, DoNotCall
from calls import dial_policy, dialing
from calls.dial_policy import Allowed, Dialled, DialRules, Refused
from calls.models import CallLeg, CallLog, LegKind
from tests.businesses.worlds import World, make_world

COUNTRIES = frozenset(["GB", "DE", "AT", "CH", "FR", "ES", "IT", "NL", "AU", "IN", "JP", "BR", "MX", "CA"])
WIDE = DialRules("US", COUNTRIES, max_call_seconds=600)
OWN = frozenset({"+15550100100", "+4930901899"})
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)

MAY_BE_DIALLED = {
    "+12125550123": ("+12125550123", "US"),
    "(212) 555-0123": ("+12125550123", "US"),
    "1-212-555-0123": ("+12125550123", "US"),
    "011 49 30 901820": ("+4930901820", "DE"),
    "00 49 30 901820": ("+4930901820", "DE"),
    "+49 (0)30 901820": ("+4930901820", "DE"),
    " +49 151 23456789 ": ("+4915123456789", "DE"),
    "+43 1 58858": ("+43158858", "AT"),
    "+41 44 668 18 00": ("+41446681800", "CH"),
    "+33 1 42 68 53 00": ("+33142685300", "FR"),
    "+34 91 123 45 67": ("+34911234567", "ES"),
    "+39 02 12345678": ("+390212345678", "IT"),
    "+31 20 794 0800": ("+31207940800", "NL"),
    "+61 2 9374 4000": ("+61293744000", "AU"),
    "+91 22 6694 9494": ("+912266949494", "IN"),
    "+81 3 6384 9000": ("+81363849000", "JP"),
    "+55 11 2395 8400": ("+551123958400", "BR"),
    "+52 55 5342 8400": ("+525553428400", "MX"),
    "+1 416 555 0123": ("+14165550123", "CA"),
    "+44 20 7031 3000": ("+442070313000", "GB"),
    "+44 7400 123456": ("+447400123456", "GB"),
    "+44 345 712 5563": ("+443457125563", "GB"),
    "+44 800 123 4567": ("+448001234567", "GB"),
    "+1 800 555 0199": ("+18005550199", "US"),
}
REFUSED = {
    "emergency": ["911", "112", "999", "+49 110", "+49 112", "+44 999", "+1 911", "+39 112"],
    "short_number": ["411", "12345", "118", "000", "988", "+1 988", "+49 11833", "+49 116117", "+998 1", "1 212"],
    "malformed": [
        *("", "+", "hello", "anonymous", "client:bob", "sip:a@b.example", "tel:+4930901820", "1-800-FLOWERS"),
        *("+49 30 901820 ext. 12", "+1 212 555 0123 x5", "+49 30 901820;phone-context=evil", "\uff0b4930901820"),
        *("+1 212 555 0123" * 4, "+1\n212 555 0123", "٠١٢٣٤٥٦٧٨٩"),
    ],
    "invalid": ["+1 212 555 012", "+1 212 555 01234", "+1 456 123 4567", "+1 710 555 0123", "+49 32 12345678"],
    "own_number": ["+15550100100", "+1 555 010 0100", "+49 30 901899"],
    "satellite": ["+881 612 345 678", "+882 16 1234567", "+870 773 111 632", "+8835 10000123456"],
    "premium": [
        *("+1 900 555 0123", "+1 212 976 0123", "+44 909 879 1234", "+44 70 1234 5678", "+44 871 234 5678"),
        *("+49 900 1 234567", "+49 137 7 123456", "+49 700 12345678", "+43 900 123456", "+41 900 123 456"),
        *("+33 899 12 34 56", "+34 806 12 34 56", "+39 899 123456", "+31 900 1234567", "+61 1900 123 456"),
        *("+979 1 2345 6789", "+1 500 555 0123"),
    ],
    "shared_cost": [
        *("+49 180 5 123456", "+43 810 123456", "+41 848 123 456", "+33 820 12 34 56", "+34 902 123 456"),
        *("+61 13 00 12", "+808 1234 5678"),
    ],
    "special_number": ["+49 18 123456"],
    "country": [
        *("+1 876 555 0123", "+1 809 555 0123", "+7 495 123 45 67", "+252 61 1234567", "+53 7 1234567"),
        *("+371 67 123456", "+247 40123", "+246 380 1234", "+39 06 6982", "+800 1234 5678"),
    ],
}


class NumbersTest(PureTestCase):
    def test_ordinary_numbers_of_allowed_countries(self) -> None:
        for text, (number, country) in MAY_BE_DIALLED.items():
            with self.subTest(text):
                self.assertEqual(dial_policy.check(text, WIDE, own_numbers=OWN), Allowed(number, country, 600))

    def test_everything_else_with_its_reason(self) -> None:
        for code, texts in REFUSED.items():
            for text in texts:
                with self.subTest(code=code, text=text):
                    self.assertEqual(dial_policy.check(text, WIDE, own_numbers=OWN), Refused(code))

    def test_there_are_enough_of_them(self) -> None:
        self.assertGreaterEqual(len(MAY_BE_DIALLED) + sum(map(len, REFUSED.values())), 60)

    def test_only_the_home_country_by_default(self) -> None:
        home = DialRules("DE")
        self.assertEqual(dial_policy.check("030 901820", home, own_numbers=OWN), Allowed("+4930901820", "DE", 1800))
        for text in ("+12125550123", "+43158858", "+41446681800"):
            self.assertEqual(dial_policy.check(text, home, own_numbers=OWN), Refused("country"))

    def test_every_refusal_has_a_sentence(self) -> None:
        for code in [*REFUSED, "do_not_call", "hourly_cap", "daily_cap", "attempts", "calling_hours"]:
            self.assertTrue(Refused(code).sentence.endswith("."), code)


class CapsTest(PureTestCase):
    def check(self, dialled: Dialled) -> dial_policy.Verdict:
        rules = dataclasses.replace(WIDE, max_per_hour=3, max_per_day=5, max_attempts=2)
        return dial_policy.check("+12125550123", rules, own_numbers=OWN, dialled=dialled)

    def test_caps_hold_from_the_number_that_reaches_them(self) -> None:
        self.assertIsInstance(self.check(Dialled(last_hour=2, last_day=4, attempts=1)), Allowed)
        self.assertEqual(self.check(Dialled(last_hour=3, last_day=4)), Refused("hourly_cap"))
        self.assertEqual(self.check(Dialled(last_hour=2, last_day=5)), Refused("daily_cap"))
        self.assertEqual(self.check(Dialled(last_hour=2, last_day=2, attempts=2)), Refused("attempts"))

    def test_who_is_not_to_be_called_is_not_called_however_the_number_is_written(self) -> None:
        verdict = dial_policy.check("(212) 555-0123", WIDE, own_numbers=OWN, do_not_call=frozenset({"+12125550123"}))
        self.assertEqual(verdict, Refused("do_not_call"))


class CallingHoursTest(PureTestCase):
    def at(self, hour: int, minute: int, *zones: str, rules: DialRules = WIDE) -> bool:
        return dial_policy.is_time_to_call(zones, rules, datetime(2026, 11, 23, hour, minute, tzinfo=UTC))

    def test_the_hours_are_those_of_the_zone(self) -> None:
        self.assertFalse(self.at(6, 59, "Europe/Berlin"))
        self.assertTrue(self.at(7, 0, "Europe/Berlin"))
        self.assertTrue(self.at(19, 59, "Europe/Berlin"))
        self.assertFalse(self.at(20, 0, "Europe/Berlin"))
        self.assertFalse(self.at(12, 0, "America/New_York"))

    def test_of_several_zones_it_must_be_time_in_each(self) -> None:
        self.assertTrue(self.at(19, 0, "America/New_York", "America/Los_Angeles"))
        self.assertFalse(self.at(15, 0, "America/New_York", "America/Los_Angeles"))

    def test_hours_may_go_over_midnight(self) -> None:
        night = dataclasses.replace(WIDE, calls_from=time(22), calls_until=time(2))
        self.assertTrue(self.at(23, 30, "UTC", rules=night))
        self.assertTrue(self.at(1, 59, "UTC", rules=night))
        self.assertFalse(self.at(12, 0, "UTC", rules=night))

    def test_from_and_until_the_same_hour_is_all_day(self) -> None:
        all_day = dataclasses.replace(WIDE, calls_from=time(0), calls_until=time(0))
        for hour in range(24):
            self.assertTrue(self.at(hour, 0, "UTC", rules=all_day))


class RowsTest(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = make_world("Our", 1)

    def check(self, text: str, *, to_colleague: bool = False) -> dial_policy.Verdict:
        return dialing.check(self.world.business.pk, text, NOW, to_colleague=to_colleague)

    def dial(self, age: timedelta, number: str = "+12125550199") -> None:
        call = self.world.call
        key = str(CallLeg.objects.count())
        CallLeg.objects.create(
            business=call.business, call=call, key=key, kind=LegKind.COLD, number=number, asked_at=NOW - age
        )

    def test_without_a_policy_the_defaults_hold(self) -> None:
        self.assertEqual(dialing.rules_of(self.world.business.pk), DialRules())
        self.assertEqual(self.check("212 555 0123"), Allowed("+12125550123", "US", 1800))
        self.assertEqual(self.check("+4930901820"), Refused("country"))

    def test_a_policy_is_read(self) -> None:
        DialPolicy.objects.create(business=self.world.business, home_country="DE", allowed_countries=["AT"])
        self.assertEqual(self.check("030 901820"), Allowed("+4930901820", "DE", 1800))
        self.assertEqual(self.check("+43158858"), Allowed("+43158858", "AT", 1800))
        self.assertEqual(self.check("+12125550123"), Refused("country"))

    def test_the_numbers_of_every_business_here_are_own_numbers(self) -> None:
        other = make_world("Their", 2)
        for number in (self.world.number.number, other.number.number):
            self.assertEqual(self.check(number), Refused("own_number"))

    def test_the_do_not_call_list_is_the_businesss_own_and_not_for_colleagues(self) -> None:
        other = make_world("Their", 2)
        DoNotCall.objects.create(business=other.business, number="+12125550123")
        self.assertIsInstance(self.check("+12125550123"), Allowed)
        DoNotCall.objects.create(business=self.world.business, number="+12125550123")
        self.assertEqual(self.check("(212) 555-0123"), Refused("do_not_call"))
        self.assertIsInstance(self.check("(212) 555-0123", to_colleague=True), Allowed)

    def test_legs_and_outbound_calls_count_and_old_ones_do_not(self) -> None:
        DialPolicy.objects.create(business=self.world.business, max_per_hour=2, max_per_day=4, max_attempts=99)
        self.dial(timedelta(minutes=59))
        self.dial(timedelta(minutes=61))
        self.assertIsInstance(self.check("+12125550123"), Allowed)
        self.dial(timedelta(minutes=1))
        self.assertEqual(self.check("+12125550123"), Refused("hourly_cap"))
        CallLeg.objects.filter(number="+12125550199").update(asked_at=NOW - timedelta(hours=2))
        outbound = CallLog.objects.create(
            call_sid="CAoutbound", business=self.world.business, direction="outbound", to_number="+12125550123"
        )
        CallLog.objects.filter(pk=outbound.pk).update(created_at=NOW - timedelta(hours=23))
        self.assertEqual(self.check("+12125550123"), Refused("daily_cap"))
        CallLog.objects.filter(pk=outbound.pk).update(created_at=NOW - timedelta(hours=25))
        self.assertIsInstance(self.check("+12125550123"), Allowed)

    def test_a_number_is_tried_so_often_in_a_day(self) -> None:
        for _ in range(3):
            self.dial(timedelta(hours=3), "+12125550123")
        self.assertEqual(self.check("212-555-0123"), Refused("attempts"))
        self.assertIsInstance(self.check("212-555-0123", to_colleague=True), Allowed)
        self.assertIsInstance(self.check("212-555-0124"), Allowed)

    def test_a_callee_at_home_has_the_businesss_zone_and_one_abroad_any_of_the_countrys(self) -> None:
        business = self.world.business
        self.assertEqual(dialing.zones_for("US", business, "US"), ("America/New_York",))
        self.assertEqual(dialing.zones_for("AT", business, "US"), ("Europe/Vienna",))
        self.assertIn("Australia/Perth", dialing.zones_for("AU", business, "US"))
        self.assertIn("Australia/Sydney", dialing.zones_for("AU", business, "US"))
