"""The figures in Prometheus' format. What is not known is left out, so that an alert on its absence can be written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.figures import Figures, Queue

Sample: TypeAlias = tuple[tuple[str, ...], float | None]


def exposition(figures: Figures) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_These(figures))
    return generate_latest(registry)


class _These(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures, queues = self._figures, self._figures.queues
        up = [(("broker",), float(not figures.broker_error)), (("database",), float(not figures.database_error))]
        yield gauge("up", "Whether it answered within the deadline.", ["part"], up)
        yield gauge("live_calls", "Calls that web processes carry.", [], [((), figures.live_calls)])
        yield gauge("web_processes", "Web processes that beat.", [], [((), figures.beating)])
        yield gauge(
            "loop_late_seconds",
            "How late the event loop of a web process was at its last beat.",
            ["host", "pid"],
            [((p.host, str(p.pid)), p.loop_late_seconds) for p in figures.processes or () if p.beats],
        )
        yield from self._journal()
        yield gauge("jobs_unacknowledged", "Taken, not finished.", [], [((), figures.unacknowledged)])
        yield gauge("jobs_orphaned", "Taken by a worker that is gone.", [], [((), figures.orphaned)])
        of_queue: list[tuple[str, str, Callable[[Queue], float | None]]] = [
            ("queue_depth", "Jobs that wait.", lambda queue: queue.depth),
            ("queue_oldest_seconds", "How long the oldest job has waited.", _oldest),
            (
                "queue_unacknowledged",
                "Taken, not finished, or waiting for a next try.",
                lambda queue: queue.unacknowledged,
            ),
            ("queue_workers", "Workers that take from it.", lambda queue: queue.workers),
            ("queue_retrying", "Jobs that wait for their next try.", lambda queue: queue.retrying),
            ("queue_dead_letters", "Jobs that were set aside.", lambda queue: queue.dead_letters),
        ]
        for name, text, figure in of_queue:
            yield gauge(name, text, ["queue"], [((queue.name,), figure(queue)) for queue in queues])
        yield gauge("queue_jobs", "Jobs that ended.", ["queue", "window", "outcome"], _ended(queues))
        yield gauge(
            "queue_fact_to_row_seconds",
            "From the broker to the row, of the latest jobs of the last hour.",
            ["queue", "quantile"],
            [
                ((queue.name, quantile), value)
                for queue in queues
                if (waits := queue.fact_to_row)
                for quantile, value in (("0.5", waits.p50), ("0.95", waits.p95))
            ],
        )

    def _journal(self) -> Iterator[Metric]:
        if journal := self._figures.journal:
            yield gauge("journal_files", "Journals on this machine.", [], [((), journal.files)])
            yield gauge("journal_bytes", "Their size.", [], [((), journal.bytes)])
            yield gauge("journal_left", "Journals that nobody has touched for minutes.", [], [((), journal.left)])


def gauge(name: str, text: str, labels: list[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"voiceagent_{name}", text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family


def _oldest(queue: Queue) -> float | None:
    return 0.0 if queue.depth == 0 else queue.oldest_seconds


def _ended(queues: Iterable[Queue]) -> Iterator[Sample]:
    for queue in queues:
        for window, outcomes in (("1h", queue.hour), ("1d", queue.day)):
            if outcomes is not None:
                yield (queue.name, window, "succeeded"), outcomes.succeeded
                yield (queue.name, window, "failed"), outcomes.failed
