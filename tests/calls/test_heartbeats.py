"""A web process beats while it lives, takes its row away when it leaves, and asks for a sweep when it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.db import OperationalError, connections
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from calls import boot, heartbeats, live_calls
from calls.admission import Admission
from calls.models import WebProcess
from calls.publishing import BrokerUnwell
from voiceagent.celery import app

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


class Publisher:
    def __init__(self, error: Exception | None = None) -> None:
        self.published: list[str] = []
        self.error = error

    def publish(self, kind: str, arguments: dict[str, Any]) -> None:
        self.published.append(kind)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        pass


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        threading.Event().wait(0.01)
    return True


class BeatTest(TestCase):
    def test_a_process_has_one_row_with_its_calls_and_its_last_beat(self) -> None:
        heartbeats.beat(NOW, 0)
        heartbeats.beat(NOW + timedelta(seconds=10), 3)
        row = WebProcess.objects.get()
        self.assertEqual((row.boot_id, row.live_calls), (boot.boot_id(), 3))
        self.assertEqual((row.started_at, row.seen_at), (NOW, NOW + timedelta(seconds=10)))
        heartbeats.beat(NOW, 0, "another")
        heartbeats.leave()
        self.assertEqual(WebProcess.objects.get().boot_id, "another")

    def test_a_beat_says_how_late_the_event_loop_is_as_admission_sees_it(self) -> None:
        late = Admission(max_calls=0, late_seconds=1, journal_reason=lambda: "")
        late.loop_was_late(0.04, time.monotonic())
        with mock.patch.object(heartbeats, "get_admission", return_value=late):
            heartbeats.Heart(publisher=Publisher())._beat()  # type: ignore[arg-type]
        self.assertEqual(WebProcess.objects.get().loop_late_ms, 40)
        heartbeats.beat(NOW, 0, loop_late_ms=3)
        self.assertEqual(WebProcess.objects.get().loop_late_ms, 3)

    def test_the_databases_clock_is_near_ours_and_aware(self) -> None:
        self.assertLess(abs(heartbeats.database_now() - datetime.now(UTC)), timedelta(minutes=1))


class HeartTest(TransactionTestCase):
    """Real threads; nothing here waits for a beat's whole pause."""

    def heart(self, publisher: Publisher) -> heartbeats.Heart:
        return heartbeats.Heart(publisher=publisher)  # type: ignore[arg-type]  # the two methods that it uses

    def test_it_beats_at_once_asks_for_a_sweep_and_is_gone_after_a_clean_end(self) -> None:
        publisher = Publisher()
        live_calls.register("CA1", lambda: None)
        self.addCleanup(live_calls.unregister, "CA1")
        heart = self.heart(publisher)
        heart.start()
        self.assertTrue(until(lambda: WebProcess.objects.exists()))
        self.assertEqual(WebProcess.objects.get().live_calls, live_calls.count())
        self.assertTrue(until(lambda: publisher.published == ["sweep_unfinished_calls"]))
        self.assertTrue(heart.stop(5))
        self.assertFalse(WebProcess.objects.exists())

    def test_a_broker_that_is_away_does_not_stop_it(self) -> None:
        publisher = Publisher(BrokerUnwell("ConnectionError"))
        with mock.patch.object(heartbeats, "BEAT_SECONDS", 0.05):
            heart = self.heart(publisher)
            heart.start()
            self.assertTrue(until(lambda: WebProcess.objects.filter(seen_at__gt=self.first_seen()).exists()))
            self.assertTrue(heart.stop(5))

    def first_seen(self) -> datetime:
        first: datetime = WebProcess.objects.values_list("started_at", flat=True).first() or NOW
        return first if first != NOW else datetime.now(UTC) + timedelta(days=1)

    def test_a_database_that_is_away_or_hangs_is_tried_again_within_the_deadline(self) -> None:
        released = threading.Event()
        self.addCleanup(released.set)
        failures: list[Callable[[], None]] = [self.away, lambda: self.hang(released)]
        beats: list[float] = []

        def beat(*args: Any, **options: Any) -> None:
            beats.append(time.monotonic())
            if failures:
                failures.pop(0)()

        patches: dict[str, Any] = {"beat": beat, "AGAIN_SECONDS": 0.01, "DEADLINE_SECONDS": 0.2, "leave": lambda: None}
        with mock.patch.multiple(heartbeats, **patches), self.assertLogs("calls.heartbeats", "WARNING"):
            heart = self.heart(Publisher())
            heart.start()
            self.assertTrue(until(lambda: len(beats) >= 3))
            self.assertTrue(heart.stop(5))

    def hang(self, released: threading.Event) -> None:
        released.wait(30)

    def away(self) -> None:
        raise OperationalError

    def tearDown(self) -> None:
        connections.close_all()


class ScheduleTest(SimpleTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        app.loader.import_default_modules()  # as a worker does: tasks are known once their modules are

    def test_beat_sweeps_every_fifteen_seconds_by_the_queue_high(self) -> None:
        entry = app.conf.beat_schedule["sweep-unfinished-calls"]
        task = app.tasks[entry["task"]]
        self.assertEqual((entry["schedule"], entry["options"], task.queue), (15.0, {"expires": 15.0}, "high"))

    def test_no_task_runs_longer_than_the_brokers_visibility_timeout(self) -> None:
        for name, task in app.tasks.items():
            with self.subTest(name):
                limit = task.time_limit or app.conf.task_time_limit
                self.assertLess(limit, app.conf.broker_transport_options["visibility_timeout"])

    def test_a_boot_id_is_of_this_process_alone(self) -> None:
        self.assertRegex(boot.boot_id(), r"\A[0-9a-f]{32}\Z")
        self.assertEqual(boot.boot_id(), boot.boot_id())
