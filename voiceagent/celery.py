"""The Celery application: `celery -A voiceagent worker -Q high,default`."""

import logging
import os
import time
from typing import Any

from celery import Celery
from celery.signals import (
    beat_init,
    before_task_publish,
    celeryd_init,
    setup_logging,
    task_prerun,
    worker_init,
    worker_process_shutdown,
    worker_ready,
)
from django.db import connections

from voiceagent import logs, valkey
from voiceagent.one_client import OneClient
from voiceagent.redelivery import Redelivery
from voiceagent.worker_heart import WorkerHeart

logger = logging.getLogger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voiceagent.settings")

app = Celery("voiceagent")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(OneClient)
app.steps["consumer"].add(Redelivery)
app.steps["consumer"].add(WorkerHeart)

# A worker or beat typed alone, without REDIS_URL, brings its own broker.
celeryd_init.connect(valkey.keep_running)
beat_init.connect(valkey.keep_running)

setup_logging.connect(logs.configure_worker)


def say_when(headers: dict[str, Any] | None = None, **_signal: object) -> None:
    """Let a message say when it was handed to the broker first: a retry keeps the headers of the try before."""
    if headers is not None:
        headers.setdefault("sent_at", time.time())


before_task_publish.connect(say_when)


def begin_outside_transactions(task: Any, **_signal: object) -> None:
    """A time limit that strikes while Django begins or ends a transaction leaves the connection believing that it is in
    one. Everything would fail on it from then on, for as long as the worker's process lives: it gets another one."""
    if task.request.is_eager:
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            logger.error("a database connection was left in a transaction", extra={"alias": connection.alias})
            connection.close()
            del connections[connection.alias]


task_prerun.connect(begin_outside_transactions)


def replay_journal(**_signal: object) -> None:
    """Write what dead processes left on this machine; later beat and the web processes look every half minute."""
    from calls.journal.replay import replay_in_background  # needs the apps, which this module is imported to load

    replay_in_background()


worker_ready.connect(replay_journal)


def add_up_ended_jobs(**_signal: object) -> None:
    """What this process counted since its thread did so last."""
    from calls import ended_jobs

    ended_jobs.flush_now()


worker_process_shutdown.connect(add_up_ended_jobs)


def show_only_the_length(message: Any, body: Any) -> str:
    return f"({len(message.body)} bytes, not shown)"


def keep_messages_out_of_the_log(**_signal: object) -> None:
    """Celery logs the whole body of a message that it cannot run (a task of a newer release, say): a caller's words."""
    from celery.worker.consumer import consumer

    consumer.dump_body = show_only_the_length


celeryd_init.connect(keep_messages_out_of_the_log)


def refuse_to_work_wrongly(**_signal: object) -> None:
    """Celery runs Django's checks and does not look at what they say; and an exception in here it only logs."""
    from django.core.management.base import SystemCheckError

    from voiceagent import checks

    try:
        checks.before_start((checks.SETTINGS, checks.SERVERS))
    except SystemCheckError as error:
        raise SystemExit(str(error)) from None


worker_init.connect(refuse_to_work_wrongly)
