"""What the database says: outcomes by queue and window, times, dead letters, processes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import SimpleTestCase, TestCase
from django_celery_results.models import TaskResult

from calls import heartbeats
from calls.models import DeadLetter
from console import collect, rows
from console.figures import Outcomes, Waits

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
QUEUES = {"calls.tasks.finalize_call_log": "high", "calls.tasks.save_conversation_turn": "default"}
HIGH, DEFAULT = QUEUES


def a_result(name: str, status: str, minutes_ago: float, **meta: Any) -> None:
    done = NOW - timedelta(minutes=minutes_ago)
    result = TaskResult.objects.create(
        task_id=f"t{TaskResult.objects.count()}", task_name=name, status=status, meta=json.dumps(meta)
    )
    TaskResult.objects.filter(pk=result.pk).update(date_done=done)


class OutcomesTest(TestCase):
    def test_jobs_count_for_their_queue_in_the_last_hour_and_day(self) -> None:
        for name, status, ago in (
            (HIGH, "SUCCESS", 5), (HIGH, "SUCCESS", 59), (HIGH, "SUCCESS", 61), (HIGH, "FAILURE", 90),
            (HIGH, "SUCCESS", 60 * 25), (DEFAULT, "RETRY", 2), (DEFAULT, "FAILURE", 3), ("gone.task", "SUCCESS", 3),
        ):  # fmt: skip
            a_result(name, status, ago)
        found = rows.outcomes(QUEUES, NOW)
        self.assertEqual(found["high"], (Outcomes(2, 0), Outcomes(3, 1), 0))
        self.assertEqual(found["default"], (Outcomes(1, 1), Outcomes(1, 1), 1))

    def test_times_are_those_of_the_last_hours_jobs_that_say_when_they_were_sent(self) -> None:
        done = NOW - timedelta(minutes=10)
        for seconds, retries in ((0.1, 0), (0.2, 0), (5.0, 3)):
            a_result(HIGH, "SUCCESS", 10, sent_at=done.timestamp() - seconds, retries=retries)
        a_result(HIGH, "SUCCESS", 10)
        a_result(HIGH, "SUCCESS", 90, sent_at=0.0)
        a_result(HIGH, "FAILURE", 10, sent_at=0.0)
        a_result(DEFAULT, "SUCCESS", 10, sent_at=0.0)
        found = rows.fact_to_row([HIGH], NOW)
        assert found is not None
        self.assertEqual((round(found.p50, 3), round(found.p95, 3), found.count, found.retried), (0.2, 5.0, 3, 1))
        self.assertIsNone(rows.fact_to_row(["other"], NOW))

    def test_a_clock_behind_makes_no_negative_time(self) -> None:
        a_result(HIGH, "SUCCESS", 10, sent_at=(NOW + timedelta(hours=1)).timestamp())
        self.assertEqual(rows.fact_to_row([HIGH], NOW), Waits(0.0, 0.0, 1, 0))

    def test_dead_letters_wait_in_the_queue_of_their_task(self) -> None:
        for number, kind in enumerate(("finalize_call_log", "finalize_call_log", "save_conversation_turn", "unknown")):
            DeadLetter.objects.create(task_id=str(number), kind=kind, call_sid="CA1", reason="x", deliveries=5)
        DeadLetter.objects.filter(task_id="0").update(replayed_at=NOW)
        self.assertEqual(rows.dead_letters(QUEUES), {"high": 1, "default": 2})

    def test_processes_say_how_late_they_are_and_how_long_silent(self) -> None:
        heartbeats.beat(NOW - timedelta(seconds=12), 4, "a" * 32, loop_late_ms=40)
        heartbeats.beat(NOW, 0, "b" * 32)
        first, second = sorted(rows.web_processes(NOW), key=lambda process: -process.silent_seconds)
        self.assertEqual((first.live_calls, first.loop_late_seconds, first.silent_seconds), (4, 0.04, 12.0))
        self.assertEqual((second.loop_late_seconds, second.beats), (None, True))

    def test_a_query_that_takes_too_long_or_fails_is_left_out(self) -> None:
        def fails() -> int:
            with connection.cursor() as cursor:
                # PostgreSQL ends it; SQLite does not know it.
                cursor.execute("SELECT pg_sleep(5)")
            return 1

        began = time.monotonic()
        self.assertIsNone(rows.within_time(fails))
        self.assertLess(time.monotonic() - began, 3)
        self.assertEqual(rows.within_time(lambda: TaskResult.objects.count()), 0)


class JournalTest(SimpleTestCase):
    def test_files_of_living_calls_and_those_left_behind(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            now = time.time()
            for number, ago in enumerate((0, 10, 301)):
                path = Path(name, f"CA{number}.journal")
                path.write_bytes(b"x" * 100)
                os.utime(path, (now - ago, now - ago))
            found = collect.journal(Path(name), now)
            assert found is not None
            self.assertEqual((found.files, found.bytes, found.left), (3, 300, 1))
        found = collect.journal(Path(name), now)
        assert found is not None
        self.assertEqual(found.files, 0)


class TasksTest(SimpleTestCase):
    def test_every_task_of_ours_has_its_queue(self) -> None:
        found = collect.tasks()
        self.assertEqual({name: found[name] for name in QUEUES}, QUEUES)
        self.assertEqual(found["celery.backend_cleanup"], "default")
        self.assertEqual(found["media.tasks.render_missing_clips"], "default")
