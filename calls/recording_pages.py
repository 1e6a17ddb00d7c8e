"""Recordings to be heard: on the page of their call, under an address that is signed for one user and ten minutes.

Whoever has not the permission, or does not see the recording's business, is answered as if it were not there.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core import signing
from django.core.files.base import File
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from calls import conversation, page_sections, player, ranges
from calls.models import CallLog, CallMessage, Recording, RecordingState

logger = logging.getLogger(__name__)

LIFETIME_SECONDS = 600
PERMISSION = "calls.view_recording"
_SALT = "calls.recording"
_CHUNK = 64 * 1024


def address(recording: Recording, user: Any) -> str:
    """Where this user may hear the recording from now on, for LIFETIME_SECONDS."""
    token = signing.dumps([user.pk, recording.pk], salt=_SALT)
    return reverse("admin:calls_recording_audio", args=[token])


def new_address(request: HttpRequest, recordings: QuerySet[Recording], recording_id: int) -> HttpResponse:
    """For a page that has been open for longer. `recordings`: those that the user may see."""
    return JsonResponse({"address": address(_one(request, recordings, recording_id), request.user)})


def audio(request: HttpRequest, recordings: QuerySet[Recording], token: str) -> HttpResponseBase:
    """The file, or the part of it that is asked for: so one can go to any place of it."""
    try:
        user_id, recording_id = signing.loads(token, salt=_SALT, max_age=LIFETIME_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        raise Http404 from None
    if user_id != request.user.pk:
        raise Http404
    recording = _one(request, recordings, recording_id)
    try:
        file = recording.file.open("rb")
        size = file.size
    except OSError:
        logger.error("the file of a recording is not in the storage", extra={"recording_id": recording.pk})
        raise Http404 from None
    answer = _part(file, size, request.headers.get("Range", ""))
    answer["Accept-Ranges"] = "bytes"
    answer["Content-Disposition"] = f'inline; filename="recording-{recording.recording_sid[-6:]}.wav"'
    return answer


def _one(request: HttpRequest, recordings: QuerySet[Recording], recording_id: int) -> Recording:
    if not request.user.has_perm(PERMISSION):
        raise Http404
    recording = recordings.filter(pk=recording_id, state=RecordingState.STORED).first()
    if recording is None:
        raise Http404
    return recording


def _part(file: File[bytes], size: int, header: str) -> HttpResponseBase:
    try:
        part = ranges.read(header, size)
    except ranges.NotInTheFile:
        file.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    if part is None:
        whole = {"Content-Length": str(size)}
        return StreamingHttpResponse(_pieces(file), content_type="audio/wav", headers=whole)
    start, end = part
    with file:
        file.seek(start)
        content = file.read(end - start)
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return HttpResponse(content, status=206, content_type="audio/wav", headers=headers)


async def _pieces(file: File[bytes]) -> AsyncIterator[bytes]:
    """Asynchronous, or the server would read all of it first. The files are read in threads: a storage may be far."""
    read = sync_to_async(file.read, thread_sensitive=False)
    try:
        while piece := await read(_CHUNK):
            yield piece
    finally:
        file.close()


@page_sections.register
def section(call: CallLog, request: HttpRequest) -> str:
    """The players on the page of a call."""
    if not request.user.has_perm(PERMISSION):
        return ""
    return players(call.recordings.filter(state=RecordingState.STORED), call, request)


def of_message(message: CallMessage, request: HttpRequest) -> str:
    """The player on the page of a message that was spoken after the tone."""
    if message.recording_id is None or not request.user.has_perm(PERMISSION):
        return ""
    stored = Recording.objects.filter(pk=message.recording_id, state=RecordingState.STORED)
    return players(stored, message.call, request)


def players(recordings: QuerySet[Recording], call: CallLog, request: HttpRequest) -> str:
    found = list(recordings)
    if not found:
        return ""
    turns = list(call.turns.order_by("turn_index").values_list("turn_index", "started_at"))
    shown = [_shown(recording, turns, request.user) for recording in found]
    return render_to_string("admin/calls/recording/players.html", {"players": shown}, request=request)


def _shown(recording: Recording, turns: list[tuple[int, Any]], user: Any) -> dict[str, Any]:
    seconds = recording.duration_seconds or 0
    is_call = len(recording.peaks) == 2
    drawing = player.draw(recording.peaks, seconds, recording.started_at, turns if is_call else [])
    return {
        "recording": recording,
        "title": "Recording of the call" if recording.channels == 2 else "Message after the tone",
        "length": conversation.minutes(seconds),
        "seconds": seconds,
        "address": address(recording, user),
        "new_address": reverse("admin:calls_recording_address", args=[recording.pk]),
        "drawing": drawing,
        "lanes": list(zip(("caller", "agent"), drawing.lanes, drawing.middles, strict=False)),
        "marks": [(mark, conversation.minutes(mark.seconds)) for mark in drawing.marks],
    }
