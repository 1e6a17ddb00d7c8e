"""Asks the workers for what has time. Never raises and never waits long: what they are not asked for now, beat does
(media.tasks)."""

from __future__ import annotations

import logging

from celery import current_app
from django.conf import settings
from kombu import Connection
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 0.5  # of each step; somebody waits for a page
RENDER_CLIPS = "media.tasks.render_clips"  # by name: imports go one way

# Without these kombu retries the connection by itself, for ever when Redis hangs (as in calls.publishing).
_TRANSPORT_OPTIONS = {
    "socket_timeout": DEADLINE_SECONDS,
    "socket_connect_timeout": DEADLINE_SECONDS,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "connect_retries_timeout": DEADLINE_SECONDS,
}


def ask_to_render(version_id: int) -> bool:
    """Have the sentences of a published version rendered. Return whether the broker took the job."""
    if not settings.RENDER_CLIPS:
        return False
    try:
        with Connection(
            current_app.conf.broker_url, connect_timeout=DEADLINE_SECONDS, transport_options=_TRANSPORT_OPTIONS
        ) as connection:
            producer = current_app.amqp.Producer(connection, auto_declare=False)
            current_app.send_task(RENDER_CLIPS, args=(version_id,), queue="default", producer=producer, retry=False)
    except (KombuError, RedisError, OSError) as error:
        logger.warning(
            "an agent's sentences are rendered later: the broker did not answer",
            extra={"agent_version_id": version_id, "error": type(error).__name__},
        )
        return False
    return True
