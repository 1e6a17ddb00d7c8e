"""What the record of a call is worth when its helpers are away, and what it must not contain."""

from django_celery_results.models import TaskResult

from calls.models import CallLog
from simulators import speech
from simulators.carrier.faults import Faults
from tests.e2e.cases import CALLER, NUMBER, SystemTestCase


class TheRecordHoldsWhateverIsAway(SystemTestCase):
    def test_jobs_can_be_seen_and_tell_nothing_of_what_was_said(self) -> None:
        ledger = self.call("question")
        self.finished(ledger.call_sid)
        names = {"calls.tasks.create_call_log", "calls.tasks.save_conversation_turn", "calls.tasks.finalize_call_log"}

        def seen() -> set[str]:
            done = TaskResult.objects.filter(status="SUCCESS", task_kwargs__contains=ledger.call_sid)
            return set(done.values_list("task_name", flat=True))

        self.wait(lambda: names <= seen(), "every job of the call shows as done")
        columns = " ".join(str(row) for row in TaskResult.objects.values())
        logs = self.system.web.output() + self.system.worker.output()
        for secret in (speech.load("ask-hours").text, speech.load("hours").text, "close today", CALLER, NUMBER):
            self.assertNotIn(secret, columns)
            self.assertNotIn(secret, logs)

    def test_a_call_without_any_worker_is_in_the_log_once_one_is_back(self) -> None:
        self.system.worker.stop()
        ledger = self.call("question")
        self.assertTrue(ledger.ok)
        self.system.start_worker()
        row = self.finished(ledger.call_sid, seconds=40)
        self.assertEqual(len(self.turns(ledger.call_sid)), row.expected_turns)

    def test_the_status_callback_ends_a_call_whose_stop_never_came(self) -> None:
        ledger = self.call("hang-up-mid-sentence", faults=Faults(no_stop=True, completed_before_stop=True))
        row = self.finished(ledger.call_sid)
        self.assertEqual(row.status, "completed")
        self.assertEqual(row.duration_seconds, ledger.duration_seconds)

    def test_doubled_and_shuffled_status_callbacks_change_nothing(self) -> None:
        faults = Faults(status_duplicate=True, status_shuffle=True, duplicate_webhook=True)
        events = ("initiated", "ringing", "answered", "completed")
        ledger = self.call("question", faults=faults, status_events=events)
        row = self.finished(ledger.call_sid)
        self.assertEqual((row.status, row.ended_reason), ("completed", "caller_hung_up"))
        self.assertEqual(CallLog.objects.count(), 1)

    def test_an_unknown_number_is_answered_politely_and_connects_nobody(self) -> None:
        ledger = self.call(to="+15550100999")
        self.assertEqual([request.status for request in ledger.requests_of("voice")], [200])
        self.assertEqual(ledger.streams, [])
        self.assertIn("Say", " ".join(ledger.verbs))


class TheRecordHoldsWithoutABroker(SystemTestCase):
    def test_a_call_is_written_directly(self) -> None:
        if self.system.broker is None:
            self.skipTest("the broker is not the test's own: run without REDIS_URL")
        self.system.broker.kill()
        ledger = self.call("question")
        self.assertTrue(ledger.ok, self.trouble())
        self.assertEqual(self.finished(ledger.call_sid).expected_turns, 2)
