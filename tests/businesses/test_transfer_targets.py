"""Whom callers are put through to, in admin."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, User
from django.test import TestCase
from django.urls import reverse

from businesses.models import DialPolicy, Membership, TransferTarget
from tests.businesses.worlds import World, make_world, staff_member

LIST = "/admin/businesses/transfertarget/"


class TargetPagesTest(TestCase):
    ours: World
    theirs: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours, cls.theirs = make_world("Our", 1), make_world("Their", 2)

    def setUp(self) -> None:
        self.client.force_login(staff_member(self.ours.business))

    def form(self, **fields: Any) -> dict[str, Any]:
        named = {"name": "Nina", "description": "Sales", "number": "(212) 555-0123", "is_active": "on"}
        return {**named, "business": self.ours.business.pk, "ring_seconds": "25", "kind": "warm", **fields}

    def test_a_target_is_added_as_its_number_is_written(self) -> None:
        self.assertEqual(self.client.post(f"{LIST}add/", self.form()).status_code, 302)
        target = TransferTarget.objects.get(name="Nina")
        self.assertEqual(
            (target.number, target.kind, target.ring_seconds, target.business),
            ("+12125550123", "warm", 25, self.ours.business),
        )
        self.assertContains(self.client.get(LIST), "Nina")

    def test_what_cannot_be_one_is_refused_with_a_sentence(self) -> None:
        for fields, sentence in (
            ({"number": "nobody"}, "There is no such phone number."),
            ({"ring_seconds": "4"}, "greater than or equal to 5"),
            ({"name": self.ours.target.name}, "already exists"),
            ({"business": self.theirs.business.pk}, "Select a valid choice"),
        ):
            with self.subTest(fields):
                self.assertContains(self.client.post(f"{LIST}add/", self.form(**fields)), sentence)
        self.assertEqual(TransferTarget.objects.count(), 2)

    def test_a_number_that_is_changed_is_read_as_in_the_businesss_country(self) -> None:
        DialPolicy.objects.create(business=self.ours.business, home_country="DE")
        url = reverse("admin:businesses_transfertarget_change", args=[self.ours.target.pk])
        form = self.form(number="030 901820", business=self.theirs.business.pk)
        self.assertEqual(self.client.post(url, form).status_code, 302)
        self.ours.target.refresh_from_db()
        self.assertEqual((self.ours.target.number, self.ours.target.business), ("+4930901820", self.ours.business))

    def test_another_businesss_target_is_not_there(self) -> None:
        self.assertNotContains(self.client.get(LIST), "Their")
        for page in ("change", "delete", "history"):
            url = reverse(f"admin:businesses_transfertarget_{page}", args=[self.theirs.target.pk])
            self.assertIn(self.client.post(url, {"post": "yes", **self.form()}).status_code, {302, 404, 405})
        self.theirs.target.refresh_from_db()
        self.assertEqual(self.theirs.target.name, "Their front desk")

    def test_an_operator_looks_after_them(self) -> None:
        operator = User.objects.create_user("otto", is_staff=True)
        operator.groups.add(Group.objects.get(name="Operators"))
        Membership.objects.create(user=operator, business=self.ours.business)
        self.client.force_login(operator)
        self.assertEqual(self.client.post(f"{LIST}add/", self.form()).status_code, 302)
        url = reverse("admin:businesses_transfertarget_delete", args=[self.ours.target.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 302)
        self.assertEqual(TransferTarget.objects.filter(business=self.ours.business).get().name, "Nina")
