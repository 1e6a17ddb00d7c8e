"""A staff user sees and changes rows of their own businesses only, by whatever address of admin they try.

The addresses are read from the URLconf and the models from admin's registry, so that a page added later is tried too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import time
from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.test import TestCase
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from businesses.models import Agent, AgentVersion, Business, Membership, OpeningHours, PhoneNumber
from businesses.tenancy import TenantAdmin
from tests.businesses.worlds import World, hours_form, make_world, staff_member

OURS, THEIRS = "Ourword", "Theirword"
REFUSED = {302, 403, 404, 405}


def admin_routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Yield every route below admin/ as written in the URLconf, like admin/calls/calllog/<path:object_id>/change/."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from admin_routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern) and route.startswith("admin/"):
            yield route


def object_routes(model: type[Model]) -> list[str]:
    start = f"admin/{model._meta.app_label}/{model._meta.model_name}/"
    return [route for route in admin_routes() if route.startswith(start) and "<path:object_id>" in route]


def plain_routes() -> list[str]:
    """Routes without an argument, and those of each app's index; not the way out."""
    routes = [route for route in admin_routes() if "<" not in route and not route.endswith("logout/")]
    apps = sorted({model._meta.app_label for model in admin.site._registry})
    return [route for route in routes if "(?P" not in route] + [f"admin/{app}/" for app in apps]


class TwoBusinessesTest(TestCase):
    ours: World
    theirs: World
    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours = make_world(OURS, 1)
        cls.theirs = make_world(THEIRS, 2)
        cls.user = staff_member(cls.ours.business)

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)  # a line for each of hundreds of requests
        self.addCleanup(logging.disable, logging.NOTSET)
        self.client.force_login(self.user)

    def their_rows(self) -> list[dict[str, Any]]:
        return [type(row)._default_manager.filter(pk=row.pk).values().get() for row in self.theirs.rows()]

    def messages_after(self) -> str:
        return self.client.get("/admin/").content.decode()


class EveryAddressTest(TwoBusinessesTest):
    def test_no_page_about_another_businesss_row_opens_and_nothing_is_changed(self) -> None:
        before, tried = self.their_rows(), 0
        form = {"name": "Taken", "_save": "1", "_publish": "1", "post": "yes", "business": self.ours.business.pk}
        for row in self.theirs.rows():
            for route in object_routes(type(row)):
                url = "/" + route.replace("<path:object_id>", quote(str(row.pk)))
                for response in (self.client.get(url), self.client.post(url, form)):
                    with self.subTest(url=url, method=response.request["REQUEST_METHOD"]):
                        self.assertIn(response.status_code, REFUSED)
                        self.assertNotIn(THEIRS, response.content.decode())
                        self.assertNotIn(THEIRS, self.messages_after())
                        tried += 1
        self.assertEqual(self.their_rows(), before)
        # change, history, delete and the old form of the address, of every model with pages, twice.
        self.assertGreaterEqual(tried, 2 * 4 * sum(isinstance(a, TenantAdmin) for a in admin.site._registry.values()))

    def test_the_same_pages_open_for_rows_of_the_own_business(self) -> None:
        for row in self.ours.rows():
            for route in object_routes(type(row)):
                if route.endswith(("change/", "history/")):
                    url = "/" + route.replace("<path:object_id>", quote(str(row.pk)))
                    with self.subTest(url=url):
                        self.assertEqual(self.client.get(url).status_code, 200)

    def test_no_list_form_or_menu_names_another_business(self) -> None:
        for route in plain_routes():
            with self.subTest(route=route):
                response = self.client.get("/" + route)
                self.assertIn(response.status_code, {200, *REFUSED})
                self.assertNotIn(THEIRS, response.content.decode())

    def test_lists_show_the_own_rows(self) -> None:
        for model in (Business, Agent, PhoneNumber):
            with self.subTest(model=model.__name__):
                self.assertContains(
                    self.client.get(reverse(f"admin:businesses_{model._meta.model_name}_changelist")), OURS
                )
        self.assertContains(self.client.get(reverse("admin:calls_calllog_changelist")), OURS)

    def test_the_redirect_to_a_rows_own_page_says_nothing_of_another_businesss_row(self) -> None:
        for row in self.theirs.rows():
            kind = ContentType.objects.get_for_model(row)
            response = self.client.get(reverse("admin:view_on_site", args=[kind.pk, row.pk]))
            self.assertEqual(response.status_code, 404)
            self.assertNotIn(THEIRS, response.content.decode())

    def test_no_filter_or_search_reaches_another_businesss_rows(self) -> None:
        queries = [
            f"business={self.theirs.business.pk}",
            f"business__id__exact={self.theirs.business.pk}",
            f"agent={self.theirs.agent.pk}",
            f"agent__id__exact={self.theirs.agent.pk}",
            f"agent_version={self.theirs.published.pk}",
            f"id__exact={self.theirs.call.pk}",
            f"q={THEIRS}",
            f"q={self.theirs.call.call_sid}",
            f"q={quote(self.theirs.number.number)}",
            "all=",
            "_facets=True",
        ]
        for route in plain_routes():
            for query in queries:
                with self.subTest(route=route, query=query):
                    response = self.client.get(f"/{route}?{query}")
                    # A search box repeats what was searched for; the word may stand nowhere else.
                    text = re.sub(r'value="[^"]*"|href="[^"]*"', "", response.content.decode())
                    self.assertNotIn(THEIRS, text)

    def test_no_autocompletion_offers_another_businesss_rows(self) -> None:
        models: list[type[Model]] = [*admin.site._registry, Membership]
        fields = [
            (model, field)
            for model in models
            for field in model._meta.get_fields()
            if field.many_to_one and field.concrete
        ]
        self.assertTrue(fields)
        for model, field in fields:
            query = {
                "app_label": model._meta.app_label,
                "model_name": str(model._meta.model_name),
                "field_name": field.name,
            }
            for term in ("", THEIRS):
                with self.subTest(**query, term=term):
                    response = self.client.get(reverse("admin:autocomplete"), {**query, "term": term})
                    self.assertNotIn(THEIRS, response.content.decode())


class RelationsTest(TwoBusinessesTest):
    def test_a_number_cannot_be_given_to_another_business_or_its_agent(self) -> None:
        url = reverse("admin:businesses_phonenumber_change", args=[self.ours.number.pk])
        for business, agent in (
            (self.theirs.business, self.theirs.agent),
            (self.ours.business, self.theirs.agent),
            (self.theirs.business, self.ours.agent),
        ):
            data = {"number": "+15551100100", "business": business.pk, "agent": agent.pk, "is_active": "on"}
            response = self.client.post(url, data)
            self.assertContains(response, "Select a valid choice")
        self.ours.number.refresh_from_db()
        self.assertEqual((self.ours.number.business, self.ours.number.agent), (self.ours.business, self.ours.agent))

    def test_an_agent_cannot_be_made_for_or_moved_to_another_business(self) -> None:
        formset = {"versions-TOTAL_FORMS": "0", "versions-INITIAL_FORMS": "0"}
        data = {"name": "Spy", "business": self.theirs.business.pk, **formset}
        self.assertContains(self.client.post(reverse("admin:businesses_agent_add"), data), "Select a valid choice")
        self.client.post(reverse("admin:businesses_agent_change", args=[self.ours.agent.pk]), data)
        self.ours.agent.refresh_from_db()
        self.assertEqual(self.ours.agent.business, self.ours.business)

    def test_another_businesss_draft_cannot_be_edited_through_the_own_agents_form(self) -> None:
        data = {
            "name": self.ours.agent.name,
            "versions-TOTAL_FORMS": "1",
            "versions-INITIAL_FORMS": "1",
            "versions-0-id": str(self.theirs.draft.pk),
            "versions-0-agent": str(self.ours.agent.pk),
            "versions-0-greeting": "Taken over",
            "versions-0-instructions": "x",
            "versions-0-voice": "marin",
            "versions-0-language": "en",
            "versions-0-max_call_seconds": "60",
            "versions-0-turn_detection": '{"type": "server_vad"}',
        }
        before = self.their_rows()
        self.client.post(reverse("admin:businesses_agent_change", args=[self.ours.agent.pk]), data)
        self.assertEqual(self.their_rows(), before)
        self.assertFalse(AgentVersion.objects.filter(greeting="Taken over").exists())

    def test_a_member_cannot_let_anybody_into_a_business(self) -> None:
        other = get_user_model().objects.create_user("other", is_staff=True)
        data = {
            "name": "Renamed",
            "time_zone": "UTC",
            "language": "en",
            "when_busy": "forward",
            **hours_form(),
            "memberships-TOTAL_FORMS": "1",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-user": str(other.pk),
            "memberships-0-business": str(self.ours.business.pk),
        }
        url = reverse("admin:businesses_business_change", args=[self.ours.business.pk])
        self.assertNotContains(self.client.get(url), "memberships-")
        self.client.post(url, data)
        self.assertEqual(Business.objects.get(pk=self.ours.business.pk).name, "Renamed")
        self.assertFalse(Membership.objects.filter(user=other).exists())

    def test_hours_and_the_agent_when_closed_are_of_the_own_business(self) -> None:
        """Also for whoever works for both businesses and may choose from either elsewhere."""
        self.client.force_login(staff_member(self.ours.business, self.theirs.business, name="both"))
        url = reverse("admin:businesses_business_change", args=[self.ours.business.pk])
        form = {"name": "Renamed", "time_zone": "UTC", "language": "en", "when_busy": "forward"}
        row = {"opening_hours-TOTAL_FORMS": "1", "opening_hours-0-weekday": "0", "opening_hours-0-opens": "09:00"}
        row |= {"opening_hours-0-closes": "10:00", "opening_hours-0-business": str(self.ours.business.pk)}
        foreign_number = {**row, "opening_hours-0-number": str(self.theirs.number.pk)}
        foreign_agent = {"closed_agent": str(self.theirs.agent.pk)}
        self.assertContains(self.client.post(url, form | hours_form(**foreign_number)), "Select a valid choice")
        self.assertContains(self.client.post(url, form | hours_form(**foreign_agent)), "belongs to another business")
        self.assertEqual(Business.objects.get(pk=self.ours.business.pk).name, self.ours.business.name)
        self.assertFalse(OpeningHours.objects.exists())
        number = {"number": self.ours.number.number, "business": self.ours.business.pk, "agent": self.ours.agent.pk}
        page = reverse("admin:businesses_phonenumber_change", args=[self.ours.number.pk])
        self.assertContains(self.client.post(page, number | foreign_agent), "belongs to another business")

    def test_a_member_of_one_is_not_shown_the_others_numbers_and_agents(self) -> None:
        page = self.client.get(reverse("admin:businesses_business_change", args=[self.ours.business.pk]))
        self.assertContains(page, self.ours.number.number)
        self.assertNotContains(page, self.theirs.number.number)
        self.assertNotContains(page, THEIRS)

    def test_another_businesss_hours_cannot_be_changed_through_the_own_page(self) -> None:
        hours = OpeningHours.objects.create(business=self.theirs.business, weekday=0, opens=time(9), closes=time(17))
        row = {"opening_hours-TOTAL_FORMS": "1", "opening_hours-INITIAL_FORMS": "1", "opening_hours-0-id": hours.pk}
        row |= {"opening_hours-0-weekday": "6", "opening_hours-0-opens": "01:00", "opening_hours-0-closes": "02:00"}
        form = {"name": "Renamed", "time_zone": "UTC", "language": "en", "when_busy": "forward", **hours_form(**row)}
        self.client.post(reverse("admin:businesses_business_change", args=[self.ours.business.pk]), form)
        hours.refresh_from_db()
        self.assertEqual((hours.business, hours.weekday, hours.opens), (self.theirs.business, 0, time(9)))

    def test_a_member_can_neither_make_nor_remove_a_business(self) -> None:
        self.assertEqual(self.client.get(reverse("admin:businesses_business_add")).status_code, 403)
        url = reverse("admin:businesses_business_delete", args=[self.ours.business.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)

    def test_recent_actions_are_the_users_own(self) -> None:
        boss = get_user_model().objects.create_superuser("boss")
        LogEntry.objects.log_actions(boss.pk, [self.theirs.business], 2, single_object=True)
        self.assertNotContains(self.client.get("/admin/"), THEIRS)


class WhoSeesWhatTest(TwoBusinessesTest):
    def test_staff_without_a_membership_sees_no_rows(self) -> None:
        self.client.force_login(staff_member(name="nobody"))
        for route in plain_routes():
            content = self.client.get("/" + route).content.decode()
            self.assertNotIn(THEIRS, content, route)
            self.assertNotIn(OURS, content, route)

    def test_a_member_of_both_sees_both_and_a_superuser_sees_all(self) -> None:
        both = staff_member(self.ours.business, self.theirs.business, name="both")
        for user in (both, get_user_model().objects.create_superuser("boss")):
            self.client.force_login(user)
            response = self.client.get(reverse("admin:calls_calllog_changelist"))
            self.assertContains(response, OURS)
            self.assertContains(response, THEIRS)

    def test_models_that_name_no_business_are_for_superusers_only(self) -> None:
        others = [model for model, a in admin.site._registry.items() if not isinstance(a, TenantAdmin)]
        self.assertLessEqual(
            {"calls.RefusedFact", "auth.User", "auth.Group", "django_celery_results.TaskResult"},
            {model._meta.label for model in others},
        )
        boss = get_user_model().objects.create_superuser("boss")
        for model in others:
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            with self.subTest(url=url):
                self.client.force_login(self.user)
                self.assertEqual(self.client.get(url).status_code, 403)
                self.client.force_login(boss)
                self.assertEqual(self.client.get(url).status_code, 200)
