"""Jobs that succeeded and keep no result: how many, and how long after they were sent, for the page "Jobs".

A stored result costs a worker more than storing a turn. So the jobs of which there are many are counted in the process
that ran them; a thread of it adds that up in Redis every few seconds. What a killed process had not added yet is
missing in the figures, and nowhere else.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
SPAN_SECONDS = 300  # counted together: an hour is up to five minutes longer than an hour
LATEST = 500  # times that are kept of each queue
TIMEOUT_SECONDS = 0.5
_HOUR, _DAY = 3600, 24 * 3600
_COUNTS, _WAITS = "voiceagent:jobs:succeeded:", "voiceagent:jobs:waits:"  # then the beginning of a span; a queue


class Tally:
    """What one process counted and has not added up yet. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()
        self._waits: defaultdict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=LATEST))
        self._thread: threading.Thread | None = None

    def succeeded(self, queue: str, sent_at: float | None, now: float) -> None:
        """A job of this queue has ended well `now` (time.time)."""
        with self._lock:
            self._counts[int(now) // SPAN_SECONDS * SPAN_SECONDS, queue] += 1
            if sent_at is not None:
                self._waits[queue].append((now, max(0.0, now - sent_at)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._flush_again_and_again, name="ended-jobs", daemon=True)
                self._thread.start()

    def flush(self, client: Any) -> None:
        """Raise redis.RedisError; what was counted is then added the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            waits, self._waits = self._waits, defaultdict(lambda: deque(maxlen=LATEST))
        if not counts:
            return
        pipeline = client.pipeline()
        for (span, queue), count in counts.items():
            pipeline.hincrby(f"{_COUNTS}{span}", queue, count)
            pipeline.expire(f"{_COUNTS}{span}", _DAY + 2 * SPAN_SECONDS)
        for queue, latest in waits.items():
            pipeline.lpush(_WAITS + queue, *(json.dumps(wait) for wait in latest))
            pipeline.ltrim(_WAITS + queue, 0, LATEST - 1)
            pipeline.expire(_WAITS + queue, _HOUR)
        try:
            pipeline.execute()
        except redis.RedisError:
            with self._lock:
                self._counts += counts
                for queue, latest in waits.items():
                    self._waits[queue].extendleft(reversed(latest))
            raise

    def _flush_again_and_again(self) -> None:
        pause = threading.Event()
        while not pause.wait(FLUSH_SECONDS):
            flush_now(self)


tally = Tally()
"""Of this process. A worker forks before it counts."""


def flush_now(counted: Tally = tally) -> None:
    """Add up what was counted, if Redis answers; else it stays for the next time."""
    try:
        with _client() as client:
            counted.flush(client)
    except (redis.RedisError, OSError) as error:
        logger.warning("ended jobs were not counted yet", extra={"error": type(error).__name__})


@contextmanager
def _client() -> Iterator[redis.Redis]:
    timeouts: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
        yield client


def ask(pipeline: Any, queues: list[str], now: float) -> None:
    """Put the questions into a pipeline; `read` understands the answers."""
    for span in _spans(now):
        pipeline.hgetall(f"{_COUNTS}{span}")
    for queue in queues:
        pipeline.lrange(_WAITS + queue, 0, LATEST - 1)


def read(answers: list[Any], queues: list[str], now: float) -> tuple[Counter[str], Counter[str], dict[str, list[Any]]]:
    """By queue: how many succeeded in the last hour and day; and of those of the last hour (time.time when it ended,
    seconds since it was sent), the latest first."""
    hour: Counter[str] = Counter()
    day: Counter[str] = Counter()
    spans = _spans(now)
    for span, counts in zip(spans, answers, strict=False):
        for queue, count in counts.items():
            day[queue.decode()] += int(count)
            if span > now - _HOUR - SPAN_SECONDS:
                hour[queue.decode()] += int(count)
    waits = {
        queue: [wait for wait in map(json.loads, texts) if wait[0] > now - _HOUR]
        for queue, texts in zip(queues, answers[len(spans) :], strict=True)
    }
    return hour, day, waits


def _spans(now: float) -> list[int]:
    latest = int(now) // SPAN_SECONDS * SPAN_SECONDS + SPAN_SECONDS  # a worker's clock may be ahead
    return list(range(latest, int(now) - _DAY - SPAN_SECONDS, -SPAN_SECONDS))
