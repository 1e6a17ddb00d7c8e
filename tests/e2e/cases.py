"""What every end-to-end test stands on: one running system for the class, a business that answers, calls and ledgers.

A call takes its real time. A class therefore places the calls that its tests only look at together, in `place_calls`,
and nothing is deleted between its tests.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management.color import no_style
from django.db import connection
from django.test import SimpleTestCase

from businesses import demo
from businesses.models import Business
from calls.models import CallLog, ConversationTurn
from simulators.carrier.carrier import Carrier
from simulators.carrier.ledger import CallLedger
from simulators.carrier.script import Script
from simulators.carrier.settings import Settings
from tests.e2e import system as running
from tests.e2e.processes import wait_until

NUMBER = "+15550100100"
CALLER = "+15550100199"


def empty_database() -> None:
    """Delete all that a system writes. A flush would take along what migrations put in, and other tests come after."""
    ours = [
        apps.get_app_config(name) for name in ("analysis", "outbound", "calls", "businesses", "django_celery_results")
    ]
    tables = [model._meta.db_table for app in ours for model in app.get_models(include_auto_created=True)]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, allow_cascade=True))
    get_user_model().objects.all().delete()  # the same names come again in other classes


class SystemTestCase(SimpleTestCase):
    """Starts the system once for its class, with the demonstration business; empties the database after it."""

    databases = "__all__"
    model_options: ClassVar[tuple[str, ...]] = ()
    environment: ClassVar[dict[str, str]] = {}
    system: ClassVar[running.System]
    business: ClassVar[Business]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.addClassCleanup(empty_database)
        demo.seed()
        cls.business = Business.objects.get()
        cls.system = cls.enterClassContext(running.System(*cls.model_options, **cls.environment))
        asyncio.run(cls.place_calls())

    @classmethod
    async def place_calls(cls) -> None:
        """The calls that the tests of this class look at."""

    def setUp(self) -> None:
        self._model_facts_before = len(self._all_model_facts())

    @classmethod
    def carrier(cls, **changes: Any) -> Carrier:
        """The carrier of this system's account; `changes` are simulators.carrier.Settings fields."""
        fields: dict[str, Any] = {
            "public_url": running.PUBLIC_URL,
            "account_sid": running.ACCOUNT_SID,
            "auth_token": running.AUTH_TOKEN,
            "connect_to": ("127.0.0.1", cls.system.port),
            "status_path": "/twilio/status/",
        }
        return Carrier(Settings(**fields | changes))

    @classmethod
    async def place(cls, script: Script | str, to: str = NUMBER, **changes: Any) -> CallLedger:
        """Place one call and wait until the carrier has seen its end."""
        with cls.carrier(**changes) as carrier:
            return await carrier.place_call(script, from_=CALLER, to=to)

    def call(self, script: str = "greeting-only", to: str = NUMBER, **changes: Any) -> CallLedger:
        return asyncio.run(self.place(script, to, **changes))

    def finished(self, call_sid: str, seconds: float = 30) -> CallLog:
        """The call's row, once the record says that it is complete."""

        def complete() -> CallLog | None:
            return CallLog.objects.filter(call_sid=call_sid, is_complete=True).first()

        row: CallLog = wait_until(complete, seconds, f"the record of {call_sid} is complete; {self.trouble()}")
        return row

    def seconds_counted_by_the_carrier(self, row: CallLog) -> int | None:
        """The call's duration, once the status callback is in: it comes by a job of its own, before or after the end
        that the call itself reports, and until then our own count stands, which may differ by a second."""
        told = CallLog.objects.filter(pk=row.pk, carrier_duration_seconds__isnull=False)
        self.wait(told.exists, "the carrier's count of seconds is in the record")
        return told.get().duration_seconds

    def turns(self, call_sid: str) -> list[ConversationTurn]:
        return list(ConversationTurn.objects.filter(call__call_sid=call_sid).order_by("turn_index"))

    def trouble(self) -> str:
        """The ends of the children's logs, for the message of a failing test."""
        return "\n".join(
            f"--- {child.name}\n{child.output()[-2500:]}" for child in (self.system.web, self.system.worker)
        )

    def model_facts(self) -> list[dict[str, Any]]:
        """What the model noted during this test."""
        return self._all_model_facts()[self._model_facts_before :]

    def model_session(self, session_id: str) -> list[dict[str, Any]]:
        return [fact for fact in self._all_model_facts() if fact["session_id"] == session_id]

    def _all_model_facts(self) -> list[dict[str, Any]]:
        path = self.system.model_ledger
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        return wait_until(condition, seconds, what + "; " + self.trouble())
