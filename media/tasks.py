"""Celery's way into media.clips. Arguments, results and logs hold ids and counts, and no words.

A job that is lost or fails is not repeated: beat finds what is still due, and businesses.clips says when it is tried
again.
"""

from __future__ import annotations

import asyncio
import logging

from billiard.exceptions import SoftTimeLimitExceeded
from celery import shared_task
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from businesses import clips, jobs
from calls.away import is_away
from media.clips import render

logger = logging.getLogger(__name__)

VERSIONS_PER_ROUND = 5  # a round is a minute; each takes a worker's process for some seconds


@shared_task(  # type: ignore[untyped-decorator]
    name=jobs.RENDER_CLIPS,
    queue="default",
    soft_time_limit=45,  # above media.clips.DEADLINE_SECONDS; the hard one is below the broker's visibility timeout
    time_limit=55,
)
def render_clips(version_id: int) -> str:
    """Render what is due of a version. Return how much of it there is now, like "version 7: 8 of 8"."""
    if not settings.RENDER_CLIPS:
        return f"version {version_id}: switched off"
    try:
        return render_now(version_id)
    except SoftTimeLimitExceeded:
        logger.warning("rendering took too long, and is tried again", extra={"agent_version_id": version_id})
    except DatabaseError as error:  # its text may quote the row
        name = type(error).__name__
        logger.warning("clips not stored", extra={"agent_version_id": version_id, "error": name})
        if is_away(error):
            connections.close_all()
    return f"version {version_id}: failed"


def render_now(version_id: int, *, hurry: bool = False) -> str:
    """What the task does, here and now."""
    order = clips.take(version_id, timezone.now(), hurry=hurry)
    if order is None:
        return f"version {version_id}: nothing due"
    rendered = asyncio.run(render(order.agent, order.texts))
    for key, result in rendered.items():
        if result.error:
            clips.store_failure(version_id, key, result.error)
            extra = {"agent_version_id": version_id, "clip": key, "error": result.error}
            logger.warning("a sentence of an agent was not rendered", extra=extra)
        else:
            clips.store(version_id, key, order.texts[key], result.audio, timezone.now())
    succeeded = sum(not result.error for result in rendered.values())
    return f"version {version_id}: {succeeded} of {len(rendered)}"


@shared_task(name="media.tasks.render_missing_clips", queue="default", ignore_result=True)  # type: ignore[untyped-decorator]
def render_missing_clips() -> None:
    """Ask for what is due of the versions in use. By beat, every minute."""
    if not settings.RENDER_CLIPS:
        return
    try:
        due = clips.versions_due(timezone.now(), VERSIONS_PER_ROUND)
    except DatabaseError as error:
        if not is_away(error):
            raise
        logger.warning("no look at the clips: the database is away", extra={"error": type(error).__name__})
        connections.close_all()
        return
    for version_id in due:
        if not jobs.ask_to_render(version_id):
            return
