"""The do-not-call list and the dial policy in admin."""

from __future__ import annotations

from typing import Any
from unittest import TestCase as PureTestCase

from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import TestCase
from django.urls import reverse

from businesses import do_not_call
from businesses.models import Business, DialPolicy, DoNotCall, DoNotCallSource
from tests.businesses.worlds import World, hours_form, make_world, staff_member


class CsvTest(PureTestCase):
    def read(self, text: str | bytes, home: str = "DE") -> do_not_call.Listed:
        return do_not_call.read_csv(text.encode() if isinstance(text, str) else text, home)

    def test_numbers_with_and_without_notes_headings_and_blank_lines(self) -> None:
        listed = self.read("\ufeffNumber,Note\r\n030 901820,asked twice\r\n\r\n+43 1 58858\r\n,,\r\n")
        self.assertEqual(listed.numbers, {"+4930901820": "asked twice", "+43158858": ""})
        self.assertEqual(listed.errors, [])

    def test_semicolons_as_german_spreadsheets_write_them(self) -> None:
        self.assertEqual(self.read("+43 1 58858;genug, danke\n").numbers, {"+43158858": "genug, danke"})

    def test_the_same_number_twice_counts_once(self) -> None:
        self.assertEqual(self.read("030 901820,first\n+4930901820,second\n").numbers, {"+4930901820": "first"})

    def test_each_wrong_line_has_a_sentence_with_its_number(self) -> None:
        listed = self.read("+43 1 58858\nnobody\n12\n+43 1 58858," + "x" * 201 + "\n")
        self.assertEqual(
            listed.errors,
            [
                "Line 2: “nobody” is not a phone number.",
                "Line 3: “12” is not a phone number.",
                "Line 4: the note is longer than 200 characters.",
            ],
        )

    def test_what_is_no_csv_at_all(self) -> None:
        for data in (b"\xff\xfe0\x001\x00", b"\x00" * 9, b"+43158858\n" * 200_000):
            with self.subTest(data[:9]):
                listed = self.read(data)
                self.assertEqual((len(listed.errors), listed.numbers), (1, {}))
        self.assertIn("20000 lines", self.read("\n" * 20_001 + "x").errors[0])


class ListPagesTest(TestCase):
    ours: World
    theirs: World
    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours, cls.theirs = make_world("Our", 1), make_world("Their", 2)
        cls.user = staff_member(cls.ours.business)
        DoNotCall.objects.all().delete()

    def setUp(self) -> None:
        self.client.force_login(self.user)

    def upload(self, text: str, business: Business | None = None) -> Any:
        file = SimpleUploadedFile("list.csv", text.encode())
        data = {"business": (business or self.ours.business).pk, "file": file}
        return self.client.post(reverse("admin:businesses_donotcall_import"), data, follow=True)

    def numbers(self) -> list[str]:
        return sorted(DoNotCall.objects.values_list("number", flat=True))

    def test_a_list_is_imported_and_importing_it_again_adds_nothing(self) -> None:
        self.assertContains(self.upload("212 555 0123,by letter\n+12125550124\n"), "2 numbers added.")
        row = DoNotCall.objects.get(number="+12125550123")
        self.assertEqual((row.business, row.source, row.note), (self.ours.business, "import", "by letter"))
        self.assertContains(self.upload("212 555 0123\n"), "0 numbers added. 1 were on the list already.")
        self.assertEqual(self.numbers(), ["+12125550123", "+12125550124"])

    def test_one_wrong_line_and_nothing_is_imported(self) -> None:
        response = self.upload("212 555 0123\nnobody\n")
        self.assertContains(response, "Line 2: “nobody” is not a phone number.")
        self.assertEqual(self.numbers(), [])

    def test_another_business_cannot_be_imported_for(self) -> None:
        self.assertContains(self.upload("212 555 0123\n", self.theirs.business), "Select a valid choice")
        self.assertEqual(self.numbers(), [])
        self.assertNotContains(self.client.get(reverse("admin:businesses_donotcall_import")), "Their")

    def test_without_the_permission_to_add_there_is_no_import(self) -> None:
        self.user.user_permissions.clear()
        self.assertEqual(self.upload("212 555 0123\n").status_code, 403)
        self.assertEqual(self.numbers(), [])

    def test_a_number_is_added_as_it_is_written_and_kept_in_one_form(self) -> None:
        url = reverse("admin:businesses_donotcall_add")
        self.client.post(url, {"business": self.ours.business.pk, "number": "(212) 555-0123", "note": ""})
        row = DoNotCall.objects.get()
        self.assertEqual((row.number, row.source), ("+12125550123", DoNotCallSource.ADMIN))
        again = self.client.post(url, {"business": self.ours.business.pk, "number": "212-555-0123", "note": ""})
        self.assertContains(again, "already exists")
        wrong = self.client.post(url, {"business": self.ours.business.pk, "number": "12", "note": ""})
        self.assertContains(wrong, "There is no such phone number.")
        self.assertEqual(self.numbers(), ["+12125550123"])

    def test_operators_may_look_after_it(self) -> None:
        group = Group.objects.get(name="Operators")
        names = set(group.permissions.values_list("codename", flat=True))
        self.assertLessEqual({"add_donotcall", "delete_donotcall", "change_dialpolicy", "add_dialpolicy"}, names)


class DialPolicyPageTest(TestCase):
    def setUp(self) -> None:
        self.world = make_world("Our", 1)
        self.client.force_login(staff_member(self.world.business))

    def save(self, **changes: str) -> Any:
        policy = DialPolicy.objects.filter(business=self.world.business).first()
        fields = {
            "id": str(policy.pk) if policy else "",
            "business": str(self.world.business.pk),
            "home_country": "US",
            "allowed_countries": "",
            "max_per_hour": "60",
            "max_per_day": "300",
            "max_at_once": "5",
            "max_attempts": "3",
            "calls_from": "08:00:00",
            "calls_until": "21:00:00",
            "max_call_seconds": "1800",
        }
        page = {"name": "Our Dental", "time_zone": "America/New_York", "language": "en"}
        page |= {"when_busy": "forward", "is_active": "on", **hours_form()}
        page |= {"dial_policy-TOTAL_FORMS": "1", "dial_policy-INITIAL_FORMS": "1" if policy else "0"}
        page |= {f"dial_policy-0-{name}": value for name, value in (fields | changes).items()}
        url = reverse("admin:businesses_business_change", args=[self.world.business.pk])
        return self.client.post(url, page)

    def test_the_defaults_are_not_written_and_changes_are(self) -> None:
        self.save()
        self.assertFalse(DialPolicy.objects.exists())
        self.save(home_country="de", allowed_countries="ch, AT")
        policy = DialPolicy.objects.get()
        self.assertEqual((policy.home_country, policy.allowed_countries), ("DE", ["AT", "CH"]))
        self.save(home_country="DE", allowed_countries="AT CH", max_per_hour="7")
        policy.refresh_from_db()
        self.assertEqual((policy.max_per_hour, policy.allowed_countries), (7, ["AT", "CH"]))

    def test_what_is_no_country_is_refused_with_a_sentence(self) -> None:
        self.assertContains(self.save(allowed_countries="AT ZZ"), "Not a country: ZZ")
        self.assertContains(self.save(home_country="Q1"), "Not a country.")
        self.assertFalse(DialPolicy.objects.exists())
