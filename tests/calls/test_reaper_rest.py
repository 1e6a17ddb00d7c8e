"""What the carrier's REST API says, asked of the simulated carrier over HTTP, and what becomes of it."""

from __future__ import annotations

import socket
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import SimpleTestCase, TestCase, override_settings

from calls import reaper, reconciliation, services, tasks
from calls.carriers import twilio_rest
from calls.carriers.answers import CarrierCall, CarrierUnreachable, NoSuchCall, Unreachable
from calls.models import CallLeg, CallLog, SuspectCall
from simulators.carrier.account import Account, CallResource
from simulators.carrier.rest import Api, RestServer
from tests.calls.support import ACCOUNT_SID, CALLER, OUR_NUMBER, a_business

TOKEN = "0" * 32
BEGAN = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


class Rest(SimpleTestCase):
    """The simulated carrier's API, which TWILIO_API_URL names."""

    databases = set()

    def setUp(self) -> None:
        self.account = Account(ACCOUNT_SID)
        self.api = Api(self.account, TOKEN)
        self.point_at(self.enterContext(RestServer(self.api)).port)

    def point_at(self, port: int, **more: Any) -> None:
        url = f"http://127.0.0.1:{port}"
        named = {"TWILIO_ACCOUNT_SID": ACCOUNT_SID, "TWILIO_AUTH_TOKENS": [TOKEN], "TWILIO_API_URL": url}
        self.enterContext(override_settings(**named, **more))

    def at_the_carrier(self, status: str, *, seconds: int = 30, **fields: Any) -> CallResource:
        call = self.account.add_call("inbound", CALLER, OUR_NUMBER)
        call.status, call.started, call.created = status, BEGAN, BEGAN
        if status not in {"ringing", "in-progress"}:
            call.ended = BEGAN + timedelta(seconds=seconds)
        for name, value in fields.items():
            setattr(call, name, value)
        return call

    def a_port_that(self, *, accepts: bool) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = int(listener.getsockname()[1])
        if not accepts:
            listener.close()
        return port


class FetchTest(Rest):
    def test_a_call_that_is_over_comes_with_its_times(self) -> None:
        call = self.at_the_carrier("completed")
        self.assertEqual(
            twilio_rest.fetch(call.sid),
            CarrierCall(
                call_sid=call.sid,
                status="completed",
                from_number=CALLER,
                to_number=OUR_NUMBER,
                direction="inbound",
                started_at=BEGAN,
                ended_at=BEGAN + timedelta(seconds=30),
                duration_seconds=30,
            ),
        )

    def test_a_call_that_goes_on_has_no_end(self) -> None:
        answer = twilio_rest.fetch(self.at_the_carrier("in-progress").sid)
        assert isinstance(answer, CarrierCall)
        self.assertEqual((answer.status, answer.ended_at, answer.duration_seconds), ("in-progress", None, None))

    def test_a_call_that_the_carrier_does_not_know(self) -> None:
        self.assertEqual(twilio_rest.fetch("CA" + "f" * 32), NoSuchCall())

    def test_too_many_requests_and_failures_are_no_answer(self) -> None:
        call = self.at_the_carrier("completed")
        for status in (429, 500, 503):
            self.api.fail_next = [status]
            self.assertEqual(twilio_rest.fetch(call.sid), Unreachable(str(status)))

    def test_a_wrong_token_is_no_answer(self) -> None:
        with override_settings(TWILIO_AUTH_TOKENS=["1" * 32]):
            self.assertEqual(twilio_rest.fetch("CA" + "f" * 32), Unreachable("401"))

    def test_a_server_that_hangs_costs_the_deadline_and_no_more(self) -> None:
        self.point_at(self.a_port_that(accepts=True))
        began = time.monotonic()
        answer = twilio_rest.fetch("CA" + "f" * 32, seconds=0.3)
        self.assertIsInstance(answer, Unreachable)
        self.assertLess(time.monotonic() - began, 3)

    def test_a_server_that_refuses_is_no_answer(self) -> None:
        self.point_at(self.a_port_that(accepts=False))
        self.assertEqual(twilio_rest.fetch("CA" + "f" * 32), Unreachable("ConnectionError"))

    def test_there_is_something_to_ask_with_an_account_or_an_address(self) -> None:
        for simulated, url, available in ((True, "", False), (True, "http://x", True), (False, "", True)):
            named = {"TWILIO_IS_SIMULATED": simulated, "TWILIO_API_URL": url}
            with self.subTest(named), override_settings(**named):
                self.assertIs(twilio_rest.is_available(), available)


class SweepOverHttpTest(Rest, TestCase):
    databases = {"default"}

    def setUp(self) -> None:
        super().setUp()
        self.business, _ = a_business()

    def sweep_twice(self) -> reaper.Sweep:
        """Long after the calls, with the carrier asked as in a worker."""
        reaper.sweep(BEGAN + timedelta(hours=1), replay=lambda: None)
        return reaper.sweep(BEGAN + timedelta(hours=1, seconds=15), replay=lambda: None)

    def rang_here(self, call: CallResource) -> None:
        numbers: dict[str, Any] = {"from_number": CALLER, "to_number": OUR_NUMBER, "direction": "inbound"}
        services.create_call_log(call.sid, self.business.pk, **numbers, status="ringing", occurred_at=BEGAN.isoformat())

    def test_each_call_ends_as_the_carrier_says(self) -> None:
        sids = {}
        for status in ("completed", "busy", "no-answer", "failed", "canceled", "in-progress"):
            call = self.at_the_carrier(status)
            sids[call.sid] = status
            self.rang_here(call)
        self.assertEqual(self.sweep_twice(), reaper.Sweep(ended=5, waiting=1))
        ours = dict(CallLog.objects.values_list("call_sid", "status"))
        self.assertEqual(ours, {sid: "ringing" if status == "in-progress" else status for sid, status in sids.items()})

    def test_too_many_requests_and_failures_mean_later(self) -> None:
        for status in (429, 503):
            with self.subTest(status):
                self.rang_here(self.at_the_carrier("completed"))
                self.api.fail_next = [status]
                self.assertEqual(self.sweep_twice().waiting, 1)
                self.assertEqual(SuspectCall.objects.get().answer, str(status))
                reaper.sweep(BEGAN + timedelta(hours=1, seconds=30), replay=lambda: None)
                self.assertFalse(SuspectCall.objects.exists())
                self.assertFalse(CallLog.objects.live().exists())

    def test_a_call_unknown_to_the_carrier_never_connected(self) -> None:
        self.rang_here(CallResource("CA" + "f" * 32, "inbound", CALLER, OUR_NUMBER))
        self.sweep_twice()
        row = CallLog.objects.get()
        self.assertEqual((row.status, row.ended_reason, row.end_source), ("failed", "never_connected", "guess"))


class ReconciliationTest(Rest, TestCase):
    databases = {"default"}
    NOW = BEGAN + timedelta(hours=2)

    def setUp(self) -> None:
        super().setUp()
        self.business, _ = a_business()

    def compare(self) -> reconciliation.Comparison:
        return reconciliation.reconcile(twilio_rest.calls_since(self.NOW - reconciliation.LOOK_BACK), self.NOW)

    def test_a_call_that_only_the_carrier_knows_gets_a_row_once(self) -> None:
        call = self.at_the_carrier("completed")
        self.assertEqual(self.compare(), reconciliation.Comparison(created=1))
        row = CallLog.objects.get()
        self.assertEqual((row.call_sid, row.business_id, row.status), (call.sid, self.business.pk, "completed"))
        self.assertEqual((row.from_number, row.to_number, row.end_source), (CALLER, OUR_NUMBER, "reconciled"))
        self.assertEqual((row.started_at, row.duration_seconds, row.is_complete), (BEGAN, 30, True))
        self.assertEqual(self.compare(), reconciliation.Comparison(known=1))

    def test_an_outbound_call_is_ours_by_who_placed_it(self) -> None:
        self.at_the_carrier("no-answer", direction="outbound-api", from_number=OUR_NUMBER, to_number=CALLER)
        self.assertEqual(self.compare().created, 1)
        self.assertEqual(CallLog.objects.get().direction, "outbound")

    def test_a_colleague_who_was_called_for_a_caller_is_a_leg_and_no_call(self) -> None:
        colleague = self.at_the_carrier(
            "completed", direction="outbound-api", from_number=OUR_NUMBER, to_number="+12125550171"
        )
        call = CallLog.objects.create(call_sid="CA" + "9" * 32, business=self.business)
        CallLeg.objects.create(call=call, business=self.business, key="call_1", kind="warm", leg_sid=colleague.sid)
        self.assertEqual(self.compare(), reconciliation.Comparison(known=1))
        self.assertEqual(CallLog.objects.count(), 1)

    def test_what_is_not_ours_not_over_or_just_over_is_left(self) -> None:
        self.at_the_carrier("completed", to_number="+15550109999")
        self.at_the_carrier("completed", direction="outbound-dial", from_number=OUR_NUMBER)
        self.at_the_carrier("in-progress")
        self.at_the_carrier("completed", ended=self.NOW - timedelta(minutes=1))
        self.assertEqual(self.compare(), reconciliation.Comparison(not_ours=4))
        self.assertFalse(CallLog.objects.exists())

    def test_a_long_list_comes_in_pages(self) -> None:
        for _ in range(twilio_rest.PAGE + 3):
            self.at_the_carrier("completed")
        self.assertEqual(self.compare().created, twilio_rest.PAGE + 3)

    def test_a_carrier_that_fails_is_said_and_nothing_else(self) -> None:
        self.at_the_carrier("completed")
        self.api.fail_next = [503]
        with self.assertRaises(CarrierUnreachable):
            self.compare()
        self.api.fail_next = [503]
        with override_settings(RECONCILE_CALLS=True), self.assertLogs("calls.tasks", "ERROR"):
            tasks.reconcile_calls.run()

    def test_the_task_asks_only_when_told_to(self) -> None:
        with override_settings(RECONCILE_CALLS=False):
            tasks.reconcile_calls.run()
        self.assertEqual(self.api.requests, [])
        with override_settings(RECONCILE_CALLS=True):
            tasks.reconcile_calls.run()
        self.assertEqual(len(self.api.requests), 1)
