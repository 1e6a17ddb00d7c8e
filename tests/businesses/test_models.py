"""Agents and their versions; numbers and whom they lead to."""

import importlib

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import TestCase

from businesses.models import AgentVersion, Business, PhoneNumber, default_turn_detection
from tests.businesses.worlds import World, make_world, staff_member


class VersionsTest(TestCase):
    world: World

    @classmethod
    def setUpTestData(cls) -> None:
        cls.world = make_world("Harbor", 1)

    def test_a_published_version_never_changes(self) -> None:
        version = AgentVersion.objects.get(pk=self.world.published.pk)
        version.greeting = "Something else"
        with self.assertRaisesMessage(ValidationError, "never changes"):
            version.save()
        with self.assertRaisesMessage(ValidationError, "never changes"):
            version.publish()
        version.refresh_from_db()
        self.assertEqual(version.greeting, "Harbor greeting")

    def test_calls_use_the_newest_published_version_and_never_a_draft(self) -> None:
        agent = self.world.agent
        self.assertEqual(agent.published_version(), self.world.published)
        self.world.draft.publish()
        self.assertEqual(agent.published_version(), self.world.draft)

    def test_an_agent_has_one_draft_at_most(self) -> None:
        with self.assertRaises(IntegrityError), transaction.atomic():
            self.world.agent.start_draft(self.world.published)
        self.world.draft.publish()
        draft = self.world.agent.start_draft(self.world.published)
        self.assertEqual((draft.number, draft.is_published), (3, False))
        self.assertEqual(
            [getattr(draft, name) for name in AgentVersion.CONTENT],
            [getattr(self.world.published, name) for name in AgentVersion.CONTENT],
        )

    def test_a_snapshot_holds_everything_that_is_edited(self) -> None:
        snapshot = self.world.published.snapshot()
        self.assertEqual(snapshot.tools, ("end_call",))
        self.assertEqual(snapshot.protected_greeting_ms, self.world.published.protected_greeting_seconds * 1000)
        for name in set(AgentVersion.CONTENT) - {"tools", "protected_greeting_seconds"}:
            self.assertEqual(getattr(snapshot, name), getattr(self.world.published, name))

    def test_switches_of_an_earlier_release_are_kept_from_calls_and_from_new_drafts(self) -> None:
        former = default_turn_detection() | {"create_response": False, "interrupt_response": False}
        AgentVersion.objects.filter(pk=self.world.published.pk).update(turn_detection=former)
        self.world.draft.delete()
        version = AgentVersion.objects.get(pk=self.world.published.pk)
        self.assertEqual(version.snapshot().turn_detection, default_turn_detection())
        draft = self.world.agent.start_draft(version)
        self.assertEqual(draft.turn_detection, default_turn_detection())
        draft.full_clean()

    def test_the_migration_takes_them_out_of_drafts_and_leaves_what_is_published(self) -> None:
        former = default_turn_detection() | {"create_response": True, "interrupt_response": True}
        AgentVersion.objects.update(turn_detection=former)
        migration = importlib.import_module("businesses.migrations.0003_agents_own_sentences_and_http_tools")
        migration.drop_former_switches(apps, None)
        self.world.draft.refresh_from_db()
        self.world.published.refresh_from_db()
        self.assertEqual(self.world.draft.turn_detection, default_turn_detection())
        self.assertEqual(self.world.published.turn_detection, former)


class BusinessTest(TestCase):
    def test_a_number_leads_to_an_agent_of_its_own_business(self) -> None:
        ours, theirs = make_world("Ours", 1), make_world("Theirs", 2)
        number = PhoneNumber(number="+15550100999", business=ours.business, agent=theirs.agent)
        with self.assertRaisesMessage(ValidationError, "belongs to another business"):
            number.full_clean()

    def test_members_see_their_businesses_and_superusers_all(self) -> None:
        ours, theirs = make_world("Ours", 1), make_world("Theirs", 2)
        user = staff_member(ours.business)
        self.assertEqual(list(Business.objects.visible_to(user)), [ours.business])
        user.is_superuser = True
        self.assertEqual(set(Business.objects.visible_to(user)), {ours.business, theirs.business})

    def test_a_zone_that_the_server_does_not_know_is_read_as_utc(self) -> None:
        self.assertEqual(str(Business(time_zone="America/New_York").zone), "America/New_York")
        for name in ("Atlantis/Center", "", "/etc/passwd"):
            self.assertEqual(str(Business(time_zone=name).zone), "UTC")
