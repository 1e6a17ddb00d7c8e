"""The section on a call's page, the list of analyses, leads and their export: who sees what, and who may ask."""

from __future__ import annotations

import csv
import io
import logging
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import ValidationError
from django.test import TestCase
from django.urls import reverse

from analysis.models import MAX_FIELDS, AfterCallSettings, CallAnalysis, Lead, LeadField
from businesses.models import Membership
from calls.models import ConversationTurn
from tests.businesses.worlds import World, make_world, staff_member

ANALYSES = "/admin/analysis/callanalysis/"
LEADS = "/admin/analysis/lead/"
ATTACK = "<script>alert('canary')</script>"


class AdminCase(TestCase):
    ours: World
    theirs: World
    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours, cls.theirs = make_world("Ourword", 1), make_world("Theirword", 2)
        cls.user = staff_member(cls.ours.business)
        for world in (cls.ours, cls.theirs):
            ConversationTurn.objects.create(call=world.call, turn_index=1, user_text="A table", bot_reply="Yes")

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.client.force_login(self.user)

    def page(self, world: World) -> str:
        return self.client.get(reverse("admin:calls_calllog_change", args=[world.call.pk])).content.decode()

    def may_not(self, permission: str) -> None:
        self.user.user_permissions.remove(Permission.objects.get(codename=permission))
        self.client.force_login(User.objects.get(pk=self.user.pk))

    def state(self, world: World) -> str:
        return CallAnalysis.objects.get(call=world.call).state

    def ask(self, call_id: int, **options: Any) -> int:
        url = reverse("admin:analysis_callanalysis_again", args=[call_id])
        return int(self.client.post(url, **options).status_code)

    def act(self, url: str, action: str, *chosen: int, **more: str) -> Any:
        data = {"action": action, "_selected_action": [str(pk) for pk in chosen], **more}
        return self.client.post(url, data)


class CallPageTest(AdminCase):
    def test_the_page_of_a_call_shows_what_was_made_of_it(self) -> None:
        page = self.page(self.ours)
        for text in (
            'id="analysis"',
            "Ourword summary",
            "Settled in the call",
            "Neutral",
            "Ourword to do",
            "Ourword name</dt><dd>Ourword Ada",
            "I have booked Ourword.",
            "booked: not in the record",
            "is not in the record of this call",
            "Written by Ourword-model",
            "Analyse again",
        ):
            self.assertIn(text, page)

    def test_what_a_model_wrote_is_text_and_nothing_else(self) -> None:
        CallAnalysis.objects.filter(call=self.ours.call).update(
            summary=ATTACK,
            follow_ups=[ATTACK],
            lead_values={"their_name": ATTACK, ATTACK: ATTACK},
            claims=[{"kind": ATTACK, "tool": ATTACK, "quote": ATTACK, "is_backed": False}],
            model=ATTACK[:80],
            error=ATTACK[:40],
        )
        Lead.objects.filter(pk=self.ours.lead.pk).update(values={"x": {"value": ATTACK, "at": "", "call": 1}})
        change = reverse("admin:analysis_callanalysis_change", args=[self.ours.analysis.pk])
        lead = reverse("admin:analysis_lead_change", args=[self.ours.lead.pk])
        for url in (reverse("admin:calls_calllog_change", args=[self.ours.call.pk]), ANALYSES, change, LEADS, lead):
            with self.subTest(url):
                page = self.client.get(url).content.decode()
                self.assertNotIn(ATTACK, page)
                self.assertIn("canary", page)

    def test_the_section_says_how_far_it_is(self) -> None:
        row = CallAnalysis.objects.filter(call=self.ours.call)
        row.update(state="waiting", error="rate_limited", tries=2, summary="")
        page = self.page(self.ours)
        self.assertIn("rate_limited, 2 tries so far", page)
        self.assertNotIn("Analyse again", page)
        row.update(state="failed", error="key_refused", tries=1)
        self.assertIn("key_refused, 1 try so far", self.page(self.ours))
        row.delete()
        self.assertIn("This call has not been analysed.", self.page(self.ours))
        AfterCallSettings.objects.filter(business=self.ours.business).update(is_on=False)
        self.assertNotIn('id="analysis"', self.page(self.ours))

    def test_who_may_not_see_analyses_sees_none_and_who_may_not_ask_gets_no_button(self) -> None:
        self.may_not("change_callanalysis")
        page = self.page(self.ours)
        self.assertIn("Ourword summary", page)
        self.assertNotIn("Analyse again", page)
        self.may_not("view_callanalysis")
        self.assertNotIn('id="analysis"', self.page(self.ours))


class AgainTest(AdminCase):
    def test_the_button_asks_for_one_call_also_for_one_that_never_was(self) -> None:
        self.assertEqual(self.ask(self.ours.call.pk), 302)
        self.assertEqual(self.state(self.ours), "waiting")
        CallAnalysis.objects.all().delete()
        self.assertEqual(self.ask(self.ours.call.pk), 302)
        row = CallAnalysis.objects.get()
        self.assertEqual((row.state, row.business, row.tries), ("waiting", self.ours.business, 0))

    def test_a_call_that_goes_on_or_in_which_nobody_spoke_is_left(self) -> None:
        CallAnalysis.objects.all().delete()
        type(self.ours.call).objects.filter(pk=self.ours.call.pk).update(status="in-progress")
        self.ask(self.ours.call.pk)
        type(self.ours.call).objects.filter(pk=self.ours.call.pk).update(status="completed")
        ConversationTurn.objects.filter(call=self.ours.call).update(user_text="")
        self.ask(self.ours.call.pk)
        self.assertFalse(CallAnalysis.objects.exists())

    def test_another_businesss_call_is_not_there(self) -> None:
        self.assertEqual(self.ask(self.theirs.call.pk), 404)
        self.assertEqual(self.ask(10**9), 404)
        self.assertEqual(self.state(self.theirs), "done")

    def test_it_takes_the_permission_a_post_and_a_token(self) -> None:
        url = reverse("admin:analysis_callanalysis_again", args=[self.ours.call.pk])
        self.assertEqual(self.client.get(url).status_code, 405)
        strict = self.client_class(enforce_csrf_checks=True)
        strict.force_login(self.user)
        self.assertEqual(strict.post(url).status_code, 403)
        self.may_not("change_callanalysis")
        self.assertEqual(self.ask(self.ours.call.pk), 403)
        self.client.logout()
        self.assertEqual(self.ask(self.ours.call.pk), 302)  # to the login
        self.assertEqual(self.state(self.ours), "done")

    def test_many_at_once_but_none_of_another_business(self) -> None:
        self.act(ANALYSES, "analyse_again", self.ours.analysis.pk, self.theirs.analysis.pk)
        self.assertEqual((self.state(self.ours), self.state(self.theirs)), ("waiting", "done"))
        CallAnalysis.objects.update(state="done")
        self.act(ANALYSES, "analyse_again", self.ours.analysis.pk, select_across="1")
        self.assertEqual((self.state(self.ours), self.state(self.theirs)), ("waiting", "done"))
        CallAnalysis.objects.update(state="done")
        self.may_not("change_callanalysis")
        self.act(ANALYSES, "analyse_again", self.ours.analysis.pk)
        self.assertEqual(self.state(self.ours), "done")


class ListTest(AdminCase):
    def test_the_filter_finds_claims_without_a_deed(self) -> None:
        for query, found in (("claims=unbacked", 1), ("claims=backed", 0), ("state__exact=done", 1), ("outcome=x", 0)):
            response = self.client.get(f"{ANALYSES}?{query}")
            if response.status_code == 200:
                self.assertEqual(len(response.context["cl"].result_list), found, query)
        CallAnalysis.objects.update(has_unbacked_claim=False)
        self.assertEqual(len(self.client.get(f"{ANALYSES}?claims=backed").context["cl"].result_list), 1)
        self.assertEqual(len(self.client.get(f"{ANALYSES}?claims=unbacked").context["cl"].result_list), 0)

    def test_an_analysis_cannot_be_edited_added_or_deleted(self) -> None:
        url = reverse("admin:analysis_callanalysis_change", args=[self.ours.analysis.pk])
        self.assertEqual(self.client.post(url, {"summary": "x"}).status_code, 403)
        self.assertEqual(self.client.get(f"{ANALYSES}add/").status_code, 403)
        self.assertEqual(
            self.client.post(f"{ANALYSES}{self.ours.analysis.pk}/delete/", {"post": "yes"}).status_code, 403
        )

    def test_an_operator_may_read_ask_again_and_say_what_to_look_for(self) -> None:
        operator = User.objects.create_user("opal", is_staff=True)
        operator.groups.add(Group.objects.get(name="Operators"))
        Membership.objects.create(user=operator, business=self.ours.business)
        self.client.force_login(operator)
        for url in (ANALYSES, LEADS, "/admin/analysis/leadfield/add/", "/admin/analysis/aftercallsettings/"):
            self.assertEqual(self.client.get(url).status_code, 200, url)
        self.assertEqual(self.ask(self.ours.call.pk), 302)
        self.assertEqual(self.state(self.ours), "waiting")


class LeadTest(AdminCase):
    def export(self, *chosen: int, **more: str) -> list[list[str]]:
        response = self.act(LEADS, "export_csv", *chosen, **more)
        self.assertEqual(response["Content-Type"], "text/csv; charset=utf-8")
        return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"))))

    def test_an_export_has_a_column_for_each_field_and_no_formula(self) -> None:
        LeadField.objects.create(business=self.ours.business, name="people", label="People", kind="number", position=1)
        known = {"value": "=HYPERLINK()", "at": "", "call": 1}
        Lead.objects.filter(pk=self.ours.lead.pk).update(values={"their_name": known, "old": known | {"value": 3}})
        header, row = self.export(self.ours.lead.pk)
        self.assertEqual(header, ["business", "number", "last_call", "their_name", "people", "old"])
        self.assertEqual(row[:2] + row[3:], ["Ourword Dental", "'+15551100142", "'=HYPERLINK()", "", "3"])

    def test_an_export_never_has_another_businesss_leads(self) -> None:
        for more in ({}, {"select_across": "1"}):
            rows = self.export(self.ours.lead.pk, self.theirs.lead.pk, **more)
            self.assertEqual([row[0] for row in rows[1:]], ["Ourword Dental"])

    def test_a_lead_can_be_deleted_with_the_permission_and_not_edited(self) -> None:
        url = f"{LEADS}{self.ours.lead.pk}/"
        self.assertEqual(self.client.post(f"{url}change/", {"number": "+1"}).status_code, 403)
        self.client.post(f"{url}delete/", {"post": "yes"})
        self.assertFalse(Lead.objects.filter(pk=self.ours.lead.pk).exists())
        self.assertEqual(self.client.post(f"{LEADS}{self.theirs.lead.pk}/delete/", {"post": "yes"}).status_code, 302)
        self.assertTrue(Lead.objects.filter(pk=self.theirs.lead.pk).exists())


class FieldTest(AdminCase):
    def check(self, **changes: Any) -> None:
        fields: dict[str, Any] = {"business": self.ours.business, "name": "x", "label": "X"}
        LeadField(**(fields | changes)).full_clean()

    def test_what_a_field_may_be(self) -> None:
        self.check()
        self.check(kind="choice", choices=["a", "b"])
        for wrong in (
            {"name": "Two words"},
            {"name": "1st"},
            {"name": "x\n"},
            {"name": "their_name"},  # there already
            {"kind": "choice"},
            {"choices": ["a"]},
            {"kind": "choice", "choices": ["a", "a"]},
            {"kind": "choice", "choices": [1]},
            {"kind": "choice", "choices": {"a": 1}},
            {"kind": "choice", "choices": ["x" * 81]},
        ):
            with self.subTest(wrong), self.assertRaises(ValidationError):
                self.check(**wrong)

    def test_there_is_a_most(self) -> None:
        rows = [LeadField(business=self.ours.business, name=f"f{n}", label="F") for n in range(MAX_FIELDS - 1)]
        LeadField.objects.bulk_create(rows)
        with self.assertRaises(ValidationError):
            self.check()

    def test_nobody_adds_a_field_or_a_switch_to_another_business(self) -> None:
        theirs = str(self.theirs.business.pk)
        for url, data in (
            (
                "/admin/analysis/leadfield/add/",
                {"name": "new", "label": "N", "kind": "text", "choices": "[]", "position": 0},
            ),
            ("/admin/analysis/aftercallsettings/add/", {"is_on": "on"}),
        ):
            response = self.client.post(url, {"business": theirs, **data})
            self.assertEqual(response.status_code, 200)
            self.assertIn("business", response.context["adminform"].form.errors)
        self.assertEqual(LeadField.objects.filter(business=self.theirs.business).count(), 1)
