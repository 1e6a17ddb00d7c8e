"""Jobs without a stored result are counted, and timed, in Redis; a Redis that is away loses nothing of it."""

from __future__ import annotations

import time

import redis
from django.test import SimpleTestCase, override_settings

from calls import ended_jobs
from calls.ended_jobs import LATEST, SPAN_SECONDS, Tally
from console import broker
from tests.calls.valkey import Valkey

NOW = 1_764_158_400.0  # the beginning of a span


class EndedJobsTest(SimpleTestCase):
    valkey: Valkey

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.valkey = Valkey()
        cls.addClassCleanup(cls.valkey.close)

    def setUp(self) -> None:
        self.client_ = self.valkey.client()
        self.client_.flushall()
        self.addCleanup(self.client_.close)

    def told(self, now: float) -> tuple[int, int, list[list[float]]]:
        pipeline = self.client_.pipeline()
        ended_jobs.ask(pipeline, ["default"], now)
        hour, day, waits = ended_jobs.read(pipeline.execute(), ["default"], now)
        return hour["default"], day["default"], waits["default"]

    def test_what_several_processes_counted_is_added_up_by_hour_and_day(self) -> None:
        for _ in range(2):
            tally = Tally()
            for ago in (1, 3500, 3600 + SPAN_SECONDS, 23 * 3600, 25 * 3600 + SPAN_SECONDS):
                tally.succeeded("default", None, NOW - ago)
            tally.flush(self.client_)
            tally.flush(self.client_)  # nothing is added twice
        self.assertEqual(self.told(NOW), (4, 8, []))

    def test_the_times_of_the_latest_come_first_and_are_of_the_last_hour(self) -> None:
        tally = Tally()
        for ended_at, sent_at in ((NOW - 4000, NOW - 4001), (NOW - 20, NOW - 20.5), (NOW - 10, NOW - 9)):
            tally.succeeded("default", sent_at, ended_at)
        tally.flush(self.client_)
        self.assertEqual(self.told(NOW)[2], [[NOW - 10, 0.0], [NOW - 20, 0.5]])

    def test_no_more_times_are_kept_than_are_read(self) -> None:
        tally = Tally()
        for number in range(LATEST + 50):
            tally.succeeded("default", NOW, NOW + number)
            if number % 200 == 0:
                tally.flush(self.client_)
        tally.flush(self.client_)
        hour, _, waits = self.told(NOW + LATEST)
        self.assertEqual((hour, len(waits), waits[0][0]), (LATEST + 50, LATEST, NOW + LATEST + 49))

    def test_what_redis_did_not_take_is_added_the_next_time(self) -> None:
        tally = Tally()
        tally.succeeded("default", NOW - 1, NOW)
        away = redis.Redis(port=1)
        self.addCleanup(away.close)
        with self.assertRaises(redis.RedisError):
            tally.flush(away)
        tally.succeeded("default", NOW - 1, NOW + 1)
        tally.flush(self.client_)
        self.assertEqual(self.told(NOW + 2), (2, 2, [[NOW + 1, 2.0], [NOW, 1.0]]))

    def test_the_page_of_jobs_reads_what_a_process_adds_up(self) -> None:
        tally = Tally()
        now = time.time()
        tally.succeeded("default", now - 1, now)
        with override_settings(REDIS_URL="redis://127.0.0.1:1"), self.assertLogs("calls.ended_jobs", "WARNING"):
            ended_jobs.flush_now(tally)
        with override_settings(REDIS_URL=self.valkey.url):
            ended_jobs.flush_now(tally)
        found = broker.ask(["high", "default"], self.valkey.url)
        self.assertEqual((found.hour["default"], found.day["default"], found.hour["high"]), (1, 1, 0))
        self.assertEqual(found.waits, {"high": [], "default": [[now, 1.0]]})
