"""When a core counts as carrying its calls."""

import math
from typing import Any
from unittest import TestCase

from bench.compare import Run
from bench.growth import cpu_ratio, kb_a_call
from bench.percore import carried, most


def a_run(calls: int, *, p99: float = 5.0, arrived: int = 100, lost_calls: int = 0, memory_kb: int = 0) -> Run:
    up = {"count": arrived, "p99": p99}
    report: dict[str, Any] = {"up": up, "sent": 100, "arrived": arrived, "lost_calls": lost_calls}
    return Run("voiceagent", calls, 1.0, calls * 0.002, memory_kb, report)


class PerCoreTests(TestCase):
    def test_in_time_and_whole_is_carried(self) -> None:
        self.assertTrue(carried(a_run(400, p99=19.9)))

    def test_late_lost_or_failed_is_not(self) -> None:
        self.assertFalse(carried(a_run(400, p99=20.0)))
        self.assertFalse(carried(a_run(400, arrived=99)))
        self.assertFalse(carried(a_run(400, lost_calls=1)))
        self.assertFalse(carried(Run("voiceagent", 400, 1.0, 0.0, 0, {}, failure="CallFailed")))

    def test_the_most_is_of_those_that_were_carried(self) -> None:
        self.assertEqual(200, most([a_run(100), a_run(200, p99=30.0), a_run(200), a_run(300, arrived=0)]))
        self.assertEqual(0, most([a_run(100, p99=30.0)]))


class GrowthTests(TestCase):
    def test_memory_is_what_many_need_beyond_few(self) -> None:
        runs = [a_run(50, memory_kb=100_000), a_run(200, memory_kb=107_500)]
        self.assertAlmostEqual(50.0, kb_a_call(runs))
        self.assertAlmostEqual(1.0, cpu_ratio(runs))

    def test_of_a_run_that_failed_nothing_is_said(self) -> None:
        runs = [a_run(50), Run("voiceagent", 200, 1.0, 0.0, 0, {}, failure="CallFailed")]
        self.assertTrue(math.isnan(kb_a_call(runs)))
        self.assertTrue(math.isnan(cpu_ratio(runs)))
