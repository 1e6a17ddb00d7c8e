"""Setting up who answers: what the pages of businesses, agents and numbers do."""

from __future__ import annotations

import json
import logging
from datetime import time
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.test import TestCase, override_settings
from django.urls import reverse

from businesses.models import (
    Agent,
    AgentVersion,
    Business,
    Holiday,
    Membership,
    OpeningHours,
    PhoneNumber,
    default_turn_detection,
)
from tests.businesses.worlds import World, hours_form, make_world, staff_member

VERSION = {
    "greeting": "Hello",
    "instructions": "Be brief.\r\nBe kind.",
    "voice": "marin",
    "language": "en",
    "tools": ["end_call"],
    "max_call_seconds": "600",
    "protected_greeting_seconds": "0",
    "silence_seconds": "8",
    "model": "",
    "transcription_model": "",
    "turn_detection": json.dumps(default_turn_detection()),
}


def agent_form(agent: Agent, version: AgentVersion | None = None, **changes: Any) -> dict[str, Any]:
    """What a browser sends from an agent's page that shows `version`: its draft, or the start of a new one."""
    draft = version is not None and not version.is_published
    fields = dict(VERSION)
    if version is not None:
        fields = {name: getattr(version, name) for name in AgentVersion.CONTENT}
        fields["turn_detection"] = json.dumps(fields["turn_detection"], indent=2)
        fields["instructions"] = str(fields["instructions"]).replace("\n", "\r\n")
        if not fields["caller_speaks_first"]:
            del fields["caller_speaks_first"]  # a box without a tick is not sent
    return {
        "name": agent.name,
        "business": agent.business_id,
        "versions-TOTAL_FORMS": "1",
        "versions-INITIAL_FORMS": "1" if draft else "0",
        "versions-0-id": version.pk if draft and version else "",
        "versions-0-agent": agent.pk or "",
        **{f"versions-0-{name}": value for name, value in (fields | changes).items()},
    }


@override_settings(MODEL_IS_SIMULATED=False)
class AdminCase(TestCase):
    world: World
    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = make_world("Harbor", 1)
        cls.user = staff_member(cls.world.business)

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)  # a line for each request
        self.addCleanup(logging.disable, logging.NOTSET)
        self.client.force_login(self.user)
        self.url = reverse("admin:businesses_agent_change", args=[self.world.agent.pk])

    def post_agent(self, button: str, version: AgentVersion | None, **changes: Any) -> Any:
        form = agent_form(self.world.agent, version, **changes) | {button: "1"}
        return self.client.post(self.url, form, follow=True)


class AgentPageTest(AdminCase):
    def test_saving_edits_the_draft_and_leaves_calls_alone(self) -> None:
        self.assertContains(self.post_agent("_continue", self.world.draft, greeting="New words"), "New words")
        self.world.draft.refresh_from_db()
        self.assertEqual((self.world.draft.greeting, self.world.draft.is_published), ("New words", False))
        self.assertEqual(self.world.agent.published_version(), self.world.published)

    def test_publishing_saves_the_draft_and_makes_new_calls_use_it(self) -> None:
        response = self.post_agent("_publish", self.world.draft, greeting="New words")
        self.assertContains(response, "Version 2 is published: new calls use it.")
        published = self.world.agent.published_version()
        assert published is not None
        self.assertEqual((published.number, published.greeting), (2, "New words"))
        self.assertContains(
            self.client.get(reverse("admin:businesses_agent_history", args=[self.world.agent.pk])),
            "Published version 2.",
        )

    def test_the_published_text_can_be_edited_and_becomes_a_new_draft(self) -> None:
        self.world.draft.publish()
        self.assertContains(self.client.get(self.url), "This is version 2, which calls use now.")
        self.post_agent("_continue", self.world.draft, greeting="Third")
        draft = self.world.agent.draft()
        assert draft is not None
        self.assertEqual((draft.number, draft.greeting, draft.instructions), (3, "Third", "Harbor instructions"))

    def test_saving_without_a_change_starts_no_draft_and_publishes_nothing(self) -> None:
        version = self.world.draft
        version.instructions = "Two\nlines"
        version.save()
        version.publish()
        response = self.post_agent("_publish", version)
        self.assertContains(response, "Nothing to publish: there is no draft.")
        self.assertEqual(self.world.agent.versions.count(), 2)

    def test_a_draft_can_be_thrown_away(self) -> None:
        self.post_agent("_continue", self.world.draft, DELETE="on")
        self.assertIsNone(self.world.agent.draft())
        self.assertEqual(self.world.agent.versions.count(), 1)

    def test_a_new_agent_is_made_with_its_text_and_published_at_once(self) -> None:
        form = agent_form(Agent(name="Sam", business=self.world.business)) | {"_publish": "1"}
        response = self.client.post(reverse("admin:businesses_agent_add"), form, follow=True)
        self.assertContains(response, "Version 1 is published: new calls use it.")
        version = Agent.objects.get(name="Sam").published_version()
        assert version is not None
        self.assertEqual(version.instructions, "Be brief.\nBe kind.")
        self.assertEqual(version.turn_detection, default_turn_detection())

    def test_the_form_of_a_new_agent_starts_from_the_defaults(self) -> None:
        response = self.client.get(reverse("admin:businesses_agent_add"))
        self.assertContains(response, "&quot;silence_duration_ms&quot;: 500")
        self.assertContains(response, 'value="end_call" id="id_versions-0-tools_0" checked')
        self.assertContains(response, f'<option value="{self.world.business.pk}" selected>')

    def test_manners_on_the_phone_are_edited_and_known_to_calls(self) -> None:
        manners = {"caller_speaks_first": "on", "protected_greeting_seconds": "4", "silence_seconds": "12"}
        self.post_agent("_publish", self.world.draft, **manners)
        version = self.world.agent.published_version()
        assert version is not None
        snapshot = version.snapshot()
        self.assertEqual((snapshot.caller_speaks_first, snapshot.protected_greeting_ms), (True, 4000))
        self.assertEqual(snapshot.silence_seconds, 12)

    def test_a_version_of_an_earlier_release_is_edited_without_its_former_switches(self) -> None:
        former = {"create_response": True, "interrupt_response": False}
        self.world.draft.turn_detection = default_turn_detection() | former
        self.world.draft.save()
        self.world.draft.publish()
        self.assertNotContains(self.client.get(self.url), "interrupt_response")
        self.world.draft.turn_detection = default_turn_detection()  # what the page shows
        self.assertContains(self.post_agent("_publish", self.world.draft), "Nothing to publish")
        self.post_agent("_publish", self.world.draft, greeting="New words")
        version = self.world.agent.published_version()
        assert version is not None
        self.assertEqual((version.greeting, version.turn_detection), ("New words", default_turn_detection()))

    def test_two_people_cannot_start_a_draft_each(self) -> None:
        self.world.draft.publish()
        form = agent_form(self.world.agent, self.world.draft, greeting="Mine")
        self.world.agent.start_draft(self.world.draft)  # somebody else, since the form was opened
        response = self.client.post(self.url, form | {"_continue": "1"})
        self.assertContains(response, "Somebody has just started a draft")
        self.assertContains(response, "Mine")
        self.assertEqual(self.world.agent.versions.count(), 3)
        self.assertFalse(AgentVersion.objects.filter(greeting="Mine").exists())

    def test_a_draft_that_somebody_published_meanwhile_is_not_changed(self) -> None:
        form = agent_form(self.world.agent, self.world.draft, greeting="Too late")
        self.world.draft.publish()
        response = self.client.post(self.url, form | {"_continue": "1"})
        self.assertContains(response, "Somebody has just published this draft")
        self.assertContains(response, "Too late")  # the text is still there to be copied
        self.assertFalse(AgentVersion.objects.filter(greeting="Too late").exists())

    def test_what_is_wrong_in_a_field_is_said_and_nothing_is_published(self) -> None:
        for field, value, sentence in (
            ("turn_detection", '{"type": "server_vad", "threshold": 2}', "“threshold” must be a number from 0 to 1."),
            ("turn_detection", "{", "Enter a valid JSON."),
            ("tools", ["fly"], "Select a valid choice. fly is not one of the available choices."),
            ("max_call_seconds", "5", "greater than or equal to 30"),
            ("protected_greeting_seconds", "31", "less than or equal to 30"),
            ("silence_seconds", "2", "greater than or equal to 3"),
            ("silence_seconds", "61", "less than or equal to 60"),
            ("language", "english", "Write a language tag"),
        ):
            with self.subTest(field=field, value=value):
                response = self.post_agent("_publish", self.world.draft, **{field: value})
                self.assertContains(response, sentence)
                self.assertEqual(self.world.agent.published_version(), self.world.published)

    def test_an_agent_that_was_published_cannot_be_deleted(self) -> None:
        url = reverse("admin:businesses_agent_delete", args=[self.world.agent.pk])
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        unpublished = Agent.objects.create(name="Sam", business=self.world.business)
        AgentVersion.objects.create(agent=unpublished, number=1, instructions="x", greeting="y")
        self.client.post(reverse("admin:businesses_agent_delete", args=[unpublished.pk]), {"post": "yes"})
        self.assertFalse(Agent.objects.filter(name="Sam").exists())

    def test_whoever_may_only_look_sees_the_agent_and_no_button(self) -> None:
        self.user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        response = self.client.get(self.url)
        self.assertContains(response, "Harbor greeting")
        self.assertNotContains(response, "_publish")
        self.assertEqual(self.post_agent("_publish", self.world.draft).status_code, 403)
        self.assertEqual(self.world.agent.published_version(), self.world.published)


class VersionPageTest(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.version_url = reverse("admin:businesses_agentversion_change", args=[self.world.published.pk])
        self.draft_url = reverse("admin:businesses_agentversion_new_draft", args=[self.world.published.pk])

    def test_a_published_version_is_shown_and_cannot_be_edited_or_deleted(self) -> None:
        response = self.client.get(self.version_url)
        self.assertContains(response, "Harbor instructions")
        self.assertNotContains(response, "<textarea")
        delete_url = reverse("admin:businesses_agentversion_delete", args=[self.world.published.pk])
        self.assertEqual(self.client.post(self.version_url, {"greeting": "x"}).status_code, 403)
        self.assertEqual(self.client.post(delete_url, {"post": "yes"}).status_code, 403)

    def test_a_new_draft_says_what_an_older_version_said(self) -> None:
        self.world.draft.publish()
        response = self.client.post(self.draft_url, follow=True)
        self.assertContains(response, "This draft says what version 1 says.")
        draft = self.world.agent.draft()
        assert draft is not None
        self.assertEqual((draft.number, draft.greeting), (3, "Harbor greeting"))

    def test_a_draft_in_progress_is_not_overwritten(self) -> None:
        self.assertContains(self.client.post(self.draft_url, follow=True), "There is a draft already.")
        self.assertEqual(self.world.agent.draft(), self.world.draft)

    def test_a_new_draft_is_never_started_by_a_link(self) -> None:
        self.assertEqual(self.client.get(self.draft_url).status_code, 405)

    def test_whoever_may_not_add_versions_starts_no_draft(self) -> None:
        self.world.draft.delete()
        self.user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        self.assertNotContains(self.client.get(self.version_url), "New draft from this version")
        self.assertEqual(self.client.post(self.draft_url).status_code, 403)


class BusinessAndNumberPagesTest(AdminCase):
    def test_a_number_is_added_in_e164_form(self) -> None:
        url = reverse("admin:businesses_phonenumber_add")
        form = {"number": "555 0100", "business": self.world.business.pk, "agent": self.world.agent.pk}
        self.assertContains(self.client.post(url, form), "Write the number in E.164 form")
        self.client.post(url, form | {"number": "+4930901820", "is_active": "on"})
        self.assertEqual(PhoneNumber.objects.get(number="+4930901820").agent, self.world.agent)

    def test_the_agent_of_a_number_belongs_to_its_business(self) -> None:
        second = make_world("Second", 2)
        Membership.objects.create(user=self.user, business=second.business)
        form = {"number": "+4930901820", "business": self.world.business.pk, "agent": second.agent.pk}
        response = self.client.post(reverse("admin:businesses_phonenumber_add"), form)
        self.assertContains(response, "This agent belongs to another business.")

    def test_the_list_of_numbers_says_which_cannot_be_answered(self) -> None:
        agent = Agent.objects.create(name="Sam", business=self.world.business)
        PhoneNumber.objects.create(number="+4930901820", business=self.world.business, agent=agent)
        self.assertContains(self.client.get(reverse("admin:businesses_phonenumber_changelist")), "agent not published")

    def test_a_business_is_edited_by_its_members(self) -> None:
        url = reverse("admin:businesses_business_change", args=[self.world.business.pk])
        form = {"name": "Harbor Dental", "time_zone": "Europe/Berlin", "language": "de", "forwarding_number": "123"}
        form |= {"max_calls": "4", "when_busy": "hold", **hours_form()}
        self.assertContains(self.client.post(url, form), "Write the number in E.164 form")
        self.assertContains(self.client.post(url, form | {"time_zone": "Berlin"}), "Select a valid choice")
        self.assertContains(self.client.post(url, form | {"max_calls": "0"}), "greater than or equal to 1")
        self.assertContains(self.client.post(url, form | {"when_busy": "sing"}), "Select a valid choice")
        self.client.post(url, form | {"forwarding_number": "+4930901820", "is_active": "on"})
        business = Business.objects.get()
        self.assertEqual((business.time_zone, business.max_calls), ("Europe/Berlin", 4))
        self.assertEqual(business.when_busy, "hold")
        self.assertContains(self.client.get(url), "How many calls the agents take at the same time.")

    def test_an_operator_enters_hours_and_holidays_on_the_businesss_page(self) -> None:
        operator = User.objects.create_user("operator", is_staff=True)
        operator.groups.add(Group.objects.get(name="Operators"))
        Membership.objects.create(user=operator, business=self.world.business)
        self.client.force_login(operator)
        url = reverse("admin:businesses_business_change", args=[self.world.business.pk])
        form = {"name": "Harbor", "time_zone": "UTC", "language": "en", "when_busy": "forward", "is_active": "on"}
        rows = {"opening_hours-TOTAL_FORMS": "1", "opening_hours-0-weekday": "4", "opening_hours-0-opens": "18:00"}
        rows |= {"opening_hours-0-closes": "02:00", "opening_hours-0-number": str(self.world.number.pk)}
        rows |= {"holidays-TOTAL_FORMS": "1", "holidays-0-date": "2026-12-24", "holidays-0-opens": "09:00"}
        response = self.client.post(url, form | hours_form(**rows, when_closed="forward"))
        self.assertContains(response, "Hours past midnight are two rows")
        self.assertContains(response, "Enter both times")
        rows |= {"opening_hours-0-closes": "23:59", "holidays-0-closes": "12:00"}
        self.client.post(url, form | hours_form(**rows, when_closed="forward", closed_agent=self.world.agent.pk))
        hours, holiday = OpeningHours.objects.get(), Holiday.objects.get()
        self.assertEqual((hours.business, hours.number), (self.world.business, self.world.number))
        self.assertEqual((hours.weekday, hours.opens, hours.closes), (4, time(18), time(23, 59)))
        self.assertEqual((holiday.business, holiday.opens, holiday.closes), (hours.business, time(9), time(12)))
        business = Business.objects.get()
        self.assertEqual((business.when_closed, business.closed_agent), ("forward", self.world.agent))

    def test_all_that_can_become_of_a_caller_is_a_choice(self) -> None:
        for page, pk in (("business", self.world.business.pk), ("phonenumber", self.world.number.pk)):
            response = self.client.get(reverse(f"admin:businesses_{page}_change", args=[pk]))
            for choice in ("agent", "message", "forward"):
                self.assertContains(response, f'<option value="{choice}"')
        response = self.client.get(reverse("admin:businesses_business_change", args=[self.world.business.pk]))
        for choice in ("off", "announce", "ask"):
            self.assertContains(response, f'<option value="{choice}"')

    def test_whoever_may_only_look_at_a_business_cannot_change_its_hours(self) -> None:
        user = User.objects.create_user("looker", is_staff=True)
        user.user_permissions.add(Permission.objects.get(codename="view_business"))
        Membership.objects.create(user=user, business=self.world.business)
        OpeningHours.objects.create(business=self.world.business, weekday=0, opens=time(9), closes=time(17))
        self.client.force_login(user)
        url = reverse("admin:businesses_business_change", args=[self.world.business.pk])
        self.assertContains(self.client.get(url), "Monday")
        rows = {"opening_hours-TOTAL_FORMS": "1", "opening_hours-0-weekday": "4", "opening_hours-0-opens": "18:00"}
        self.assertEqual(self.client.post(url, hours_form(**rows)).status_code, 403)
        self.assertEqual(OpeningHours.objects.count(), 1)

    def test_a_superuser_lets_a_user_see_a_business(self) -> None:
        boss = User.objects.create_superuser("boss")
        other = User.objects.create_user("other", is_staff=True)
        self.client.force_login(boss)
        form = {
            "name": "Harbor",
            "time_zone": "UTC",
            "language": "en",
            "when_busy": "forward",
            **hours_form(),
            "is_active": "on",
            "memberships-TOTAL_FORMS": "1",
            "memberships-INITIAL_FORMS": "0",
            "memberships-0-user": other.pk,
            "memberships-0-business": self.world.business.pk,
        }
        self.client.post(reverse("admin:businesses_business_change", args=[self.world.business.pk]), form)
        self.assertTrue(Membership.objects.filter(user=other, business=self.world.business).exists())


class SiteTest(AdminCase):
    def test_the_group_operators_is_enough_to_look_after_a_business(self) -> None:
        operator = User.objects.create_user("operator", is_staff=True)
        operator.groups.add(Group.objects.get(name="Operators"))
        Membership.objects.create(user=operator, business=self.world.business)
        self.client.force_login(operator)
        self.assertContains(self.client.get(reverse("admin:calls_calllog_changelist")), "Harbor")
        self.assertEqual(
            self.client.get(reverse("admin:calls_calllog_change", args=[self.world.call.pk])).status_code, 200
        )
        self.assertContains(self.post_agent("_publish", self.world.draft), "Version 2 is published")
        self.assertContains(self.client.get(reverse("admin:businesses_httptool_changelist")), "find_harbor")
        self.assertEqual(self.client.get(reverse("admin:businesses_httptool_add")).status_code, 200)
        self.assertNotContains(self.client.get("/admin/"), "Celery")

    def test_the_index_shows_calls_numbers_and_agents_first(self) -> None:
        page = self.client.get("/admin/").content.decode()
        places = [
            page.index(f'id="{row}"')
            for row in ("calls-calllog", "businesses-phonenumber", "businesses-agent", "businesses-business")
        ]
        self.assertEqual(places, sorted(places))

    def test_a_simulated_model_is_named_on_every_page_and_a_real_one_on_none(self) -> None:
        urls = [
            "/admin/",
            "/admin/login/",
            "/admin/password_change/",
            self.url,
            reverse("admin:calls_calllog_changelist"),
        ]
        for simulated in (True, False):
            for url in urls:
                with self.subTest(url=url, simulated=simulated), override_settings(MODEL_IS_SIMULATED=simulated):
                    if "login" in url:
                        self.client.logout()
                    page = self.client.get(url).content.decode()
                    self.assertEqual("The speech model is simulated." in page, simulated)
                    self.client.force_login(self.user)
