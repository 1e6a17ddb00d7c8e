"""Celery's way into analysis.transcriptions, on the queue `offline`. Arguments, results and logs hold ids and short
codes, and no words."""

from __future__ import annotations

import logging

from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_app, shared_task
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from analysis import text_model, transcriptions
from analysis.answers import Answer, NoAnswer
from calls.away import is_away

logger = logging.getLogger(__name__)

TRANSCRIBE = "analysis.transcription_tasks.transcribe_message"
QUEUE = "offline"


@shared_task(  # type: ignore[untyped-decorator]
    name=TRANSCRIBE,
    queue=QUEUE,
    soft_time_limit=60,  # above text_model.TIMEOUT_SECONDS; the hard one is below the broker's visibility timeout
    time_limit=75,
)
def transcribe_message(transcription_id: int, tries: int) -> str:
    """Make one try. `tries`: how many there were when it was queued, so that it is made once. Return like
    "transcription 7: done"."""
    try:
        return f"transcription {transcription_id}: {_transcribe(transcription_id, tries)}"
    except DatabaseError as error:  # its text may quote the row; beat finds it again
        name = type(error).__name__
        logger.warning("a transcription was not stored", extra={"transcription_id": transcription_id, "error": name})
        if is_away(error):
            connections.close_all()
        return f"transcription {transcription_id}: failed"


def _transcribe(transcription_id: int, tries: int) -> str:
    job = transcriptions.take(transcription_id, tries, timezone.now())
    if job is None:
        return "nothing to do"
    try:
        answer = _hear(job)
    except NoAnswer as failure:
        return _failed(job, failure)
    except SoftTimeLimitExceeded:
        return _failed(job, NoAnswer("timed_out"))
    return transcriptions.store_answer(job, answer)


def _hear(job: transcriptions.Job) -> Answer:
    try:
        sound = job.recording.file.open("rb")
    except OSError:
        raise NoAnswer("no_file") from None
    with sound:
        return text_model.transcribe(sound.file, job.language)


def _failed(job: transcriptions.Job, failure: NoAnswer) -> str:
    state = transcriptions.store_failure(job, failure, timezone.now())
    extra = {"transcription_id": job.transcription.pk, "error": failure.code}
    logger.warning("a message was not written down", extra=extra)
    return f"{failure.code}, {state}"


@shared_task(name="analysis.transcription_tasks.find_messages", queue=QUEUE, ignore_result=True)  # type: ignore[untyped-decorator]
def find_messages() -> None:
    """Queue what is due, by ids. By beat."""
    if not settings.OPENAI_API_KEY:
        return
    now = timezone.now()
    try:
        transcriptions.find(now)
        for transcription_id, tries in transcriptions.due(now):
            # One that waited longer is queued anew: its lease is over.
            current_app.send_task(
                TRANSCRIBE,
                args=(transcription_id, tries),
                queue=QUEUE,
                expires=transcriptions.LEASE.total_seconds(),
            )
    except DatabaseError as error:
        if not is_away(error):
            raise
        logger.warning("no look for messages: the database is away", extra={"error": type(error).__name__})
        connections.close_all()
