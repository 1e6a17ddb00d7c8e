"""A call, and what is made of it when it is over: through the socket, the record, beat, the queue, the worker and the
simulated models, to the page."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse
from django_celery_results.models import TaskResult

from analysis.models import AfterCallSettings, CallAnalysis, Lead, LeadField
from calls.models import CallLog
from simulators import speech
from tests.businesses.worlds import staff_member
from tests.e2e.cases import CALLER, SystemTestCase
from tests.e2e.processes import Child, python


class AfterTheCall(SystemTestCase):
    def start(self, name: str, *arguments: str) -> Child:
        child = self.system._start(name, python("-m", "celery", "-A", "voiceagent", *arguments))
        self.addCleanup(child.stop)
        return child

    def analysed(self, call: CallLog) -> CallAnalysis:
        def done() -> CallAnalysis | None:
            return CallAnalysis.objects.filter(call=call, state="done").first()

        row: CallAnalysis = self.wait(done, "the call is analysed", seconds=60)
        return row

    def test_a_call_is_analysed_and_stands_on_its_page(self) -> None:
        AfterCallSettings.objects.create(business=self.business, is_on=True)
        LeadField.objects.create(business=self.business, name="wants", label="Opening hours asked", kind="yes_no")
        ledger = self.call("question")
        call = self.finished(ledger.call_sid)
        self.seconds_counted_by_the_carrier(call)  # the last that is written of it
        before = CallLog.objects.filter(pk=call.pk).values().get()
        self.assertFalse(CallAnalysis.objects.exists())  # nobody serves the queue, and the record is whole

        worker = self.start("offline", "worker", "-Q", "offline", "-c", "1", "-n", "offline@%h", "-l", "INFO", "-E")
        schedule = str(self.system.directory / "schedule")
        beat = self.start("beat", "beat", "-l", "INFO", "--pidfile=", "-s", schedule)
        row = self.analysed(call)

        asked = speech.load("ask-hours").text
        self.assertIn(asked.split()[0], row.summary)
        self.assertEqual((row.business, row.tries, row.model), (self.business, 1, "gpt-6-luna"))
        self.assertGreater(row.cost or 0, 0)
        self.assertEqual(CallLog.objects.filter(pk=call.pk).values().get(), before)
        self.assertFalse(Lead.objects.exists())  # nothing was told

        browser = Client()
        browser.force_login(staff_member(self.business))
        page = browser.get(reverse("admin:calls_calllog_change", args=[call.pk])).content.decode()
        self.assertIn('id="analysis"', page)
        self.assertIn("The caller said:", page)

        self.wait(lambda: TaskResult.objects.filter(result__contains=f"analysis {row.pk}: done").exists(), "its result")
        seen = worker.output() + beat.output() + " ".join(str(result) for result in TaskResult.objects.values())
        for secret in (asked, CALLER, "The caller said"):
            self.assertNotIn(secret, seen)
