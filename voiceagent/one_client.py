"""A worker asks its broker with one Redis client, instead of making one for each thing that it says."""

from __future__ import annotations

from typing import Any

from celery import bootsteps


class OneClient(bootsteps.StartStopStep):  # type: ignore[misc]
    """The step of a worker's consumer: begins anew with each connection.

    Kombu makes a client for each message that it takes and for each that it acknowledges, a tenth of what the worker's
    first process does for a job. A client holds nothing but its pool of connections, so that one is as good.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        keep_client(parent.task_consumer.channel)


def keep_client(channel: Any) -> None:
    """Let the channel give out the same client as long as it has the same connections."""
    create = channel._create_client
    kept = create()

    def kept_or_created(asynchronous: bool = False) -> Any:
        nonlocal kept
        if asynchronous:
            return create(asynchronous=True)
        if kept.connection_pool is not channel.pool:
            kept = create()
        return kept

    channel._create_client = kept_or_created
