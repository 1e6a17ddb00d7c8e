"""Every address there is, asked by a member of one business with the ids of another: nothing is found, nothing changes.

The pages are read from admin's registry and the URLconf. A page whose model has no row in tests.businesses.worlds, or
whose address has a part that nobody here can fill, fails the test: so one that is added later is tried too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from django.apps import apps
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Model
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from businesses.tenancy import TenantAdmin
from calls import recording_pages
from calls.models import Recording
from tests.businesses.test_tenant_isolation import THEIRS, TwoBusinessesTest, admin_routes
from tests.businesses.worlds import World

NOBODY = 987_654  # an id that no row has
FORM = {"name": "Taken", "note": "Taken", "_save": "1", "_publish": "1", "post": "yes", "to_number": "+12125550199"}
_PART = re.compile(r"<(?:\w+:)?(\w+)>")


def tenants() -> list[tuple[type[Model], TenantAdmin]]:
    """The models whose pages members of a business may open."""
    return [(model, a) for model, a in admin.site._registry.items() if isinstance(a, TenantAdmin)]


def row_of(world: World, model: type[Model]) -> Model | None:
    return next((row for row in world.rows() if type(row) is model), None)


def everything() -> dict[str, list[Any]]:
    """All rows of all tables, but for the sessions, which only keep what a page says next."""
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    with connection.cursor() as cursor:
        rows = {}
        for table in sorted(tables - {Session._meta.db_table}):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows[table] = sorted(map(repr, cursor.fetchall()))
    return rows


def other_routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Those outside admin."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from () if route.startswith("admin/") else other_routes(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            yield route


class ForeignIdsTest(TwoBusinessesTest):
    def setUp(self) -> None:
        super().setUp()
        # One that could be heard; ours has none of that.
        Recording.objects.filter(pk=self.theirs.recording.pk).update(state="stored", file="recordings/theirs.wav")
        self.before = everything()

    def unchanged(self) -> None:
        after = everything()
        for table, rows in self.before.items():
            self.assertEqual(after[table], rows, table)

    def fillings(self, route: str, world: World) -> dict[str, str]:
        """What stands for each part of a route, for a row of that business. KeyError: nobody here knows."""
        known: dict[str, object] = {
            "recording_id": world.recording.pk,
            "call_id": world.call.pk,
            "key": world.clip.key,
            "token": recording_pages.address(world.recording, self.user).rstrip("/").rpartition("/")[2],
            "id": self.user.pk,  # of a user: for superusers
            "content_type_id": ContentType.objects.get_for_model(world.call).pk,
        }
        model = next((model for model, _ in tenants() if route.startswith(self.start(model))), type(world.call))
        row = row_of(world, model)
        if row is not None:
            known["object_id"] = row.pk
        return {part: quote(str(known[part]), safe="") for part in _PART.findall(route)}

    @staticmethod
    def start(model: type[Model]) -> str:
        return f"admin/{model._meta.app_label}/{model._meta.model_name}/"

    def routes(self) -> list[str]:
        """Admin's, with something to be filled in, but for those of models that only superusers see."""
        hidden = [self.start(model) for model, a in admin.site._registry.items() if not isinstance(a, TenantAdmin)]
        routes = [route for route in admin_routes() if _PART.search(route) and "(?P" not in route]
        return [route for route in routes if not any(route.startswith(start) for start in hidden)]

    def address(self, route: str, world: World) -> str:
        filled = self.fillings(route, world)
        return "/" + _PART.sub(lambda part: filled[part[1]], route)

    def test_both_worlds_have_a_row_of_every_model_with_pages(self) -> None:
        for model, _ in tenants():
            for world in (self.ours, self.theirs):
                with self.subTest(model=model.__name__, world=world.word):
                    self.assertIsNotNone(row_of(world, model), "make one in tests.businesses.worlds.make_world")

    def test_every_address_with_a_foreign_id_is_answered_as_if_there_were_no_such_row(self) -> None:
        tried = 0
        for route in self.routes():
            theirs = self.address(route, self.theirs)
            nobodys = "/" + _PART.sub(lambda part: "no-such" if part[1] in ("token", "key") else str(NOBODY), route)
            for method in (self.client.get, self.client.post):
                with self.subTest(url=theirs, method=method.__name__):
                    response, unknown = method(theirs, FORM), method(nobodys, FORM)
                    self.assertEqual(response.status_code, unknown.status_code)
                    self.assertIn(response.status_code, {302, 403, 404, 405})
                    for content in (response.content.decode(), self.messages_after()):
                        self.assertNotIn(THEIRS, content)
                    tried += 1
        self.assertGreaterEqual(tried, 2 * 4 * len(tenants()))  # change, delete, history and the old form
        self.unchanged()

    def test_the_same_addresses_lead_somewhere_for_an_own_row(self) -> None:
        """Else the test before would prove nothing."""
        Recording.objects.filter(pk=self.ours.recording.pk).update(state="stored", file="recordings/ours.wav")
        found = []
        for route in self.routes():
            response = self.client.get(self.address(route, self.ours))
            if response.status_code == 200:
                found.append(route)
        for model, _ in tenants():
            self.assertIn(f"{self.start(model)}<path:object_id>/change/", found)
        self.assertIn("admin/calls/recording/<int:recording_id>/address/", found)
        self.assertIn("admin/businesses/agentversion/<path:object_id>/sentences/<slug:key>.wav", found)

    def test_no_action_of_a_list_takes_rows_of_another_business(self) -> None:
        tried = []
        request = RequestFactory().get("/")
        request.user = self.user
        for model, model_admin in tenants():
            row = row_of(self.theirs, model)
            assert row is not None
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            for action in [*model_admin.get_actions(request), "delete_selected"]:
                with self.subTest(url=url, action=action):
                    response = self.client.post(
                        url, {"action": action, "_selected_action": [row.pk], "post": "yes", "index": 0}, follow=True
                    )
                    self.assertIn(response.status_code, {200, 403, 405})
                    content = response.content.decode()
                    self.assertNotIn(THEIRS, content)
                    self.assertNotIn(self.theirs.call.call_sid[-6:], content)
                    tried.append(action)
        self.assertIn("replay", tried)
        self.unchanged()

    def test_no_row_is_made_for_another_business(self) -> None:
        """What a form sends beside its own fields is passed over, and its choices are the own rows."""
        foreign = {
            "business": self.theirs.business.pk,
            "agent": self.theirs.agent.pk,
            "call": self.theirs.call.pk,
            "number": "+12125550177",
            **FORM,
        }
        for model, _ in tenants():
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")
            with self.subTest(url=url):
                response = self.client.post(url, foreign)
                self.assertIn(response.status_code, {200, 403, 404, 405})  # 302: it was made
                self.assertNotIn(THEIRS, response.content.decode())
        self.unchanged()

    def test_addresses_outside_admin_are_not_for_members(self) -> None:
        routes = list(other_routes())
        self.assertIn("twilio/status/", routes)
        call = self.theirs.call
        fields = {
            "CallSid": call.call_sid,
            "RecordingSid": self.theirs.recording.recording_sid,
            "RecordingStatus": "absent",
            "CallStatus": "failed",
            "To": self.theirs.number.number,
            "From": "+12125550177",
            "Digits": "1",
            "AnsweredBy": "fax",
        }
        query = f"?business={self.theirs.business.pk}&consent=announced&stream=0&o={self.theirs.outbound.pk}"
        for route in routes:
            self.assertNotRegex(route, _PART, "say here what stands for it")
            for method in (self.client.get, self.client.post):
                with self.subTest(url=route, method=method.__name__):
                    response = method(f"/{route}{query}", fields)
                    self.assertIn(response.status_code, {400, 403, 404, 405})
                    self.assertNotIn(THEIRS, response.content.decode())
        self.unchanged()
