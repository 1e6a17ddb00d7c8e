"""What is counted, and how it is written."""

from __future__ import annotations

import json
from dataclasses import replace

from django.test import SimpleTestCase
from prometheus_client.parser import text_string_to_metric_families

from console import prometheus, text
from console.figures import Figures, Outcomes, Queue, Waits, nearest_rank
from console.verdicts import judge
from tests.console.test_verdicts import AT, LIMITS, WEB, a_queue, the_figures


def samples(figures: Figures) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(prometheus.exposition(figures).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


class FiguresTest(SimpleTestCase):
    def test_a_rate_of_no_jobs_is_none(self) -> None:
        self.assertIsNone(Outcomes().rate)
        self.assertEqual(Outcomes(3, 1).rate, 0.75)

    def test_percentiles_are_values_that_were_there(self) -> None:
        self.assertEqual([nearest_rank([3.0, 1.0, 2.0], share) for share in (0.01, 0.5, 0.95, 1)], [1, 2, 3, 3])
        self.assertEqual(Waits.of([0.5], 1), Waits(0.5, 0.5, 1, 1))
        self.assertIsNone(Waits.of([], 0))


class TextTest(SimpleTestCase):
    def test_every_figure_of_a_queue_has_its_words(self) -> None:
        cells = dict(text.queue_cells(a_queue(depth=1200, oldest_seconds=3.0, fact_to_row=Waits(0.02, 1.5, 500, 2))))
        self.assertEqual(cells["Waiting"], "1,200")
        self.assertEqual(cells["Oldest waits"], "3.0 s")
        self.assertEqual(cells["Fact to row, p50 / p95"], "20 ms / 1.5 s (of 500, 2 retried)")
        self.assertEqual(cells["Succeeded, last hour"], "100 % of 500")
        self.assertEqual(cells["Succeeded, last day"], "99.9 % of 9,003")

    def test_what_is_not_known_says_so_and_is_not_zero(self) -> None:
        self.assertEqual({value for _, value in text.queue_cells(Queue("high"))}, {"not known"})
        nothing = Figures(AT, (), broker_error="TimeoutError", database_error="OperationalError")
        cells = dict(text.server_cells(nothing))
        self.assertEqual(cells.pop("Broker"), "does not answer (TimeoutError)")
        self.assertEqual(cells.pop("Database"), "does not answer (OperationalError)")
        self.assertEqual(set(cells.values()), {"not known"})

    def test_only_without_a_failure_everything_succeeded(self) -> None:
        self.assertEqual(text.share(Outcomes(99_999, 1)), "99.9 % of 100,000")
        self.assertEqual(text.share(Outcomes()), "no jobs")

    def test_an_empty_queue_has_no_oldest_job(self) -> None:
        self.assertEqual(dict(text.queue_cells(a_queue()))["Oldest waits"], "none waits")

    def test_the_terminal_says_what_is_wrong_first(self) -> None:
        figures = the_figures(a_queue("high", workers=0))
        lines = list(text.lines(figures, judge(figures, LIMITS)))
        self.assertEqual(lines[0], "bad      2026-11-26 12:00:00 UTC")
        self.assertIn("queue high: No worker", lines[1])
        self.assertIn("-> celery -A voiceagent worker -Q high,default", lines[2])
        self.assertIn("\nweb web-1 17: 3 calls, event loop 2 ms late, seen 4.0 s ago", lines)

    def test_json_holds_the_figures_and_the_advice(self) -> None:
        figures = the_figures(a_queue(dead_letters=2))
        found = json.loads(json.dumps(text.as_json(figures, judge(figures, LIMITS))))
        self.assertEqual((found["level"], found["at"]), ("bad", "2026-11-26T12:00:00+00:00"))
        self.assertEqual(found["queues"][0]["dead_letters"], 2)
        self.assertEqual(found["advice"][0]["look_at"], "dead letters")


class PrometheusTest(SimpleTestCase):
    def test_every_figure_is_there_under_its_queue(self) -> None:
        found = samples(the_figures(a_queue("high", depth=4, oldest_seconds=2.5), a_queue("default")))
        of_high = (("queue", "high"),)
        self.assertEqual(found["voiceagent_queue_depth", of_high], 4)
        self.assertEqual(found["voiceagent_queue_oldest_seconds", of_high], 2.5)
        self.assertEqual(found["voiceagent_queue_oldest_seconds", (("queue", "default"),)], 0)
        self.assertEqual(found["voiceagent_queue_workers", of_high], 1)
        self.assertEqual(
            found["voiceagent_queue_jobs", (("outcome", "failed"), ("queue", "high"), ("window", "1d"))], 3
        )
        p95 = (("quantile", "0.95"), ("queue", "high"))
        self.assertEqual(found["voiceagent_queue_fact_to_row_seconds", p95], 0.1)
        self.assertEqual(found["voiceagent_loop_late_seconds", (("host", "web-1"), ("pid", "17"))], 0.002)
        self.assertEqual(found["voiceagent_live_calls", ()], 3)
        self.assertEqual(found["voiceagent_up", (("part", "broker"),)], 1)
        self.assertEqual(found["voiceagent_journal_bytes", ()], 900)

    def test_what_is_not_known_is_left_out(self) -> None:
        found = samples(Figures(AT, (Queue("high"),), broker_error="TimeoutError"))
        self.assertEqual(found, {("voiceagent_up", (("part", p),)): v for p, v in (("broker", 0), ("database", 1))})

    def test_a_dead_process_has_no_event_loop(self) -> None:
        found = samples(the_figures(processes=(replace(WEB, silent_seconds=99.0),)))
        self.assertNotIn("voiceagent_loop_late_seconds", {name for name, _ in found})
