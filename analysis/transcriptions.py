"""From a message that was spoken after the tone to its words: which are due, what came of a try. As analysis.services,
where the reasons stand: a row is the job, and a message in the queue only names it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from analysis import answers
from analysis.answers import Answer, NoAnswer
from analysis.models import Transcription, TranscriptionState
from calls import costs, spoken_messages
from calls.models import Recording

BATCH = 50
LEASE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Job:
    """One try, taken. `number`: which one."""

    transcription: Transcription
    number: int
    recording: Recording
    language: str


def find(now: datetime) -> int:
    """Make rows for messages whose sound is here, BATCH at most. Return how many."""
    known = Transcription.objects.values("message")
    rows = [
        Transcription(message=message, business_id=message.business_id, next_try_at=now)
        for message in spoken_messages.to_write().exclude(pk__in=known).order_by("pk")[:BATCH]
    ]
    Transcription.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def due(now: datetime) -> list[tuple[int, int]]:
    """Those to be queued now, as (primary key, tries so far), BATCH at most; they are not due again for LEASE."""
    waiting = Transcription.objects.filter(state=TranscriptionState.WAITING, next_try_at__lte=now)
    found = list(waiting.order_by("next_try_at").values_list("pk", "tries")[:BATCH])
    Transcription.objects.filter(pk__in=[pk for pk, _ in found], state=TranscriptionState.WAITING).update(
        next_try_at=now + LEASE
    )
    return found


def again(transcription: Transcription, now: datetime) -> None:
    Transcription.objects.filter(pk=transcription.pk).update(
        state=TranscriptionState.WAITING, tries=0, next_try_at=now, error=""
    )
    spoken_messages.wanted(transcription.message_id)


def take(transcription_id: int, tries: int, now: datetime) -> Job | None:
    """Begin a try. None when it is somebody else's, or there is nothing to be done any more."""
    mine = Transcription.objects.filter(pk=transcription_id, state=TranscriptionState.WAITING, tries=tries).update(
        tries=F("tries") + 1, next_try_at=now + LEASE
    )
    if not mine:
        return None
    row = Transcription.objects.select_related("message__recording", "business").get(pk=transcription_id)
    assert row.message.recording is not None, "its message was spoken into one"
    return Job(row, row.tries, row.message.recording, row.business.language)


def store_answer(job: Job, answer: Answer) -> str:
    """Keep what was said. Return the state, or "late" when nobody waits for it any more."""
    columns: dict[str, object] = {"state": TranscriptionState.DONE, "error": "", "next_try_at": None}
    result = _finish(job, columns | _spent(job, answer))
    if result == TranscriptionState.DONE:
        spoken_messages.written(job.transcription.message_id, answer.text)
    return result


def store_failure(job: Job, failure: NoAnswer, now: datetime) -> str:
    """Note why there is no text, and when it is tried again. The message stays as it is, to be heard."""
    if not failure.is_permanent and job.number < answers.MAX_TRIES:
        wait = timedelta(seconds=answers.pause(job.number, failure.wait_seconds))
        return _finish(job, {"state": TranscriptionState.WAITING, "error": failure.code, "next_try_at": now + wait})
    result = _finish(job, {"state": TranscriptionState.FAILED, "error": failure.code, "next_try_at": None})
    if result == TranscriptionState.FAILED:
        spoken_messages.given_up(job.transcription.message_id)
    return result


def _finish(job: Job, columns: dict[str, object]) -> str:
    still_mine = Transcription.objects.filter(
        pk=job.transcription.pk, state=TranscriptionState.WAITING, tries=job.number
    )
    return str(columns["state"]) if still_mine.update(**columns) else "late"


def _spent(job: Job, answer: Answer) -> dict[str, object]:
    """By what the model told, or else by the length of what it heard."""
    model, row = settings.OPENAI_TRANSCRIPTION_MODEL, job.transcription
    used = answer.usage or {"transcription_ms": 1000 * (job.recording.duration_seconds or 0)}
    day = (job.recording.started_at or row.created_at).date()
    price = costs.transcription_cost(model, used, day, settings.SPEECH_PRICES)
    known_before = row.cost is not None or not row.usage
    total = (row.cost or 0) + price if price is not None and known_before else None
    return {"model": model, "usage": answers.added(row.usage, used), "cost": total}
