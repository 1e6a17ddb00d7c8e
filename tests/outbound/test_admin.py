"""Placing a call by hand, and the list of those that were placed."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import TestCase
from django.urls import reverse

from calls.models import CallLog
from outbound import tasks
from outbound.models import OutboundCall, OutboundState
from tests.businesses.worlds import World, make_world, staff_member

KEY = "0" * 31 + "1"


class PagesTest(TestCase):
    ours: World
    theirs: World
    user: User

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ours, cls.theirs = make_world("Our", 1), make_world("Their", 2)
        cls.user = staff_member(cls.ours.business)

    def setUp(self) -> None:
        self.client.force_login(self.user)
        self.asked = self.enterContext(mock.patch.object(tasks, "ask_to_dial", return_value=True))

    def call(self, **changes: Any) -> Any:
        form = {"agent": self.ours.agent.pk, "to": "212 555 0123", "message": "", "tries_again": "on", "key": KEY}
        return self.client.post(reverse("admin:outbound_outboundcall_add"), form | changes, follow=True)

    def placed(self) -> list[OutboundCall]:
        return list(OutboundCall.objects.exclude(key__endswith="-key"))

    def test_a_call_is_placed_once_however_often_the_form_is_sent(self) -> None:
        for _ in range(2):
            response = self.call()
        self.assertContains(response, "Waiting for its turn")
        (call,) = self.placed()
        self.assertEqual((call.to_number, call.asked_by, call.state), ("+12125550123", self.user, "waiting"))
        self.asked.assert_called()

    def test_a_refusal_is_shown_in_words(self) -> None:
        self.assertContains(self.call(to="911"), "I cannot dial emergency numbers.")
        self.assertEqual(self.placed()[0].state, OutboundState.REFUSED)
        self.asked.assert_not_called()

    def test_another_businesss_agent_cannot_be_had_call(self) -> None:
        self.assertContains(self.call(agent=self.theirs.agent.pk), "Select a valid choice")
        self.assertEqual(self.placed(), [])
        self.assertNotContains(self.client.get(reverse("admin:outbound_outboundcall_add")), "Their")

    def test_without_the_permission_nobody_is_called(self) -> None:
        self.user.user_permissions.clear()
        with self.assertLogs("django.request", "WARNING"):
            self.assertEqual(self.call().status_code, 403)
        self.assertEqual(self.placed(), [])

    def test_what_waits_is_taken_back_but_not_another_businesss(self) -> None:
        mine, theirs = self.ours.outbound, self.theirs.outbound
        data = {"action": "take_back", "_selected_action": [mine.pk, theirs.pk]}
        response = self.client.post(reverse("admin:outbound_outboundcall_changelist"), data, follow=True)
        self.assertContains(response, "1 taken back.")
        states = [OutboundCall.objects.get(pk=call.pk).state for call in (mine, theirs)]
        self.assertEqual(states, ["canceled", "waiting"])

    def test_the_page_leads_to_the_call(self) -> None:
        row = CallLog.objects.create(call_sid="CA" + "7" * 32, business=self.ours.business)
        OutboundCall.objects.filter(pk=self.ours.outbound.pk).update(
            call_sid=row.call_sid, state="busy", answered_by="machine_end_beep"
        )
        response = self.client.get(reverse("admin:outbound_outboundcall_change", args=[self.ours.outbound.pk]))
        self.assertContains(response, reverse("admin:calls_calllog_change", args=[row.pk]))
        self.assertContains(response, "A machine, with a tone")

    def test_operators_may_call(self) -> None:
        names = set(Group.objects.get(name="Operators").permissions.values_list("codename", flat=True))
        self.assertLessEqual({"add_outboundcall", "view_outboundcall"}, names)


class CommandTest(TestCase):
    def test_a_refusal_is_said_and_kept(self) -> None:
        world = make_world("Our", 1)
        with self.assertRaisesMessage(CommandError, "numbers in that country"):
            call_command("place_call", "+4930901820", "--key", "k")
        self.assertEqual(OutboundCall.objects.get(key="k").business, world.business)

    def test_which_agent_must_be_clear(self) -> None:
        with self.assertRaisesMessage(CommandError, "no such agent"):
            call_command("place_call", "+12125550123")
        make_world("Our", 1), make_world("Their", 2)
        with self.assertRaisesMessage(CommandError, "--agent"):
            call_command("place_call", "+12125550123")
