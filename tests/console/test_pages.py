"""The page, the command and /metrics: who may see them, and that they come whatever the broker does."""

from __future__ import annotations

import hmac
import json
import logging
import time
from io import StringIO
from typing import Any
from unittest import mock

from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from calls import heartbeats
from calls.models import DeadLetter
from console import collect, views
from tests.businesses.worlds import make_world, staff_member
from tests.calls.valkey import Valkey

PAGE = "/admin/console/jobs/"
TOKEN = "0123456789abcdef01234567-token"


class PageCase(TestCase):
    valkey: Valkey

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.valkey = Valkey()
        cls.addClassCleanup(cls.valkey.close)

    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)  # a line for each request
        self.addCleanup(logging.disable, logging.NOTSET)
        self.enterContext(override_settings(REDIS_URL=self.valkey.url))
        self.admin = User.objects.create_superuser("root")
        self.client.force_login(self.admin)


class JobsPageTest(PageCase):
    def test_it_stands_on_admins_first_page_and_says_what_is_wrong_and_what_to_do(self) -> None:
        self.assertContains(self.client.get("/admin/"), f'href="{PAGE}"')
        DeadLetter.objects.create(task_id="1", kind="finalize_call_log", call_sid="CA1", reason="x", deliveries=5)
        page = self.client.get(PAGE)
        for text in (
            "No worker takes jobs from this queue",
            "celery -A voiceagent worker -Q high,default",
            "/admin/calls/deadletter/?replayed=no",
            "No web process beats",
            "Queue high",
            "Queue default",
            '<span class="badge badge--bad">something is wrong</span>',
        ):
            self.assertContains(page, text)

    def test_a_system_that_runs_has_nothing_to_do(self) -> None:
        client = self.valkey.client()
        self.addCleanup(client.flushall)
        from console import workers

        workers.beat(client, "w1", collect.tasks().values())
        heartbeats.beat(timezone.now(), 2, loop_late_ms=1)
        page = self.client.get(PAGE)
        self.assertContains(page, "all is well")
        self.assertNotContains(page, "What to do")
        self.assertContains(page, "<dt>Live calls</dt><dd>2</dd>")

    def test_it_takes_the_same_queries_whatever_there_is(self) -> None:
        self.client.get(PAGE)
        with CaptureQueriesContext(
            connection,
        ) as few:
            self.client.get(PAGE)
        for number in range(30):
            heartbeats.beat(timezone.now(), 1, str(number))
            DeadLetter.objects.create(task_id=f"{number}", kind="save_message", call_sid="C", reason="x", deliveries=5)
        with self.assertNumQueries(len(few)):
            self.client.get(PAGE)
        self.assertLessEqual(len(few), 27)  # of three queues; savepoints and their limits on PostgreSQL counted

    def test_it_comes_within_a_second_of_a_broker_that_refuses_or_hangs(self) -> None:
        with override_settings(REDIS_URL="redis://127.0.0.1:1/0"):
            self.assertContains(self.client.get(PAGE), "Redis does not answer")
        self.client.get(PAGE)
        self.valkey.hang()
        self.addCleanup(self.valkey.go_on)
        began = time.monotonic()
        page = self.client.get(PAGE)
        self.assertLess(time.monotonic() - began, 1.9)
        self.assertContains(page, "Redis does not answer")
        self.assertContains(page, "does not answer (TimeoutError)")

    def test_only_superusers_see_it_whatever_permission_staff_have(self) -> None:
        user = staff_member(make_world("Harbor", 1).business)
        user.groups.set(Group.objects.all())
        user.user_permissions.set(Permission.objects.all())
        self.client.force_login(User.objects.get(pk=user.pk))
        self.assertNotContains(self.client.get("/admin/"), PAGE)
        self.assertEqual(self.client.get(PAGE).status_code, 403)
        self.assertEqual(self.client.post(PAGE).status_code, 403)
        self.client.logout()
        self.assertEqual(self.client.get(PAGE).status_code, 302)

    def test_there_are_no_rows_behind_it(self) -> None:
        for path in ("add/", "1/change/", "1/delete/", "1/history/"):
            self.assertEqual(self.client.get(PAGE + path).status_code, 404, path)


class CommandTest(PageCase):
    def run_it(self, *options: str) -> tuple[str, Any]:
        output = StringIO()
        code: Any = 0
        try:
            call_command("jobs", *options, stdout=output)
        except SystemExit as end:
            code = end.code
        return output.getvalue(), code

    def test_it_prints_what_the_page_says_and_fails_when_something_is_wrong(self) -> None:
        output, code = self.run_it()
        self.assertEqual(code, 1)
        self.assertRegex(output, r"\Abad ")
        self.assertIn("-> celery -A voiceagent worker -Q high,default", output)

    def test_json_is_for_programs(self) -> None:
        output, code = self.run_it("--json")
        found = json.loads(output)
        self.assertEqual((found["level"], code), ("bad", 1))
        self.assertEqual([queue["name"] for queue in found["queues"]][:2], ["high", "default"])

    def test_it_works_without_a_database(self) -> None:
        with mock.patch.object(heartbeats, "database_now", side_effect=OperationalError("secret of the server")):
            output, code = self.run_it()
        self.assertIn("The database does not answer", output)
        self.assertIn("OperationalError", output)
        self.assertNotIn("secret", output)
        self.assertEqual(code, 1)


class MetricsTest(PageCase):
    def get(self, authorization: str | None) -> Any:
        self.client.logout()
        headers = {} if authorization is None else {"Authorization": authorization}
        return self.client.get("/metrics", headers=headers)

    def test_without_the_setting_there_is_no_such_address(self) -> None:
        for authorization in (None, "Bearer ", "Bearer x"):
            self.assertEqual(self.get(authorization).status_code, 404)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_only_the_token_opens_it(self) -> None:
        for wrong in (None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \u00fc"):
            response = self.get(wrong)
            self.assertEqual((response.status_code, response.content), (401, b""), wrong)
        response = self.get(f"Bearer {TOKEN}")
        self.assertEqual(response.status_code, 200)
        self.assertIn("text/plain", response["Content-Type"])
        self.assertContains(response, 'voiceagent_queue_depth{queue="high"} 0.0')
        self.assertContains(response, 'voiceagent_up{part="broker"} 1.0')

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_it_is_read_only(self) -> None:
        self.assertEqual(self.client.post("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code, 405)

    def test_the_token_is_compared_in_constant_time(self) -> None:
        with mock.patch.object(hmac, "compare_digest", return_value=True) as compare:
            self.assertTrue(views.has_token("Bearer given", TOKEN))
        compare.assert_called_once_with(b"given", TOKEN.encode())
