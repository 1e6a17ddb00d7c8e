"""What the database says of jobs and processes. A figure that takes too long is left out: the page must come."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import Error as DatabaseUnwell
from django.db import connection, transaction
from django.db.models import Count, Q
from django_celery_results.models import TaskResult

from calls.models import DeadLetter
from calls.models import WebProcess as WebProcessRow
from console.figures import Outcomes, Waits, WebProcess

STATEMENT_MS = 800
LATEST = 500

Result = TypeVar("Result")


def within_time(ask: Callable[[], Result]) -> Result | None:
    """What `ask` returns; None when the database did not answer it in time."""
    with suppress(DatabaseUnwell), transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_MS)])
        return ask()
    return None


def outcomes(queue_of: Mapping[str, str], now: datetime) -> dict[str, tuple[Outcomes, Outcomes, int]]:
    """By queue: of the last hour, of the last day, and how many wait for their next try."""
    hour = Q(date_done__gte=now - timedelta(hours=1))
    rows = (
        TaskResult.objects.filter(date_done__gte=now - timedelta(days=1))
        .values("task_name", "status")
        .annotate(of_day=Count("pk"), of_hour=Count("pk", filter=hour))
        .order_by()
    )
    counted: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in rows:
        counter = counted[queue_of.get(row["task_name"] or "", "default")]
        counter["day", row["status"]] += row["of_day"]
        counter["hour", row["status"]] += row["of_hour"]
    return {
        queue: (_outcomes(counter, "hour"), _outcomes(counter, "day"), counter["day", "RETRY"])
        for queue, counter in counted.items()
    }


def _outcomes(counter: Counter[tuple[str, str]], span: str) -> Outcomes:
    return Outcomes(counter[span, "SUCCESS"], counter[span, "FAILURE"])


def fact_to_row(task_names: Iterable[str], now: datetime, others: Iterable[Sequence[float]] = ()) -> Waits | None:
    """Of the latest jobs of the last hour that succeeded and say when they were sent (calls.tasks.FactTask): those that
    keep a result, and `others` (calls.ended_jobs)."""
    rows = (
        TaskResult.objects.filter(
            task_name__in=sorted(task_names), status="SUCCESS", date_done__gte=now - timedelta(hours=1)
        )
        .order_by("-date_done")
        .values_list("date_done", "meta")[:LATEST]
    )
    found = [(done_at, seconds, False) for done_at, seconds in others]
    for done_at, text in rows:
        meta = _meta(text)
        if isinstance(sent_at := meta.get("sent_at"), int | float):
            seconds = max(0.0, done_at.timestamp() - sent_at)
            found.append((done_at.timestamp(), seconds, bool(meta.get("retries"))))
    latest = sorted(found, reverse=True)[:LATEST]
    return Waits.of([seconds for _, seconds, _ in latest], sum(retried for _, _, retried in latest))


def _meta(text: str | None) -> dict[str, Any]:
    try:
        meta = json.loads(text or "{}")
    except ValueError:
        return {}
    return meta if isinstance(meta, dict) else {}


def dead_letters(queue_of: Mapping[str, str]) -> Counter[str]:
    """By queue, those that nobody has replayed. A letter keeps the task's own name, without its module."""
    queues = {name.rpartition(".")[2]: queue for name, queue in queue_of.items()}
    counted: Counter[str] = Counter()
    for kind, count in (
        DeadLetter.objects.filter(replayed_at=None).values_list("kind").annotate(count=Count("pk")).order_by()
    ):
        counted[queues.get(kind, "default")] += count
    return counted


def web_processes(now: datetime) -> tuple[WebProcess, ...]:
    return tuple(
        WebProcess(
            host=row.host,
            pid=row.pid,
            live_calls=row.live_calls,
            loop_late_seconds=None if row.loop_late_ms is None else row.loop_late_ms / 1000,
            silent_seconds=max(0.0, (now - row.seen_at).total_seconds()),
        )
        for row in WebProcessRow.objects.order_by("host", "pid")
    )
