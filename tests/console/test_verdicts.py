"""Figures in, advice out: each state has its sentence, and a running system has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.test import SimpleTestCase

from console.figures import Figures, Journal, Outcomes, Queue, Waits, WebProcess
from console.verdicts import Advice, Level, Limits, LookAt, judge, limit_for, overall, span, worker_command

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LIMITS = Limits(loop_late=0.25, journal_bytes=1000)
WEB = WebProcess("web-1", 17, live_calls=3, loop_late_seconds=0.002, silent_seconds=4.0)


def a_queue(name: str = "default", **changes: Any) -> Queue:
    healthy = Queue(
        name,
        depth=0,
        unacknowledged=0,
        workers=1,
        hour=Outcomes(500, 0),
        day=Outcomes(9000, 3),
        fact_to_row=Waits(0.02, 0.1, 500, 0),
        retrying=0,
        dead_letters=0,
    )
    return replace(healthy, **changes)


def the_figures(*queues: Queue, **changes: Any) -> Figures:
    healthy = Figures(
        AT,
        queues or (a_queue("high"), a_queue("default")),
        unacknowledged=0,
        orphaned=0,
        processes=(WEB,),
        journal=Journal(3, 900, 0),
    )
    return replace(healthy, **changes)


def judged(*queues: Queue, **changes: Any) -> list[Advice]:
    return judge(the_figures(*queues, **changes), LIMITS)


class QueueTest(SimpleTestCase):
    def only(self, queue: Queue) -> Advice:
        found = judged(queue)
        self.assertEqual(len(found), 1, found)
        self.assertEqual(found[0].about, f"queue {queue.name}")
        return found[0]

    def test_of_a_healthy_system_there_is_nothing_to_say(self) -> None:
        self.assertEqual(judged(), [])
        self.assertIs(overall([]), Level.GOOD)

    def test_a_queue_without_workers_names_the_command_that_starts_one(self) -> None:
        for name, command in (
            ("high", "celery -A voiceagent worker -Q high,default"),
            ("default", "celery -A voiceagent worker -Q high,default"),
            ("offline", "celery -A voiceagent worker -Q offline"),
        ):
            advice = self.only(a_queue(name, workers=0, depth=1234, oldest_seconds=9999.0))
            self.assertEqual((advice.level, advice.command), (Level.BAD, command))
            self.assertIn("1,234 wait", advice.text)
            self.assertEqual(worker_command(name), command)

    def test_an_empty_queue_without_workers_is_as_bad_and_says_nothing_of_waiting(self) -> None:
        advice = self.only(a_queue(workers=0))
        self.assertIs(advice.level, Level.BAD)
        self.assertNotIn("wait", advice.text)

    def test_each_queue_may_let_jobs_wait_as_long_as_its_work_allows(self) -> None:
        for name, longest in (("high", 10), ("default", 60), ("offline", 1800), ("of_a_later_release", 60)):
            with self.subTest(name):
                self.assertEqual(judged(a_queue(name, depth=1, oldest_seconds=longest)), [])
                advice = self.only(a_queue(name, depth=1, oldest_seconds=longest + 1))
                self.assertIs(advice.level, Level.WARNING)
                self.assertIn("-Q", advice.command)
                self.assertEqual(limit_for(name, LIMITS.oldest), longest)

    def test_many_waiting_jobs_are_no_trouble_as_long_as_none_waits_long(self) -> None:
        self.assertEqual(judged(a_queue(depth=100_000, oldest_seconds=1.0)), [])

    def test_failures_count_as_a_share_and_only_of_enough_jobs(self) -> None:
        for succeeded, failed, told in (
            (0, 0, False),
            (0, 19, False),
            (0, 20, True),
            (18, 2, True),
            (990, 10, False),  # 99 % exactly
            (989, 11, True),
            (1_000_000, 0, False),
        ):
            with self.subTest(succeeded=succeeded, failed=failed):
                found = judged(a_queue(hour=Outcomes(succeeded, failed)))
                self.assertEqual(bool(found), told)
        self.assertIs(found == [] and Level.GOOD, Level.GOOD)
        advice = self.only(a_queue(hour=Outcomes(980, 20)))
        self.assertEqual((advice.level, advice.look_at), (Level.BAD, LookAt.FAILED_JOBS))
        self.assertIn("20 of 1,000", advice.text)

    def test_failures_of_yesterday_are_over(self) -> None:
        self.assertEqual(judged(a_queue(day=Outcomes(10, 1000))), [])

    def test_rows_that_come_late_are_told_of_by_the_slow_ones(self) -> None:
        for name, limit in (("high", 2), ("default", 5), ("offline", 600)):
            with self.subTest(name):
                self.assertEqual(judged(a_queue(name, fact_to_row=Waits(0.1, limit, 500, 0))), [])
                self.assertIs(self.only(a_queue(name, fact_to_row=Waits(0.1, limit + 1, 500, 0))).level, Level.WARNING)

    def test_jobs_that_wait_for_their_next_try_are_no_fault_of_theirs(self) -> None:
        advice = self.only(a_queue(retrying=7))
        self.assertIs(advice.level, Level.WARNING)
        self.assertIn("7 jobs", advice.text)
        self.assertIn("by themselves", advice.text)

    def test_a_single_dead_letter_is_bad_and_leads_to_its_page(self) -> None:
        advice = self.only(a_queue(dead_letters=1))
        self.assertEqual((advice.level, advice.look_at), (Level.BAD, LookAt.DEAD_LETTERS))
        self.assertIn("Replay", advice.text)

    def test_what_is_not_known_is_not_judged(self) -> None:
        self.assertEqual(judged(Queue("high"), Queue("default")), [])


class ServersTest(SimpleTestCase):
    def test_a_broker_and_a_database_that_do_not_answer_say_what_becomes_of_calls(self) -> None:
        for part in ("broker", "database"):
            with self.subTest(part):
                (advice,) = judged(Queue("high"), **{f"{part}_error": "TimeoutError"})
                self.assertEqual((advice.level, advice.about, advice.command), (Level.BAD, part, "manage.py doctor"))
                self.assertIn("Calls go on", advice.text)

    def test_without_a_broker_no_worker_is_blamed(self) -> None:
        found = judged(Queue("high"), Queue("default"), broker_error="ConnectionError", orphaned=None)
        self.assertEqual([advice.about for advice in found], ["broker"])

    def test_jobs_of_a_dead_worker_are_told_of(self) -> None:
        (advice,) = judged(orphaned=4)
        self.assertEqual((advice.level, advice.about), (Level.WARNING, "workers"))
        self.assertIn("4 jobs", advice.text)


class WebTest(SimpleTestCase):
    def test_no_process_at_all_is_bad_and_an_unknown_number_is_not(self) -> None:
        (advice,) = judged(processes=())
        self.assertEqual((advice.level, advice.command), (Level.BAD, "manage.py serve"))
        self.assertEqual(judged(processes=None), [])

    def test_a_silent_process_beside_a_living_one_is_a_warning(self) -> None:
        (advice,) = judged(processes=(WEB, replace(WEB, pid=18, silent_seconds=31.0)))
        self.assertEqual((advice.level, advice.about), (Level.WARNING, "web web-1 18"))
        self.assertEqual(judged(processes=(replace(WEB, silent_seconds=30.0),)), [])

    def test_the_only_process_silent_is_bad_too(self) -> None:
        found = judged(processes=(replace(WEB, silent_seconds=300.0),))
        self.assertEqual([advice.level for advice in found], [Level.BAD, Level.WARNING])

    def test_a_late_event_loop_is_bad_where_admission_turns_callers_away_and_a_warning_before(self) -> None:
        for late, level in (
            (None, None),
            (0.0, None),
            (0.05, None),
            (0.051, "warning"),
            (0.25, "warning"),
            (0.26, "bad"),
        ):
            with self.subTest(late):
                found = judged(processes=(replace(WEB, loop_late_seconds=late),))
                self.assertEqual([str(advice.level) for advice in found], [level] if level else [])

    def test_live_calls_are_those_of_processes_that_beat(self) -> None:
        figures = the_figures(processes=(WEB, replace(WEB, silent_seconds=60.0, live_calls=9)))
        self.assertEqual((figures.live_calls, figures.beating), (3, 1))
        self.assertEqual((the_figures(processes=None).live_calls, the_figures(processes=None).beating), (None, None))


class JournalTest(SimpleTestCase):
    def test_a_journal_that_is_full_is_bad_and_one_left_behind_a_warning(self) -> None:
        for journal, levels in (
            (Journal(3, 1000, 0), []),
            (Journal(3, 1001, 0), ["bad"]),
            (Journal(3, 10, 1), ["warning"]),
            (Journal(3, 2000, 3), ["bad", "warning"]),
            (None, []),
        ):
            with self.subTest(journal):
                found = judged(journal=journal)
                self.assertEqual([str(advice.level) for advice in found], levels)
                self.assertTrue(all(advice.command == "manage.py replay_journal" for advice in found))


class WholeTest(SimpleTestCase):
    def test_the_worst_comes_first_and_gives_the_whole_its_state(self) -> None:
        found = judged(a_queue(retrying=1), a_queue("high", workers=0), orphaned=1)
        self.assertEqual([advice.level for advice in found], [Level.BAD, Level.WARNING, Level.WARNING])
        self.assertIs(overall(found), Level.BAD)
        self.assertIs(overall(found[1:]), Level.WARNING)

    def test_every_advice_says_what_to_do(self) -> None:
        everything = judged(
            a_queue("high", workers=0, retrying=1, dead_letters=1, hour=Outcomes(0, 50)),
            a_queue("default", oldest_seconds=999.0, fact_to_row=Waits(9, 99, 9, 0)),
            broker_error="x",
            database_error="x",
            orphaned=1,
            processes=(
                replace(WEB, silent_seconds=99.0),
                replace(WEB, loop_late_seconds=0.1),
                replace(WEB, loop_late_seconds=1),
            ),
            journal=Journal(1, 5000, 1),
        )
        self.assertEqual(len(everything), 14)
        for advice in everything:
            with self.subTest(advice.about, text=advice.text):
                self.assertTrue(advice.command or advice.look_at)
                self.assertRegex(advice.text, r"^[A-Z0-9].*[.:]$")

    def test_lengths_of_time_are_written_as_they_are_read(self) -> None:
        for seconds, text in (
            (0, "0 ms"),
            (0.0304, "30 ms"),
            (1.25, "1.2 s"),
            (59.6, "60 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "120 min"),
            (7200, "2 h"),
            (200_000, "2 days"),
        ):
            self.assertEqual(span(seconds), text)
