"""Messages that a worker took and did not finish come back within a minute of its death, and not before.

By itself kombu gives a message to another worker when it was taken longer ago than the visibility timeout, living
worker or not, and looks for such messages once in 100 seconds. So the timeout has to be long, and what a dead worker
held, or a living one whose connection broke, stays away for up to 220 seconds: after an outage of Redis and the
database that is every task that waited for its next try.

Here a worker renews what it holds every few seconds, by the broker's clock, so that a message which is not renewed has
nobody. It is given back when two looks found it so. Kombu's own way stays, for what this one may miss.

And a worker lets go of what it could not acknowledge. Celery only logs that the broker did not answer ("Couldn't ack"),
and kombu counts the message as held from then on: with as many of those as a worker may hold, a few, it lives and beats
and takes nothing any more (found by `make chaos`: "Redis blackholed"). If the broker has the message still it comes
again, and is stored once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from celery import bootsteps

BEAT_SECONDS = 5.0
LEASE_SECONDS = 20.0  # a Redis that hangs for 5 s breaks the connection, and nothing that was held can be finished then
AT_ONCE = 500  # a transaction each, on the worker's event loop


class Leases:
    """What one worker's channel holds. `beat` every BEAT_SECONDS."""

    def __init__(self, qos: Any) -> None:
        self._qos = qos
        self._suspects: dict[bytes, float] = {}
        qos.ack, qos.reject = self._letting_go(qos.ack), self._letting_go(qos.reject)

    def _letting_go(self, settle: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(settle)
        def settle_or_let_go(delivery_tag: str, *args: Any, **options: Any) -> None:
            try:
                settle(delivery_tag, *args, **options)
            except Exception:
                self._qos._dirty.add(delivery_tag)  # what kombu does with one that is settled
                raise

        return settle_or_let_go

    def beat(self) -> int:
        """Renew what this worker holds, and give back what nobody holds. Return how much that was.

        Raise redis.RedisError; Celery then opens its connection anew.
        """
        with self._qos.channel.conn_or_acquire() as client:
            seconds, microseconds = cast("tuple[int, int]", client.time())
            return self._beat(client, seconds + microseconds / 1e6)

    def _beat(self, client: Any, now: float) -> int:
        held = [tag for tag in list(self._qos._delivered) if tag not in self._qos._dirty]
        if held:
            client.zadd(self._qos.unacked_index_key, dict.fromkeys(held, now), xx=True)
        # From the future are those of a worker whose clock is ahead, and which died before it renewed them.
        index = self._qos.unacked_index_key
        stale = client.zrangebyscore(index, "-inf", now - LEASE_SECONDS, 0, AT_ONCE, withscores=True)
        stale += client.zrangebyscore(index, now + LEASE_SECONDS, "+inf", 0, AT_ONCE, withscores=True)
        orphans = [tag for tag, taken_at in stale if self._suspects.get(tag) == taken_at]
        self._suspects = dict(stale)
        for tag in orphans:
            self._qos.restore_by_tag(tag.decode(), client)
        return len(orphans)


class Redelivery(bootsteps.StartStopStep):  # type: ignore[misc]
    """The step of a worker's consumer: begins anew with each connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        leases = Leases(parent.task_consumer.channel.qos)
        self._timer = parent.timer.call_repeatedly(BEAT_SECONDS, leases.beat)

    def stop(self, parent: Any) -> None:
        self._timer.cancel()
