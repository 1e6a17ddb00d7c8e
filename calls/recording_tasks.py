"""Celery's way into calls.recording_files, on the queue `offline`: no fact of a call waits for a file.

Arguments, results and logs hold ids and short codes.
"""

from __future__ import annotations

import logging
import tempfile
from typing import IO

from billiard.exceptions import SoftTimeLimitExceeded
from celery import current_app, shared_task
from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from calls import recording_files, waveform
from calls.away import is_away
from calls.carriers import twilio_recordings, twilio_rest
from calls.carriers.answers import CarrierUnreachable, NotFetched
from calls.models import Recording

logger = logging.getLogger(__name__)

FETCH = "calls.recording_tasks.fetch_recording"
QUEUE = "offline"
DOWNLOAD_SECONDS = 60.0


@shared_task(  # type: ignore[untyped-decorator]
    name=FETCH,
    queue=QUEUE,
    soft_time_limit=90,
    time_limit=105,  # below the broker's visibility timeout, or it would be delivered again while it runs
)
def fetch_recording(recording_id: int, tries: int) -> str:
    """Make one try. `tries`: how many there were when it was queued, so that it is made once. Return like
    "recording 7: stored"."""
    try:
        return f"recording {recording_id}: {_fetch(recording_id, tries)}"
    except DatabaseError as error:  # its text may quote the row; beat finds the recording again
        name = type(error).__name__
        logger.warning("a recording was not noted", extra={"recording_id": recording_id, "error": name})
        if is_away(error):
            connections.close_all()
        return f"recording {recording_id}: failed"


def _fetch(recording_id: int, tries: int) -> str:
    recording = recording_files.take(recording_id, tries, timezone.now())
    if recording is None:
        return "nothing to do"
    try:
        with tempfile.TemporaryFile() as file:
            twilio_recordings.download(
                recording.recording_sid, file, both_sides=recording.channels == 2, seconds=DOWNLOAD_SECONDS
            )
            size, heard = file.tell(), waveform.read(file)
            return recording_files.stored(recording, _keep(recording, file), size, heard)
    except NotFetched as failure:
        code = failure.code
    except waveform.NotAudio:
        code = "not_audio"
    except SoftTimeLimitExceeded:
        code = "timed_out"
    except OSError:  # no room for the temporary file, say
        code = "no_room"
    state = recording_files.failed(recording, code, timezone.now())
    logger.warning("a recording was not fetched", extra={"recording_id": recording_id, "error": code})
    return f"{code}, {state}"


def _keep(recording: Recording, file: IO[bytes]) -> str:
    try:
        return recording_files.keep(recording, file)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # noqa: BLE001 - the edge to any storage, each of which has errors of its own
        name = type(error).__name__
    logger.error("the storage did not take a recording", extra={"recording_id": recording.pk, "error": name})
    raise NotFetched("storage_failed")


@shared_task(name="calls.recording_tasks.find_recordings", queue=QUEUE, ignore_result=True)  # type: ignore[untyped-decorator]
def find_recordings() -> None:
    """Queue what is due, by ids. By beat."""
    if not twilio_rest.is_available():
        return
    try:
        for recording_id, tries in recording_files.due(timezone.now()):
            # One that waited longer is queued anew: its lease is over.
            current_app.send_task(
                FETCH, args=(recording_id, tries), queue=QUEUE, expires=recording_files.LEASE.total_seconds()
            )
    except DatabaseError as error:
        _no_look(error)


@shared_task(  # type: ignore[untyped-decorator]
    name="calls.recording_tasks.ask_for_untold", queue=QUEUE, soft_time_limit=90, time_limit=105, ignore_result=True
)
def ask_for_untold() -> None:
    """Ask the carrier for recordings that it told nobody of: its callback came to a server that was down. By beat, once
    an hour; for a day after the call."""
    if not twilio_rest.is_available():
        return
    found = 0
    try:
        for call in recording_files.untold(timezone.now()):
            found += recording_files.tell(call, twilio_recordings.of_call(call.call_sid))
    except (CarrierUnreachable, SoftTimeLimitExceeded) as error:
        logger.warning("the carrier was not asked for all recordings", extra={"error": type(error).__name__})
    except DatabaseError as error:
        _no_look(error)
    if found:
        logger.warning("recordings that the carrier had told nobody of", extra={"recordings": found})


def _no_look(error: DatabaseError) -> None:
    if not is_away(error):
        raise error
    logger.warning("no look for recordings: the database is away", extra={"error": type(error).__name__})
    connections.close_all()
