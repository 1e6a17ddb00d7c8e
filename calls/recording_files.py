"""From a recording that is complete at the carrier to a file in our storage: which are due, and what came of a try.

A row is the job: it says when the next try is, and a message in the queue only names it. What is lost in the queue is
found again when the row's time has come; what comes twice finds that somebody else has taken it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import IO

from django.core.files import File
from django.db.models import Exists, F, OuterRef, Q

from calls import services
from calls.carriers.answers import CarrierRecording
from calls.models import TERMINAL_STATUSES, CallLog, Recording, RecordingConsent, RecordingState, recording_path
from calls.waveform import Waveform

BATCH = 20
LEASE = timedelta(minutes=5)  # a try is over by then, whatever became of it: above the task's limit and its queueing
MAX_TRIES = 12  # about three hours and a half in all
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)

# Calls that were recorded and of whose recording nobody told us.
SETTLED_AFTER, LOOK_BACK = timedelta(minutes=15), timedelta(hours=25)
_RECORDED = [RecordingConsent.ANNOUNCED, RecordingConsent.GRANTED, RecordingConsent.VOICEMAIL]
_STATES = {
    "completed": RecordingState.WAITING,
    "absent": RecordingState.ABSENT,
    "failed": RecordingState.FAILED,
    "deleted": RecordingState.DELETED,
}


def due(now: datetime) -> list[tuple[int, int]]:
    """Recordings to be queued now, as (primary key, tries so far), BATCH at most; they are not due again for LEASE."""
    waiting = Recording.objects.filter(Q(next_try_at=None) | Q(next_try_at__lte=now), state=RecordingState.WAITING)
    found = list(waiting.order_by(F("next_try_at").asc(nulls_first=True), "pk").values_list("pk", "tries")[:BATCH])
    Recording.objects.filter(pk__in=[pk for pk, _ in found], state=RecordingState.WAITING).update(
        next_try_at=now + LEASE
    )
    return found


def take(recording_id: int, tries: int, now: datetime) -> Recording | None:
    """Begin a try. None when it is somebody else's, or there is nothing to be done any more."""
    mine = Recording.objects.filter(pk=recording_id, state=RecordingState.WAITING, tries=tries).update(
        tries=F("tries") + 1, next_try_at=now + LEASE
    )
    return Recording.objects.get(pk=recording_id) if mine else None


def keep(recording: Recording, content: IO[bytes]) -> str:
    """Put the file into the storage, in the place of what an earlier try may have left there. Return its name."""
    storage = recording.file.storage
    name = recording_path(recording, "")
    content.seek(0)
    storage.delete(name)
    return str(storage.save(name, File(content)))


def stored(recording: Recording, name: str, size: int, heard: Waveform) -> str:
    """The file is in the storage. Return the state, or "late" when nobody waits for it any more."""
    columns: dict[str, object] = {"file": name, "size_bytes": size, "peaks": heard.peaks, "error": ""}
    if heard.channels:
        columns |= {"channels": heard.channels, "duration_seconds": round(heard.seconds)}
    return _finish(recording, {"state": RecordingState.STORED, "next_try_at": None, **columns})


def failed(recording: Recording, code: str, now: datetime) -> str:
    """Note why there is no file, and when it is tried again. Return the state, or "late"."""
    if recording.tries >= MAX_TRIES:
        return _finish(recording, {"state": RecordingState.FAILED, "error": code, "next_try_at": None})
    pause = min(FIRST_PAUSE * 2 ** (recording.tries - 1), LONGEST_PAUSE)
    return _finish(recording, {"state": RecordingState.WAITING, "error": code, "next_try_at": now + pause})


def _finish(recording: Recording, columns: dict[str, object]) -> str:
    still_mine = Recording.objects.filter(pk=recording.pk, state=RecordingState.WAITING, tries=recording.tries)
    return str(columns["state"]) if still_mine.update(**columns) else "late"


def again(recordings: Iterable[int], now: datetime) -> int:
    """Begin the tries anew for those that were given up. Return how many."""
    given_up = Recording.objects.filter(pk__in=recordings, state=RecordingState.FAILED)
    return given_up.update(state=RecordingState.WAITING, tries=0, next_try_at=now, error="")


def untold(now: datetime) -> list[CallLog]:
    """Finished calls that were recorded, and of whose recording the end was never told, BATCH at most."""
    told = Recording.objects.filter(call=OuterRef("pk")).exclude(state=RecordingState.IN_PROGRESS)
    calls = CallLog.objects.filter(
        ~Exists(told),
        status__in=sorted(TERMINAL_STATUSES),
        started_at__gt=now - LOOK_BACK,
        ended_at__lt=now - SETTLED_AFTER,
        recording_consent__in=_RECORDED,
    )
    return list(calls.only("call_sid", "business_id", "recording_consent").order_by("-started_at")[:BATCH])


def tell(call: CallLog, found: Iterable[CarrierRecording]) -> int:
    """Write what the carrier says of a call's recordings, as its callbacks would have. Return how many are over."""
    over = 0
    for recording in found:
        state = _STATES.get(recording.status)
        if state is None:
            continue
        over += services.save_recording(
            call_sid=call.call_sid,
            business_id=call.business_id,
            recording_sid=recording.recording_sid,
            state=state.value,
            channels=recording.channels,
            started_at=recording.started_at.isoformat() if recording.started_at else "",
            duration_seconds=recording.duration_seconds,
            consent=RecordingConsent.VOICEMAIL.value if recording.is_message else call.recording_consent,
        )
    return over
