"""A worker says every few seconds that it lives and which queues it takes from; the page "Jobs" reads it."""

from __future__ import annotations

import contextlib
from typing import Any

import redis
from celery import bootsteps

from console import workers


class WorkerHeart(bootsteps.StartStopStep):  # type: ignore[misc]
    """The step of a worker's consumer: begins anew with each connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        self._beat(parent)
        self._timer = parent.timer.call_repeatedly(workers.BEAT_SECONDS, self._beat, (parent,))

    def stop(self, parent: Any) -> None:
        self._timer.cancel()
        with contextlib.suppress(redis.RedisError, OSError), self._client(parent) as client:
            workers.leave(client, parent.hostname)

    def _beat(self, parent: Any) -> None:
        """Raise redis.RedisError; Celery then opens its connection anew."""
        with self._client(parent) as client:
            workers.beat(client, parent.hostname, parent.app.amqp.queues.consume_from)

    def _client(self, parent: Any) -> Any:
        return parent.task_consumer.channel.qos.channel.conn_or_acquire()
