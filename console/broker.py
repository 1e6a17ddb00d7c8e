"""What lies in the broker, asked within a deadline: Redis may refuse, hang, or be a private Valkey on a socket."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from calls import ended_jobs
from calls.threads import BoundedPool, PoolBusy
from console import workers

TIMEOUT_SECONDS = 0.4  # of each step; a hanging server takes one
DEADLINE_SECONDS = 0.9  # of all, names included that have to be resolved first

# Kombu's own names. A queue is one list for each priority, of which ours use the first.
_UNACKED, _UNACKED_INDEX, _PRIORITIES = "unacked", "unacked_index", ("", "\x06\x163", "\x06\x166", "\x06\x169")
_ABANDONED_SECONDS = 20.0  # voiceagent.redelivery.LEASE_SECONDS: living workers renew what they hold every 5 s
_READ_AT_MOST = 200  # unacknowledged messages, to tell their queues; each may hold a whole call

_pool = BoundedPool("console-broker", threads=2, queued=2)


@dataclass(frozen=True, slots=True)
class Broker:
    """By queue, except the last two. `sent_at`: of the message that waits longest, where it says so. `hour`, `day`,
    `waits`: of jobs that succeeded and keep no result (calls.ended_jobs)."""

    now: float = 0.0
    error: str = ""
    depth: dict[str, int] = field(default_factory=dict)
    sent_at: dict[str, float] = field(default_factory=dict)
    unacknowledged: dict[str, int] | None = None
    workers: Counter[str] = field(default_factory=Counter)
    hour: Counter[str] = field(default_factory=Counter)
    day: Counter[str] = field(default_factory=Counter)
    waits: dict[str, list[Any]] = field(default_factory=dict)
    held: int | None = None
    orphaned: int | None = None


def ask(queues: Sequence[str], url: str = "") -> Broker:
    """Never raises, and takes no longer than DEADLINE_SECONDS."""
    try:
        return _pool.run(lambda: _read(queues, url or settings.REDIS_URL), DEADLINE_SECONDS)
    except (redis.RedisError, OSError, ValueError, PoolBusy) as error:  # TimeoutError is an OSError
        return Broker(error=type(error).__name__)


def _read(queues: Sequence[str], url: str) -> Broker:
    timeouts: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    # Its default is to try three times, with pauses.
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **timeouts) as client:
        now = workers.clock(client)
        pipeline = client.pipeline(transaction=False)
        for queue in queues:
            for priority in _PRIORITIES:
                pipeline.llen(queue + priority)
            pipeline.lindex(queue, -1)  # they come in at the left and leave at the right
        pipeline.hgetall(workers.KEY)
        pipeline.hlen(_UNACKED)
        pipeline.zcount(_UNACKED_INDEX, "-inf", now - _ABANDONED_SECONDS)
        *by_queue, beats, held, orphaned = pipeline.execute()
        ended_jobs.ask(pipeline, list(queues), now)
        hour, day, waits = ended_jobs.read(pipeline.execute(), list(queues), now)
        unacknowledged = client.hvals(_UNACKED) if held <= _READ_AT_MOST else None
    step = len(_PRIORITIES) + 1
    answers = {queue: by_queue[place * step : (place + 1) * step] for place, queue in enumerate(queues)}
    times = {queue: sent_at(answer[-1]) for queue, answer in answers.items()}
    return Broker(
        now=now,
        depth={queue: sum(answer[:-1]) for queue, answer in answers.items()},
        sent_at={queue: time for queue, time in times.items() if time is not None},
        unacknowledged=None if unacknowledged is None else Counter(map(_queue_of, unacknowledged)),
        workers=workers.by_queue(beats, now),
        hour=hour,
        day=day,
        waits=waits,
        held=held,
        orphaned=orphaned,
    )


def sent_at(message: bytes | None) -> float | None:
    """When it was handed to the broker first (voiceagent.celery.say_when); None when it does not say."""
    try:
        return float(json.loads(message or b"")["headers"]["sent_at"])
    except (ValueError, TypeError, KeyError):
        return None


def _queue_of(unacknowledged: bytes) -> str:
    """Kombu keeps [message, exchange, routing key]."""
    return str(json.loads(unacknowledged)[2])
