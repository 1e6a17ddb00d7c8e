"""The list of calls and the page of a call."""

from __future__ import annotations

import logging
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from businesses.models import Agent, Membership
from calls.models import CallLog, ConversationTurn
from tests.businesses.worlds import STARTED, World, make_world, staff_member

LIST = "/admin/calls/calllog/"
CANARY = "<script>alert('canary')</script>"


class CallsCase(TestCase):
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
        self.calls = 0

    def call(self, **fields: Any) -> CallLog:
        self.calls += 1
        defaults = {
            "call_sid": f"CA{self.calls:030x}ff",
            "business": self.world.business,
            "agent_version": self.world.published,
            "from_number": "+15550100142",
            "to_number": "+15551100100",
            "status": "completed",
            "started_at": STARTED,
        }
        return CallLog.objects.create(**(defaults | fields))

    def turn(self, call: CallLog, index: int, **fields: Any) -> ConversationTurn:
        return ConversationTurn.objects.create(call=call, turn_index=index, **fields)

    def page(self, call: CallLog) -> str:
        return str(self.client.get(reverse("admin:calls_calllog_change", args=[call.pk])).content.decode())

    def found(self, query: str) -> set[int]:
        response = self.client.get(f"{LIST}?{query}")
        self.assertEqual(response.status_code, 200, query)
        return {call.pk for call in response.context["cl"].result_list}


class ListTest(CallsCase):
    def test_a_call_is_shown_with_everything_an_operator_looks_for(self) -> None:
        response = self.client.get(LIST)
        for text in (
            "23 Nov 2026, 09:05 EST",  # in the business's zone
            "…000001",
            "sip:Harbor@example.com",
            "inbound to +15551100100",
            "Harbor Dental",
            "Harbor Robin, version 1",
            '<span class="badge badge--good">Completed</span>',
            "Caller hung up",
            "1:15",
        ):
            self.assertContains(response, text)

    def test_an_incomplete_call_is_marked_and_one_that_goes_on_is_not(self) -> None:
        broken = self.call(status="failed", ended_reason="stream_lost", expected_turns=6)
        self.turn(broken, 0, bot_reply="Hello")
        self.assertContains(self.client.get(LIST), "1 of 6")
        self.assertContains(self.client.get(LIST), "incomplete", count=1)
        CallLog.objects.filter(pk=broken.pk).update(status="in-progress")
        self.assertNotContains(self.client.get(LIST), "incomplete")

    def test_each_filter_finds_its_calls(self) -> None:
        old = self.world.call
        new = self.call(
            status="failed",
            direction="outbound",
            ended_reason="model_failed",
            started_at=timezone.now(),
            agent_version=None,
        )
        Agent.objects.create(name="Sam", business=self.world.business)  # of one agent there is nothing to choose
        # Years from when this was written, the call of the fixture is older than a month.
        CallLog.objects.filter(pk=old.pk).update(started_at=timezone.now() - timedelta(days=40))
        for query, expected in (
            ("", {old.pk, new.pk}),
            ("when=day", {new.pk}),
            ("when=month", {new.pk}),
            ("when=never", set()),
            ("status__exact=failed", {new.pk}),
            ("direction__exact=inbound", {old.pk}),
            ("ended_reason__exact=model_failed", {new.pk}),
            (f"agent={self.world.agent.pk}", {old.pk}),
            ("agent=999999", set()),
        ):
            with self.subTest(query=query):
                self.assertEqual(self.found(query), expected)

    def test_a_member_of_several_businesses_filters_by_business_and_agent(self) -> None:
        second = make_world("Second", 2)
        Membership.objects.create(user=self.user, business=second.business)
        self.assertEqual(self.found(f"business={second.business.pk}"), {second.call.pk})
        self.assertEqual(self.found(f"agent={second.agent.pk}"), {second.call.pk})
        self.assertContains(self.client.get(LIST), "Second Robin, Second Dental")

    def test_a_search_finds_the_beginning_of_a_number_or_of_a_callsid(self) -> None:
        call = self.call(from_number="+4930901820", call_sid="CAfeed" + "0" * 28)
        other = self.world.call
        for term, expected in (
            ("%2B4930901820", {call.pk}),
            ("4930901820", {call.pk}),
            ("004930901820", {call.pk}),
            ("%2B49 30 90-18", {call.pk}),
            ("(49) 30/90", {call.pk}),
            ("1820", set()),
            ("1555110", {call.pk, other.pk}),
            ("CAfeed", {call.pk}),
            (call.call_sid, {call.pk}),
            ("sip:Harbor", {other.pk}),
            ("%25", set()),
            ("  ", {call.pk, other.pk}),
        ):
            with self.subTest(term=term):
                self.assertEqual(self.found(f"q={term}"), expected)

    def test_a_search_by_number_or_callsid_uses_the_indexes_where_the_database_can(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("Index use of the call search: needs PostgreSQL (make test-services)")
        for index in range(300):
            self.call(from_number=f"+4930{index:06}")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE calls_calllog")
            cursor.execute("SET LOCAL enable_seqscan = off")
            model_admin: Any = admin.site.get_model_admin(CallLog)
            found, _ = model_admin.get_search_results(None, CallLog.objects.order_by(), "4930000123")
            plan = found.explain()
        for name in ("call_by_from_number", "call_by_to_number", "call_sid"):
            self.assertIn(name, plan)

    def test_the_list_takes_the_same_few_queries_whatever_it_shows(self) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                self.client.get(LIST)
            return len(captured)

        few = queries()
        for _ in range(40):
            self.turn(self.call(), 0, bot_reply="Hello")
        self.assertEqual(queries(), few)
        self.assertLessEqual(few, 12)


class PageTest(CallsCase):
    def test_a_call_reads_as_a_conversation(self) -> None:
        call = self.call(duration_seconds=74, ended_reason="caller_hung_up", is_complete=True, expected_turns=2)
        self.turn(
            call,
            1,
            user_text="How do I get there?",
            bot_reply="We are at 12 Harbor Street. Parking is free.",
            heard_text="We are at 12",
            generated_ms=6400,
            heard_ms=2100,
            interrupted=True,
            started_at=STARTED + timedelta(seconds=11),
        )
        self.turn(call, 0, bot_reply="Good morning.", started_at=STARTED + timedelta(seconds=2))
        page = self.page(call)
        for text in (
            "Call from +15550100142",
            "23 Nov 2026, 09:05:12 EST",
            "Harbor Robin, version 1",
            "1:14",
            "09:05:14 · 0:02 into the call",
            "09:05:23 · 0:11 into the call",
            "We are at 12 <del>Harbor Street. Parking is free.</del>",
            "Interrupted after 2.1 s of 6.4 s.",
            call.call_sid,
        ):
            self.assertIn(text, page)
        self.assertLess(page.index("Good morning."), page.index("How do I get there?"))
        self.assertLess(page.index("How do I get there?"), page.index("We are at 12"))
        self.assertNotIn("incomplete", page)
        self.assertNotIn("still going on", page)

    def test_an_incomplete_call_says_what_that_means_and_where_turns_are_missing(self) -> None:
        call = self.call(expected_turns=6, streams={"0": {"turns": 6}})
        self.turn(call, 0, bot_reply="Hello")
        self.turn(call, 3, user_text="Hi", bot_reply="Hello")
        page = self.page(call)
        self.assertIn("This call is incomplete.", page)
        self.assertIn("4 of its turns have not arrived", page)
        self.assertEqual(page.count("2 turns missing here"), 2)
        self.assertIn("2 of 6", page)
        unknown = self.page(self.call())
        self.assertIn("Its final report has not arrived", unknown)

    def test_a_call_that_was_resumed_reads_as_one_and_says_where_it_broke(self) -> None:
        call = self.call(last_stream=1, streams={"1": {"turns": 3}}, ended_reason="caller_hung_up")
        for index, said in ((0, "Hello"), (1, "At nine"), (10_000, "Sorry, we were cut off"), (10_002, "Bye")):
            self.turn(call, index, user_text="Hm" if index % 10_000 else "", bot_reply=said)
        page = self.page(call)
        self.assertEqual(page.count("The call went on in a new stream."), 1)
        self.assertLess(page.index("At nine"), page.index("The call went on in a new stream."))
        self.assertIn("1 of its turns has not arrived", page)
        for label in ("Greeting", "Turn 1", "Resumed", "Turn 4"):
            self.assertIn(f">{label}</a>", page)
        CallLog.objects.filter(pk=call.pk).update(streams={"1": {"turns": 2}})
        call.turns.filter(turn_index=10_002).update(turn_index=10_001)
        self.assertIn("The server process that carried it died in the middle.", self.page(call))
        CallLog.objects.filter(pk=call.pk).update(streams={"0": {"turns": 4}, "1": {"turns": 2}})
        page = self.page(call)
        self.assertIn("2 turns missing here", page)
        self.assertIn(">Turn 5</a>", page)

    def test_a_call_that_goes_on_says_so(self) -> None:
        page = self.page(self.call(status="in-progress"))
        self.assertIn("This call is still going on.", page)
        self.assertIn("Nothing was said yet.", page)
        self.assertNotIn("incomplete", page)

    def test_nothing_a_caller_or_a_model_wrote_becomes_markup(self) -> None:
        call = self.call(
            from_number=CANARY, to_number=CANARY, model_session_id=CANARY, recording_url="javascript:alert(1)"
        )
        self.turn(
            call,
            1,
            user_text=CANARY,
            bot_reply=f"{CANARY} and more",
            heard_text=CANARY,
            heard_ms=1,
            generated_ms=2,
            interrupted=True,
        )
        for page in (self.page(call), self.client.get(LIST).content.decode()):
            self.assertNotIn("<script>alert", page)
            self.assertIn("&lt;script&gt;alert", page)
        self.assertNotIn('href="javascript:', self.page(call))

    def test_five_hundred_turns_take_as_many_queries_as_one(self) -> None:
        def queries(call: CallLog) -> int:
            with CaptureQueriesContext(connection) as captured:
                page = self.page(call)
            self.assertIn("Good morning", page)
            return len(captured)

        short, long = self.call(), self.call()
        self.turn(short, 0, bot_reply="Good morning")
        ConversationTurn.objects.bulk_create(
            ConversationTurn(call=long, turn_index=index, user_text="And?", bot_reply="Good morning")
            for index in range(500)
        )
        self.assertEqual(queries(long), queries(short))
        self.assertLessEqual(queries(long), 10)
        self.assertIn('href="#turn-499"', self.page(long))

    def test_nobody_adds_changes_or_deletes_a_call(self) -> None:
        self.client.force_login(User.objects.create_superuser("boss"))
        call = self.world.call
        self.assertEqual(self.client.get(reverse("admin:calls_calllog_add")).status_code, 403)
        self.assertEqual(
            self.client.post(reverse("admin:calls_calllog_change", args=[call.pk]), {"call_sid": "x"}).status_code, 403
        )
        self.assertEqual(
            self.client.post(reverse("admin:calls_calllog_delete", args=[call.pk]), {"post": "yes"}).status_code, 403
        )
        action = {"action": "delete_selected", "_selected_action": call.pk, "post": "yes"}
        self.client.post(LIST, action)
        self.assertEqual(CallLog.objects.get(pk=call.pk).call_sid, call.call_sid)


class Inline(HTMLParser):
    """Collects what a strict content security policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(f"<{tag}>")
        self.found += [f"{tag} {name}" for name in names if name == "style" or name.startswith("on")]
        for name in ("src", "action", "formaction"):
            if (names.get(name) or "").startswith(("http:", "https:", "//", "data:", "javascript:")):
                self.found.append(f"{tag} {name}={names[name]}")


class PolicyTest(CallsCase):
    def test_no_page_has_anything_inline_or_from_elsewhere_and_each_has_a_strict_policy(self) -> None:
        self.client.force_login(User.objects.create_superuser("boss"))
        urls = ["/admin/", LIST, "/admin/password_change/", f"{LIST}?status__exact=completed&q=1"]
        for model in admin.site._registry:
            start = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            urls += [reverse(f"{start}_changelist"), reverse(f"{start}_add")]
            urls += [
                reverse(f"{start}_{page}", args=[row.pk])
                for row in model._default_manager.all()[:1]
                for page in ("change", "history", "delete")
            ]
        opened = 0
        for url in urls:
            response = self.client.get(url)
            with self.subTest(url=url):
                self.assertIn("default-src 'self'", response["Content-Security-Policy"])
                self.assertNotIn("unsafe", response["Content-Security-Policy"])
                if response.status_code == 200:
                    opened += 1
                    parser = Inline()
                    parser.feed(response.content.decode())
                    self.assertEqual(parser.found, [])
                else:
                    self.assertEqual(response.status_code, 403)
        self.assertGreater(opened, 20)
