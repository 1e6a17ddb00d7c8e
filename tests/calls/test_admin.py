"""The list of calls and the page of a call."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from businesses.models import Agent, Membership
from calls.models import CallLeg, CallLog, CallMessage, ConversationTurn, ToolUse
from tests.businesses.worlds import STARTED, World, make_world, staff_member

LIST = "/admin/calls/calllog/"
MESSAGES = "/admin/calls/callmessage/"
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

    def message(self, call: CallLog, key: str, **fields: Any) -> CallMessage:
        return CallMessage.objects.create(call=call, business=call.business, key=key, **fields)

    def tool(self, call: CallLog, key: str, **fields: Any) -> ToolUse:
        return ToolUse.objects.create(call=call, business=call.business, tool_call_id=key, **fields)

    def leg(self, call: CallLog, key: str, **fields: Any) -> CallLeg:
        fields = {"kind": "cold", "target_name": "Nina", "asked_at": STARTED + timedelta(seconds=30), **fields}
        return CallLeg.objects.create(call=call, business=call.business, key=key, **fields)

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

    def test_what_a_call_cost_is_in_the_list_as_far_as_it_is_known(self) -> None:
        self.call(cost=Decimal("0.123456"), duration_seconds=61)
        page = self.client.get(LIST)
        self.assertContains(page, '<td class="field-length">1:01<span class="second">$0.1235</span></td>')
        self.assertContains(page, '<td class="field-length">1:15</td>')

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

    def test_it_says_how_long_the_caller_waited_and_what_the_call_used_up(self) -> None:
        call = self.call(
            cost=Decimal("0.0312"),
            usage={"input_tokens": 12_000, "cached_tokens": 8000, "output_tokens": 900},
            counters={"echoes": 2, "interruptions": 1, "error_rate_limit": 1, "underruns": 0},
            streams={"0": {"turns": 3}},
            expected_turns=3,
        )
        self.turn(call, 0, bot_reply="Hello")
        self.turn(call, 1, user_text="Hi", bot_reply="Yes?", reply_ms=640, reply_heard_ms=910)
        self.turn(call, 2, user_text="Bye", bot_reply="Bye", reply_ms=1200)
        page = self.page(call)
        for text in (
            "· answered after 0.6 s, heard after 0.9 s",
            "· answered after 1.2 s",
            "<dt>Time to answer</dt><dd>0.9 s, at most 1.2 s</dd>",
            "<dt>Tokens</dt><dd>12,000 in (8,000 cached), 900 out</dd>",
            "<dt>Cost of the speech models</dt><dd>$0.0312</dd>",
            "<dt>Echoes of the agent&#x27;s voice</dt><dd>2</dd>",
            "<dt>Model error rate_limit</dt><dd>1</dd>",
        ):
            self.assertIn(text, page)
        self.assertNotIn("Gaps", page)
        CallLog.objects.filter(pk=call.pk).update(last_stream=1, streams={"1": {"turns": 0}}, cost=None)
        page = self.page(call)
        self.assertIn("<dd>at least 12,000 in", page)
        self.assertIn("<dd>no price is known for it</dd>", page)
        self.assertNotIn("Tokens", self.page(self.world.call))

    def test_the_tools_that_were_used_are_on_it_in_their_order(self) -> None:
        call = self.call()
        at = {f"{name}_at": STARTED + timedelta(seconds=20 + n) for n, name in enumerate(("started", "ended"))}
        self.tool(call, "2", name="look_up", state="started", started_at=STARTED + timedelta(seconds=40))
        self.tool(call, "1", name="take_message", state="finished", arguments='{"a": 1}', output='{"ok": 1}', **at)
        page = self.page(call)
        for text in (
            "Tools used",
            "{&quot;a&quot;: 1}",
            "{&quot;ok&quot;: 1}",
            "0:20 into the call · took 1.0 s",
            "Done",
        ):
            self.assertIn(text, page)
        self.assertLess(page.index("take_message"), page.index("look_up"))
        self.assertIn("Its end is not known", page)
        CallLog.objects.filter(pk=call.pk).update(status="in-progress")
        self.assertIn("Not finished", self.page(call))
        self.assertNotIn("Tools used", self.page(self.call()))

    def test_the_messages_that_were_taken_are_on_it(self) -> None:
        call = self.call()
        message = self.message(call, "1", caller_name="Nina", callback_number="+1 555 0100", text="Call me.\nThanks")
        page = self.page(call)
        for text in ("Messages taken", "Nina", '<a href="tel:+15550100">+1 555 0100</a>', "Call me.\nThanks", ">open<"):
            self.assertIn(text, page)
        self.assertIn(reverse("admin:calls_callmessage_change", args=[message.pk]), page)

    def test_everybody_who_was_called_for_the_caller_is_on_it(self) -> None:
        call = self.call(last_stream=2, streams={"0": {"turns": 1, "ended_reason": "transferred"}, "2": {"turns": 1}})
        self.turn(call, 0, bot_reply="I am putting you through.")
        self.turn(call, 10_000, bot_reply="Nobody could be reached.")
        self.turn(call, 20_000, bot_reply="Sorry, we were cut off.")
        self.leg(call, "1", state="refused", reason="hourly_cap")
        self.leg(call, "2", state="completed", number="+12125550171", duration_seconds=75, briefing=f"{CANARY} asks.")
        self.leg(call, "3", state="ringing")
        page = self.page(call)
        for text in (
            "Put through",
            "as many calls as we may in an hour",
            '<a href="tel:+12125550171">+12125550171</a>',
            "0:30 into the call · for 1:15",
            "Its end is not known",
            "The caller was to be put through here, and came back.",
            "The audio was interrupted here.",
            "<dd>once</dd>",  # resumed: the other time the caller came back from a transfer
        ):
            self.assertIn(text, page)
        self.assertNotIn(CANARY, page)
        self.assertNotIn("Put through", self.page(self.call()))

    def test_nothing_of_another_business_is_on_it(self) -> None:
        second = make_world("Second", 2)
        self.assertEqual(self.client.get(reverse("admin:calls_calllog_change", args=[second.call.pk])).status_code, 302)
        self.assertNotIn("Second", self.page(self.world.call))

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
        words = {"caller_name": CANARY, "callback_number": CANARY, "text": CANARY}
        message = self.message(call, CANARY, **words)
        self.tool(call, CANARY, name=CANARY, arguments=CANARY, output=CANARY)
        for page in (
            self.page(call),
            *(
                self.client.get(url).content.decode()
                for url in (LIST, MESSAGES, reverse("admin:calls_callmessage_change", args=[message.pk]))
            ),
        ):
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
        self.assertLessEqual(queries(long), 15)
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


class MessagesTest(CallsCase):
    def act(self, action: str, *chosen: CallMessage) -> str:
        form = {"action": action, "_selected_action": [message.pk for message in chosen]}
        return str(self.client.post(MESSAGES, form, follow=True).content.decode())

    def listed(self, query: str) -> set[int]:
        return {message.pk for message in self.client.get(f"{MESSAGES}?{query}").context["cl"].result_list}

    def test_a_message_is_shown_with_the_number_to_call_and_the_call_it_came_from(self) -> None:
        message = self.message(
            self.call(), "1", caller_name="Nina", callback_number="+15550100", text="x" * 300, taken_at=STARTED
        )
        page = self.client.get(MESSAGES).content.decode()
        for text in ("Nina", "+15550100", "23 Nov 2026, 09:05 EST", "x" * 199 + "…", ">open<", str(message.call)):
            self.assertIn(text, page)
        page = self.client.get(reverse("admin:calls_callmessage_change", args=[message.pk])).content.decode()
        for text in ('href="tel:+15550100"', "x" * 300, reverse("admin:calls_calllog_change", args=[message.call_id])):
            self.assertIn(text, page)

    def test_a_message_is_marked_as_handled_and_by_whom(self) -> None:
        first, second = (self.message(self.call(), key) for key in "12")
        self.assertIn("1 marked as handled.", self.act("mark_as_handled", first))
        first.refresh_from_db()
        self.assertEqual(first.handled_by, self.user)
        self.assertEqual(self.listed("handled=no"), {second.pk, self.world.message.pk})
        self.assertEqual(self.listed("handled=yes"), {first.pk})
        self.assertContains(self.client.get(MESSAGES), ", olga<")
        since = first.handled_at
        self.act("mark_as_handled", first, second)
        first.refresh_from_db()
        self.assertEqual(first.handled_at, since)
        self.act("mark_as_open", first)
        first.refresh_from_db()
        self.assertEqual((first.handled_at, first.handled_by), (None, None))

    def test_a_message_of_another_business_is_neither_shown_nor_marked(self) -> None:
        theirs = make_world("Second", 2).message
        self.assertNotIn("Second", self.client.get(MESSAGES).content.decode())
        self.assertEqual(self.listed(f"q={theirs.caller_name}"), set())
        for page in ("change", "history", "delete"):
            url = reverse(f"admin:calls_callmessage_{page}", args=[theirs.pk])
            self.assertIn(self.client.get(url).status_code, {302, 403}, page)
        self.act("mark_as_handled", theirs)
        theirs.refresh_from_db()
        self.assertIsNone(theirs.handled_at)

    def test_an_operator_may_mark_messages_and_who_may_only_look_may_not(self) -> None:
        operator = User.objects.create_user("otto", is_staff=True)
        operator.groups.add(Group.objects.get(name="Operators"))
        onlooker = User.objects.create_user("lena", is_staff=True)
        onlooker.user_permissions.add(Permission.objects.get(codename="view_callmessage"))
        for user, may in ((onlooker, False), (operator, True)):
            Membership.objects.create(user=user, business=self.world.business)
            self.client.force_login(user)
            self.assertContains(self.client.get(MESSAGES), "Harbor caller")
            self.act("mark_as_handled", self.world.message)
            self.world.message.refresh_from_db()
            self.assertIs(self.world.message.handled_at is not None, may)
        CallMessage.objects.update(handled_at=None, handled_by=None)

    def test_nobody_adds_changes_or_deletes_a_message(self) -> None:
        self.client.force_login(User.objects.create_superuser("boss"))
        self.assertEqual(self.client.get(reverse("admin:calls_callmessage_add")).status_code, 403)
        for page in ("change", "delete"):
            url = reverse(f"admin:calls_callmessage_{page}", args=[self.world.message.pk])
            self.assertEqual(self.client.post(url, {"text": "x", "post": "yes"}).status_code, 403)

    def test_the_list_takes_the_same_few_queries_whatever_it_shows(self) -> None:
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                self.client.get(MESSAGES)
            return len(captured)

        few = queries()
        for _ in range(30):
            self.message(self.call(), "1", handled_at=STARTED, handled_by=self.user)
        self.assertEqual(queries(), few)
        self.assertLessEqual(few, 12)


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
            urls.append(reverse(f"{start}_changelist"))
            if not model._meta.managed:  # a page without rows
                continue
            urls.append(reverse(f"{start}_add"))
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
