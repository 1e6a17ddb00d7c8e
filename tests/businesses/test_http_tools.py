"""HTTP tools: their page, the copy that a published version keeps, and what a call is told of them."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import TestCase, override_settings
from django.urls import reverse

from businesses.models import AgentVersion, HttpTool
from businesses.snapshots import HttpTool as HttpToolSnapshot
from tests.businesses.test_admin import AdminCase, agent_form
from tests.businesses.worlds import World, make_world

SECRET = "canary-secret-7781"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class SnapshotTest(TestCase):
    ours: World
    theirs: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours, cls.theirs = make_world("Ours", 1), make_world("Theirs", 2)

    def publish(self, *tools: str) -> AgentVersion:
        self.ours.draft.tools = list(tools)
        self.ours.draft.publish()
        return AgentVersion.objects.get(pk=self.ours.draft.pk)

    def test_a_call_knows_the_tools_that_its_version_names_with_their_secret(self) -> None:
        version = self.publish("end_call", "find_ours")
        self.assertEqual(
            version.snapshot().http_tools,
            (
                HttpToolSnapshot(
                    name="find_ours",
                    description="Ours orders",
                    parameters=self.ours.tool.parameters,
                    url="https://ours.example.com/orders/{number}",
                    method="POST",
                    secret="Ours-secret-0001",
                    timeout_seconds=10,
                ),
            ),
        )
        self.assertEqual(version.snapshot().tools, ("end_call", "find_ours"))
        self.assertNotIn("secret-0001", json.dumps(version.frozen_http_tools))

    def test_what_is_published_does_not_change_with_the_tool(self) -> None:
        version = self.publish("find_ours")
        before = version.snapshot().http_tools
        self.ours.tool.url, self.ours.tool.is_active = "https://elsewhere.example.com/", False
        self.ours.tool.set_secret("another-secret-0002")
        self.ours.tool.save()
        self.assertEqual(AgentVersion.objects.get(pk=version.pk).snapshot().http_tools, before)
        self.ours.tool.delete()
        self.assertEqual(AgentVersion.objects.get(pk=version.pk).snapshot().http_tools, before)

    def test_publishing_again_takes_the_changed_tool(self) -> None:
        self.publish("find_ours")
        HttpTool.objects.filter(pk=self.ours.tool.pk).update(url="https://new.example.com/{number}")
        again = self.ours.agent.start_draft(self.ours.draft)
        again.publish()
        self.assertEqual([tool.url for tool in again.snapshot().http_tools], ["https://new.example.com/{number}"])

    def test_neither_another_businesss_tool_nor_one_that_is_switched_off_is_published(self) -> None:
        HttpTool.objects.filter(pk=self.ours.tool.pk).update(is_active=False)
        self.assertEqual(self.publish("find_theirs", "find_ours").snapshot().http_tools, ())

    def test_a_version_names_only_tools_of_its_own_business(self) -> None:
        self.ours.draft.tools = ["end_call", "find_ours"]
        self.ours.draft.full_clean()
        for name in ("find_theirs", "fly"):
            self.ours.draft.tools = [name]
            with self.subTest(name=name), self.assertRaisesMessage(ValidationError, f"There is no tool “{name}”"):
                self.ours.draft.full_clean()

    def test_a_version_of_an_earlier_release_has_none(self) -> None:
        AgentVersion.objects.filter(pk=self.ours.published.pk).update(frozen_http_tools=None)
        self.assertEqual(AgentVersion.objects.get(pk=self.ours.published.pk).snapshot().http_tools, ())

    def test_two_businesses_may_give_the_same_name(self) -> None:
        HttpTool(business=self.theirs.business, name="find_ours").validate_constraints()
        with self.assertRaises(ValidationError):
            HttpTool(business=self.ours.business, name="find_ours").validate_constraints()

    def test_an_address_that_needs_what_may_be_missing_is_refused_at_the_address(self) -> None:
        self.ours.tool.parameters = {"type": "object", "properties": {"number": {"type": "string"}}}
        with self.assertRaises(ValidationError) as raised:
            self.ours.tool.full_clean()
        self.assertEqual(list(raised.exception.message_dict), ["url"])


@override_settings(HTTP_TOOL_HOSTS=["api.example.com"])
class PageTest(AdminCase):
    def form(self, **changes: Any) -> dict[str, Any]:
        return {
            "name": "weather",
            "business": self.world.business.pk,
            "description": "Tells the weather\r\nof a city",
            "parameters": json.dumps(PARAMETERS),
            "url": "https://api.example.com/weather/{city}",
            "method": "GET",
            "secret": SECRET,
            "timeout_seconds": "5",
            "is_active": "on",
        } | changes

    def add(self, **changes: Any) -> Any:
        return self.client.post(reverse("admin:businesses_httptool_add"), self.form(**changes), follow=True)

    def change(self, tool: HttpTool, **changes: Any) -> Any:
        url = reverse("admin:businesses_httptool_change", args=[tool.pk])
        return self.client.post(url, self.form(**changes), follow=True)

    def test_a_tool_is_added_and_its_secret_is_never_shown_again(self) -> None:
        response = self.add()
        self.assertNotContains(response, "HTTP_TOOL_HOSTS")
        tool = HttpTool.objects.get(name="weather")
        self.assertEqual((tool.secret(), tool.description), (SECRET, "Tells the weather\nof a city"))
        self.assertNotIn(SECRET, tool.encrypted_secret)
        page = self.client.get(reverse("admin:businesses_httptool_change", args=[tool.pk])).content.decode()
        self.assertNotIn(SECRET, page)
        self.assertNotIn(tool.encrypted_secret, page)
        self.assertIn("There is one, ending in 7781.", page)

    def test_a_secret_is_kept_replaced_or_removed(self) -> None:
        self.add()
        tool = HttpTool.objects.get(name="weather")
        for changes, secret in (
            ({"secret": "", "timeout_seconds": "7"}, SECRET),
            ({"secret": "another-secret-0002"}, "another-secret-0002"),
            ({"secret": "third-secret-0003", "remove_secret": "on"}, "third-secret-0003"),
            ({"secret": "", "remove_secret": "on"}, ""),
        ):
            with self.subTest(changes=changes):
                self.change(tool, **changes)
                tool.refresh_from_db()
                self.assertEqual(tool.secret(), secret)
        self.assertEqual(tool.timeout_seconds, 5)

    def test_a_secret_that_no_key_decrypts_is_asked_for_again(self) -> None:
        HttpTool.objects.filter(pk=self.world.tool.pk).update(encrypted_secret="lost")
        url = reverse("admin:businesses_httptool_change", args=[self.world.tool.pk])
        self.assertContains(self.client.get(url), "keys do not decrypt it: enter it again")

    def test_a_host_that_is_not_allowed_is_warned_of(self) -> None:
        self.assertContains(self.add(url="https://other.example.com/{city}"), "other.example.com is not among this")
        page = self.client.get(reverse("admin:businesses_httptool_changelist"))
        self.assertContains(page, "host not allowed")
        self.add(name="weather_2")
        self.assertContains(self.client.get(reverse("admin:businesses_httptool_changelist")), "badge--good")

    def test_what_is_wrong_in_a_field_is_said_and_nothing_is_saved(self) -> None:
        for field, value, sentence in (
            ("name", "end_call", "built in"),
            ("name", "Weather", "small letters"),
            ("parameters", '{"type": "array"}', "Parameters are an object"),
            ("parameters", '{"type": "object"}', "needs “city”"),
            ("url", "http://api.example.com/{city}", "begins with https"),
            ("secret", "two words", "ASCII characters without spaces"),
            ("secret", "schlüssel", "ASCII characters without spaces"),
            ("timeout_seconds", "31", "less than or equal to 30"),
            ("method", "PUT", "Select a valid choice"),
        ):
            with self.subTest(field=field, value=value):
                self.assertContains(self.add(**{field: value}), sentence)
        self.assertFalse(HttpTool.objects.exclude(pk=self.world.tool.pk).exists())

    def test_a_tool_cannot_be_made_for_or_moved_to_another_business(self) -> None:
        theirs = make_world("Theirs", 2)
        self.assertContains(self.add(business=theirs.business.pk), "Select a valid choice")
        self.change(self.world.tool, business=theirs.business.pk, name="find_harbor")
        self.world.tool.refresh_from_db()
        self.assertEqual(self.world.tool.business, self.world.business)

    def test_whoever_may_only_look_sees_nothing_of_the_secret(self) -> None:
        self.user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        page = self.client.get(reverse("admin:businesses_httptool_change", args=[self.world.tool.pk]))
        self.assertContains(page, "Harbor orders")
        self.assertNotContains(page, "0001")

    def test_an_agent_is_given_the_tools_of_its_business_and_no_others(self) -> None:
        make_world("Theirs", 2)
        page = self.client.get(self.url)
        self.assertContains(page, "find_harbor: Harbor orders")
        self.assertNotContains(page, "find_theirs")
        response = self.post_agent("_publish", self.world.draft, tools=["end_call", "find_harbor"])
        self.assertContains(response, "Version 2 is published")
        version = self.world.agent.published_version()
        assert version is not None
        self.assertEqual([tool.name for tool in version.snapshot().http_tools], ["find_harbor"])
        page = self.client.get(reverse("admin:businesses_agentversion_change", args=[version.pk]))
        self.assertContains(page, "find_harbor: POST https://harbor.example.com/orders/{number}")
        self.assertNotContains(page, "0001")
        self.assertContains(self.post_agent("_publish", version, tools=["find_theirs"]), "Select a valid choice")

    def test_a_tool_that_was_switched_off_is_named_and_cannot_be_published_again(self) -> None:
        self.world.draft.tools = ["find_harbor"]
        self.world.draft.publish()
        HttpTool.objects.update(is_active=False)
        self.assertContains(self.client.get(self.url), "find_harbor (switched off or deleted)")
        unchanged = agent_form(self.world.agent, self.world.draft) | {"_publish": "1"}
        self.assertContains(self.client.post(self.url, unchanged, follow=True), "Nothing to publish")
        response = self.post_agent("_publish", self.world.draft, greeting="New words")
        self.assertContains(response, "There is no tool “find_harbor”, or it is switched off.")
        self.post_agent("_publish", self.world.draft, greeting="New words", tools=["end_call"])
        version = self.world.agent.published_version()
        assert version is not None
        self.assertEqual((version.number, version.tools), (3, ["end_call"]))
