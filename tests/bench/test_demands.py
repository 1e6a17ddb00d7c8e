"""What `make bench` states and fails on."""

import math
from typing import Any
from unittest import TestCase

from bench.compare import Run, middle, summary
from bench.demands import Demand, of_comparison, sentence

FEW, CALLS = 20, 100


def a_run(system: str, calls: int, cpu_ms: float, *, up: float = 0.5, clear: float = 0.1, **counts: int) -> Run:
    shares = {"count": 10, "p50": clear}
    report: dict[str, Any] = {
        "up": {"count": 10, "p50": up / 2, "p99": up},
        "clear": shares | {"p99": clear * 2},
        "late": {"count": 10, "p99": 0.01},
        "sent": 100,
        "arrived": 100,
        "lost_calls": 0,
        **counts,
    }
    return Run(system, calls, 2.0, cpu_ms * calls * 2.0 / 1000, 1000, report)


def a_comparison(**product: Any) -> list[Run]:
    return [
        a_run("voiceagent", CALLS, **{"cpu_ms": 2.0, **product}),
        a_run("relay in C", CALLS, 1.0, up=0.4),
        a_run("Twilio's sample", CALLS, 4.8),
        a_run("voiceagent", FEW, 4.0),
        a_run("pipecat-ai", FEW, 36.0),
    ]


def missed(runs: list[Run]) -> list[str]:
    return [one.name for one in of_comparison(runs, "voiceagent", CALLS, FEW) if not one.met]


class DemandTests(TestCase):
    def test_what_is_as_demanded_misses_nothing(self) -> None:
        self.assertEqual([], missed(a_comparison()))

    def test_each_ratio_is_to_its_own_rival(self) -> None:
        self.assertEqual(["CPU to Twilio's sample's at 100 calls"], missed(a_comparison(cpu_ms=2.45)))
        self.assertEqual(
            ["CPU to the relay's at 100 calls", "CPU to Twilio's sample's at 100 calls"],
            missed(a_comparison(cpu_ms=2.6)),
        )

    def test_the_delay_is_what_stands_above_the_relays(self) -> None:
        self.assertEqual([], missed(a_comparison(up=1.3)))
        self.assertEqual(["added delay p99 above the relay's at 100 calls"], missed(a_comparison(up=1.5)))

    def test_a_late_clear_is_a_miss(self) -> None:
        self.assertEqual(["clear p50 at 100 calls"], missed(a_comparison(clear=0.31)))

    def test_one_lost_frame_is_a_miss(self) -> None:
        self.assertEqual(["frames lost"], missed(a_comparison(arrived=99)))

    def test_a_run_that_failed_meets_nothing(self) -> None:
        runs = [Run("voiceagent", CALLS, 2.0, 0.0, 0, {}, failure="CallFailed: call 3"), *a_comparison()[1:]]
        self.assertEqual(6, len(missed(runs)))  # all but that against pipecat, which is of other runs
        self.assertIn("failed: CallFailed: call 3", summary(runs, "relay in C"))

    def test_nothing_reached_is_a_miss_and_says_so(self) -> None:
        demand = Demand("calls", math.nan, 1.0)
        self.assertFalse(demand.met)
        self.assertEqual("calls nothing (at most 1): no", sentence([demand]))


class MiddleTests(TestCase):
    def test_one_disturbed_run_of_three_does_not_count(self) -> None:
        runs = [a_run("voiceagent", CALLS, cpu_ms) for cpu_ms in (2.0, 9.0, 2.2)]
        self.assertAlmostEqual(2.2, middle(runs, lambda run: run.cpu_ms))

    def test_without_runs_there_is_none(self) -> None:
        self.assertTrue(math.isnan(middle([], lambda run: run.cpu_ms)))
