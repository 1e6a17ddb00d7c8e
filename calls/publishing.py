"""Hands facts to Celery within a deadline, whatever state the broker is in. Used by the recorder's thread only."""

from __future__ import annotations

import contextlib
from typing import Any

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

DEADLINE_SECONDS = 0.5

# Not the worker's options: there a timeout of 0.5 s would cut its blocking reads. Without max_retries and the intervals
# kombu retries the connection by itself, for 6 s when Redis refuses and for ever when it hangs (reliability 1.1).
_TRANSPORT_OPTIONS = {
    "socket_timeout": DEADLINE_SECONDS,
    "socket_connect_timeout": DEADLINE_SECONDS,
    "socket_keepalive": True,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "connect_retries_timeout": DEADLINE_SECONDS,
}


class BrokerUnwell(Exception):
    """The broker did not take the task in time. The message is the name of an error, never what was published."""


class Breaker:
    """After `limit` failures in a row the broker is left alone for `pause` seconds; then one more try decides."""

    def __init__(self, limit: int = 3, pause: float = 5.0) -> None:
        self._limit = limit
        self._pause = pause
        self._failures = 0
        self._open_until = 0.0

    def is_open(self, now: float) -> bool:
        return now < self._open_until

    def failed(self, now: float) -> None:
        self._failures += 1
        if self._failures >= self._limit:
            self._open_until = now + self._pause

    def succeeded(self) -> None:
        self._failures = 0
        self._open_until = 0.0


class Publisher:
    """One connection to the broker, opened at the first use and again after a failure. For one thread."""

    def __init__(self, url: str = "") -> None:
        """`url`: another broker than the one in the settings."""
        self._url = url
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, kind: str, arguments: dict[str, Any]) -> None:
        """Publish the task calls.tasks.<kind>. Raise BrokerUnwell, in about half a second at the latest."""
        from calls import tasks  # imports the Celery app and the models: slow, and not needed before the first fact

        task = getattr(tasks, kind)
        failure = ""
        try:
            task.apply_async(kwargs=arguments, producer=self._open(task.app), retry=False)
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the fact is written directly instead
            failure = type(error).__name__
        if failure:
            self.close()
            raise BrokerUnwell(failure)

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(KombuError, RedisError, OSError):
                connection.close()

    def _open(self, app: Celery) -> Producer:
        if self._producer is None:
            self._connection = Connection(
                self._url or app.conf.broker_url,
                connect_timeout=DEADLINE_SECONDS,
                transport_options=_TRANSPORT_OPTIONS,
            )
            self._producer = app.amqp.Producer(self._connection, auto_declare=False)
        return self._producer
