"""The list of calls as if there were millions: how far it counts and pages, how one goes on, and what it asks for."""

from __future__ import annotations

import re
from datetime import timedelta
from unittest import mock
from urllib.parse import parse_qs, quote

from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from calls import call_list
from calls.models import CallLog, ConversationTurn
from tests.businesses.worlds import STARTED
from tests.calls.test_admin import LIST, CallsCase


class FewReachable(CallsCase):
    """Seven calls, of which five can be paged through, two on a page."""

    def setUp(self) -> None:
        super().setUp()
        CallLog.objects.all().delete()
        self.rows = [self.call(started_at=STARTED + timedelta(minutes=number)) for number in range(7)]
        self.enterContext(mock.patch.object(call_list, "REACHABLE", 5))
        self.enterContext(mock.patch("calls.admin.REACHABLE", 5))
        self.enterContext(mock.patch("calls.admin.CallLogAdmin.list_per_page", 2))

    def shown(self, query: str = "") -> list[int]:
        response = self.client.get(f"{LIST}?{query}")
        self.assertEqual(response.status_code, 200)
        return [self.rows.index(call) for call in response.context["cl"].result_list]

    def older(self, query: str) -> str:
        found = re.search(r'<a href="\?([^"]*until=[^"]*)">See the calls before these', self.page_of(query))
        return found[1].replace("&amp;", "&") if found else ""

    def page_of(self, query: str) -> str:
        return str(self.client.get(f"{LIST}?{query}").content.decode())


class PagingTest(FewReachable):
    def test_pages_hold_the_newest_first_and_end_where_they_are_said_to(self) -> None:
        self.assertEqual([self.shown(f"p={number}") for number in (1, 2, 3)], [[6, 5], [4, 3], [2]])
        response = self.client.get(LIST)
        self.assertEqual((response.context["cl"].result_count, response.context["cl"].paginator.num_pages), (5, 3))
        self.assertContains(response, "pages go as far as 5 calls")

    def test_a_page_beyond_the_last_one_is_refused_as_ever(self) -> None:
        self.assertRedirects(self.client.get(f"{LIST}?p=4"), f"{LIST}?e=1", fetch_redirect_response=False)

    def test_the_last_page_leads_to_what_is_older_until_nothing_is(self) -> None:
        self.assertEqual((self.older("p=1"), self.older("p=2")), ("", ""))
        query = self.older("p=3")
        self.assertNotIn("p", parse_qs(query))
        self.assertEqual(self.shown(query), [2, 1])  # the last one once more, so that none of its moment is missed
        self.assertEqual(self.shown(f"{query}&p=2"), [0])
        self.assertEqual(self.older(f"{query}&p=2"), "")
        self.assertNotIn("There are more", self.page_of(f"{query}&p=2"))

    def test_going_on_keeps_the_filters(self) -> None:
        query = self.older("p=3&status__exact=completed")
        self.assertEqual(parse_qs(query)["status__exact"], ["completed"])
        self.assertEqual(self.shown(query), [2, 1])
        CallLog.objects.filter(pk=self.rows[1].pk).update(status="failed")
        self.assertEqual(self.shown(query), [2, 0])

    def test_what_is_no_time_finds_nothing(self) -> None:
        for value in ("yesterday", "2026-11-23", "2026-11-23T10:00:00", "'"):
            with self.subTest(value):
                self.assertEqual(self.shown(f"until={quote(value)}"), [])

    def test_the_chosen_time_can_be_taken_back_and_is_not_offered_otherwise(self) -> None:
        self.assertNotIn("By until", self.page_of(""))
        self.assertIn("23 Nov 2026, 14:07 UTC", self.page_of(self.older("p=3")))

    def test_few_calls_are_all_there(self) -> None:
        CallLog.objects.filter(pk__in=[call.pk for call in self.rows[:2]]).delete()
        response = self.client.get(f"{LIST}?p=3")
        self.assertEqual(response.context["cl"].result_count, 5)
        self.assertNotContains(response, "There are more")

    def test_only_the_time_sorts(self) -> None:
        self.assertEqual(self.shown("o=0"), [0, 1])
        for column in range(1, 8):
            self.assertEqual(self.shown(f"o={column}"), [6, 5], column)


class QueriesTest(CallsCase):
    """Held exactly: one more query a page is one more for every operator, all day."""

    def test_the_list(self) -> None:
        for number in range(60):
            call = self.call(started_at=STARTED + timedelta(minutes=number))
            self.turn(call, 0, bot_reply="Hello")
        # Session, user, their permissions (2), the businesses of the user, agents, count, the page's ids, its rows.
        for query in ("", "p=2", "status__exact=completed", "q=%2B1555", "when=month", "o=0"):
            with self.subTest(query), self.assertNumQueries(LIST_QUERIES):
                self.client.get(f"{LIST}?{query}")
        self.client.force_login(User.objects.create_superuser("boss"))
        with self.assertNumQueries(LIST_QUERIES - 3):
            self.client.get(LIST)

    def test_counting_and_skipping_read_no_turns(self) -> None:
        for _ in range(60):
            self.call()
        with CaptureQueriesContext(connection) as captured:
            self.client.get(LIST)
        of_calls = [query["sql"] for query in captured if 'FROM "calls_calllog"' in query["sql"]]
        with_turns = [sql for sql in of_calls if "calls_conversationturn" in sql]
        self.assertEqual(len(of_calls), 3)
        self.assertEqual(len(with_turns), 1)
        self.assertIn('"calls_calllog"."id" IN (', with_turns[0])
        for long_text in ('"transcript"', '"instructions"', '"greeting"', '"frozen_http_tools"'):
            self.assertNotIn(long_text, " ".join(of_calls))

    def test_the_page_of_a_call_with_five_hundred_turns(self) -> None:
        call = self.call()
        ConversationTurn.objects.bulk_create(
            ConversationTurn(call=call, turn_index=index, user_text="And?", bot_reply="Yes.") for index in range(500)
        )
        self.page(call)  # what a process asks once
        with self.assertNumQueries(PAGE_QUERIES):
            self.page(call)


# Of a page two ask whether the call may be read after its end, and one what was recorded.
LIST_QUERIES, PAGE_QUERIES = 10, 15
