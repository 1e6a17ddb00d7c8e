"""Celery's way into analysis.services, on the queue `offline`, which has a worker of its own: nothing of a call waits
for it. Arguments, results and logs hold ids and short codes, and no words."""

from __future__ import annotations

import logging

from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_app, shared_task
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from analysis import services, text_model
from analysis.answers import NoAnswer
from calls.away import is_away

logger = logging.getLogger(__name__)

ANALYSE = "analysis.tasks.analyse_call"
QUEUE = "offline"


@shared_task(  # type: ignore[untyped-decorator]
    name=ANALYSE,
    queue=QUEUE,
    soft_time_limit=60,  # above text_model.TIMEOUT_SECONDS; the hard one is below the broker's visibility timeout
    time_limit=75,
)
def analyse_call(analysis_id: int, tries: int) -> str:
    """Make one try. `tries`: how many there were when it was queued, so that it is made once. Return like
    "analysis 7: done"."""
    try:
        return f"analysis {analysis_id}: {_analyse(analysis_id, tries)}"
    except DatabaseError as error:  # its text may quote the row; beat finds the analysis again
        name = type(error).__name__
        logger.warning("an analysis was not stored", extra={"analysis_id": analysis_id, "error": name})
        if is_away(error):
            connections.close_all()
        return f"analysis {analysis_id}: failed"


def _analyse(analysis_id: int, tries: int) -> str:
    job = services.take(analysis_id, tries, timezone.now())
    if job is None:
        return "nothing to do"
    try:
        answer = text_model.ask(job.asked)
    except NoAnswer as failure:
        return _failed(job, failure)
    except SoftTimeLimitExceeded:  # an answer that trickled in
        return _failed(job, NoAnswer("timed_out"))
    return services.store_answer(job, answer, timezone.now())


def _failed(job: services.Job, failure: NoAnswer) -> str:
    state = services.store_failure(job, failure, timezone.now())
    logger.warning("a call was not analysed", extra={"analysis_id": job.analysis.pk, "error": failure.code})
    return f"{failure.code}, {state}"


@shared_task(name="analysis.tasks.find_calls", queue=QUEUE, ignore_result=True)  # type: ignore[untyped-decorator]
def find_calls() -> None:
    """Queue what is due, by ids. By beat."""
    if not settings.OPENAI_API_KEY:
        return
    now = timezone.now()
    try:
        services.find(now)
        for analysis_id, tries in services.due(now):
            # One that waited longer is queued anew: its lease is over.
            current_app.send_task(
                ANALYSE, args=(analysis_id, tries), queue=QUEUE, expires=services.LEASE.total_seconds()
            )
    except DatabaseError as error:
        if not is_away(error):
            raise
        logger.warning("no look for calls to analyse: the database is away", extra={"error": type(error).__name__})
        connections.close_all()
