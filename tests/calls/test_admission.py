"""Is there room for one more call? Time is an argument: nothing here waits."""

from __future__ import annotations

from unittest import TestCase, mock

from django.test import override_settings

from calls import admission as of_this_process
from calls.admission import PENDING_SECONDS, Admission

NOON = 43_200.0
HARBOR, LAKE = 1, 2


def sid(number: int) -> str:
    return f"CA{number:032x}"


class AdmissionTest(TestCase):
    def setUp(self) -> None:
        self.journal_reason = ""

    def admission(self, max_calls: int = 0) -> Admission:
        return Admission(max_calls=max_calls, late_seconds=0.25, journal_reason=lambda: self.journal_reason)


class ProcessTest(AdmissionTest):
    def test_the_process_takes_its_number_of_calls_and_no_more(self) -> None:
        admission = self.admission(max_calls=2)
        self.assertEqual([admission.admit(sid(n), HARBOR, NOON) for n in (1, 2, 3)], ["", "", "process_full"])

    def test_no_limit_is_no_limit(self) -> None:
        admission = self.admission(max_calls=0)
        self.assertEqual({admission.admit(sid(n), HARBOR, NOON) for n in range(1000)}, {""})

    def test_a_webhook_sent_again_takes_one_place(self) -> None:
        admission = self.admission(max_calls=2)
        self.assertEqual([admission.admit(sid(1), HARBOR, NOON) for _ in range(3)], ["", "", ""])
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON), "")
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON), "")

    def test_a_stream_that_opens_elsewhere_gives_its_place_back(self) -> None:
        admission = self.admission(max_calls=1)
        admission.admit(sid(1), HARBOR, NOON)
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON + PENDING_SECONDS - 0.1), "process_full")
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON + PENDING_SECONDS), "")

    def test_an_open_stream_keeps_its_place_until_it_closes(self) -> None:
        admission = self.admission(max_calls=1)
        admission.admit(sid(1), HARBOR, NOON)
        admission.stream_opened(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON + 3600), "process_full")
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON + 3600), "")  # its stream is to be resumed
        admission.stream_closed(sid(1))
        admission.call_over(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON + 3600), "")

    def test_a_resumed_stream_may_open_before_the_old_one_has_closed(self) -> None:
        admission = self.admission(max_calls=1)
        admission.stream_opened(sid(1))
        admission.stream_opened(sid(1))
        admission.stream_closed(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON), "process_full")
        admission.stream_closed(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON), "")

    def test_a_caller_who_gives_up_gives_the_place_back(self) -> None:
        admission = self.admission(max_calls=1)
        admission.admit(sid(1), HARBOR, NOON)
        admission.call_over(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON), "")

    def test_an_end_of_an_unknown_call_changes_nothing(self) -> None:
        admission = self.admission(max_calls=1)
        admission.stream_closed(sid(9))
        admission.call_over(sid(9))
        self.assertEqual([admission.admit(sid(n), HARBOR, NOON) for n in (1, 2)], ["", "process_full"])

    def test_a_stream_whose_webhook_another_process_answered_must_not_take_a_promised_place(self) -> None:
        admission = self.admission(max_calls=2)
        admission.stream_opened(sid(1))
        admission.admit(sid(2), HARBOR, NOON)
        self.assertFalse(admission.fits(sid(3), NOON))
        self.assertTrue(admission.fits(sid(2), NOON))

    def test_a_process_that_drains_takes_nobody(self) -> None:
        admission = self.admission()
        admission.close("draining")
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON), "draining")

    def test_a_journal_that_cannot_be_written_takes_nobody(self) -> None:
        admission = self.admission()
        self.journal_reason = "disk_full"
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON), "journal_sick")
        self.journal_reason = ""
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON), "")


class LateLoopTest(AdmissionTest):
    def late(self, admission: Admission, *lates: float, since: float = NOON) -> float:
        """Ten times a second; return the time of the last."""
        for index, late in enumerate(lates):
            now = since + index / 10
            admission.loop_was_late(late, now)
        return now

    def test_a_loop_that_is_late_at_the_median_takes_nobody(self) -> None:
        admission = self.admission()
        now = self.late(admission, *([0.0] * 4 + [0.3] * 6))
        self.assertEqual(admission.admit(sid(1), HARBOR, now), "loop_late")

    def test_how_late_it_is_can_be_asked_and_is_forgotten(self) -> None:
        admission = self.admission()
        self.assertEqual(admission.lateness(NOON), 0.0)
        now = self.late(admission, *([0.0] * 4 + [0.3] * 6))
        self.assertEqual(admission.lateness(now), 0.3)
        self.assertEqual(admission.lateness(now + 3), 0.0)

    def test_single_long_pauses_do_not_count(self) -> None:
        admission = self.admission()
        now = self.late(admission, *([0.0] * 6 + [3.0] * 4))
        self.assertEqual(admission.admit(sid(1), HARBOR, now), "")

    def test_lateness_is_forgotten_after_two_seconds(self) -> None:
        admission = self.admission()
        now = self.late(admission, *[0.3] * 10)
        self.assertEqual(admission.admit(sid(1), HARBOR, now + 1.0), "loop_late")
        self.assertEqual(admission.admit(sid(1), HARBOR, now + 2.1), "")


class BusinessTest(AdmissionTest):
    def test_calls_of_other_processes_occupy_lines_by_their_rows(self) -> None:
        admission = self.admission()
        rows = frozenset({sid(1), sid(2)})
        self.assertEqual(admission.admit(sid(3), HARBOR, NOON, max_calls=2, live_calls=rows), "business_full")
        self.assertEqual(admission.admit(sid(3), HARBOR, NOON, max_calls=3, live_calls=rows), "")

    def test_a_call_admitted_here_occupies_a_line_before_it_has_a_row(self) -> None:
        admission = self.admission()
        answers = [admission.admit(sid(n), HARBOR, NOON, max_calls=1) for n in (1, 2)]
        self.assertEqual(answers, ["", "business_full"])
        admission.stream_opened(sid(1))
        later = NOON + 10 * PENDING_SECONDS  # its row is still on its way
        self.assertEqual(admission.admit(sid(2), HARBOR, later, max_calls=1), "business_full")

    def test_a_call_with_a_row_that_was_admitted_here_occupies_one_line(self) -> None:
        admission = self.admission()
        admission.admit(sid(1), HARBOR, NOON, max_calls=2)
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON, max_calls=2, live_calls=[sid(1)]), "")

    def test_a_call_does_not_stand_in_its_own_way(self) -> None:
        admission = self.admission()
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON, max_calls=1, live_calls=[sid(1)]), "")

    def test_a_call_that_is_resumed_keeps_its_line(self) -> None:
        admission = self.admission()
        self.assertEqual(admission.admit(sid(1), HARBOR, NOON), "")
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON, max_calls=1), "business_full")

    def test_businesses_do_not_take_each_others_lines(self) -> None:
        admission = self.admission()
        admission.admit(sid(1), LAKE, NOON)
        admission.stream_opened(sid(1))
        admission.admit(sid(2), LAKE, NOON)
        self.assertEqual(admission.admit(sid(3), HARBOR, NOON, max_calls=1), "")

    def test_a_line_is_free_when_the_call_is_over(self) -> None:
        admission = self.admission()
        admission.admit(sid(1), HARBOR, NOON, max_calls=1)
        admission.stream_opened(sid(1))
        admission.stream_closed(sid(1))
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON, max_calls=1), "")

    def test_a_refused_call_takes_no_line(self) -> None:
        admission = self.admission(max_calls=1)
        admission.admit(sid(1), LAKE, NOON)
        self.assertEqual(admission.admit(sid(2), HARBOR, NOON, max_calls=1), "process_full")
        admission.call_over(sid(1))
        self.assertEqual(admission.admit(sid(3), HARBOR, NOON, max_calls=1), "")


class OfThisProcessTest(TestCase):
    def test_the_limits_are_the_settings(self) -> None:
        with (
            mock.patch("calls.admission._admission", None),
            override_settings(MAX_CALLS_PER_PROCESS=1, LOOP_LATE_MS=100),
        ):
            self.assertEqual(of_this_process.admit(sid(1), HARBOR, NOON), "")
            self.assertEqual(of_this_process.admit(sid(2), HARBOR, NOON), "process_full")
            of_this_process.call_over(sid(1))
            of_this_process.get_admission().loop_was_late(0.11, NOON)
            self.assertEqual(of_this_process.admit(sid(2), HARBOR, NOON), "loop_late")
