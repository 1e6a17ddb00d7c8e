"""What the carrier says of a recording: it has begun, is complete, or nothing was recorded. In any order.

The address carries the business and how the caller learned of it: the carrier's callback names neither, and the call's
row may not be there yet. Both are covered by the signature.
"""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse

from calls import recorder
from calls.models import RecordingState
from calls.signed import from_carrier
from calls.views import number_of, utc_of

RECORDING_SID = re.compile(r"RE[0-9a-f]{32}", re.ASCII)
# The carrier's words (voice/api/recording). A complete one waits for somebody to fetch it.
STATES = {
    "in-progress": RecordingState.IN_PROGRESS,
    "paused": RecordingState.IN_PROGRESS,
    "stopped": RecordingState.IN_PROGRESS,
    "processing": RecordingState.IN_PROGRESS,
    "completed": RecordingState.WAITING,
    "absent": RecordingState.ABSENT,
    "failed": RecordingState.FAILED,
}


@from_carrier
def recording(request: HttpRequest, call_sid: str) -> HttpResponse:
    """A fact of the call as any other: the carrier may say it once only, whatever is down here."""
    recording_sid = request.POST.get("RecordingSid", "")
    state = STATES.get(request.POST.get("RecordingStatus", ""))
    business_id = number_of(request.GET.get("business", ""))
    if state is None or business_id is None or RECORDING_SID.fullmatch(recording_sid) is None:
        return HttpResponse("Malformed\n", status=400, content_type="text/plain")
    recorder.get_recorder().save_recording(
        call_sid=call_sid,
        business_id=business_id,
        recording_sid=recording_sid,
        state=state.value,
        channels=number_of(request.POST.get("RecordingChannels", "")) or 1,
        started_at=utc_of(request.POST.get("RecordingStartTime", "")),
        duration_seconds=number_of(request.POST.get("RecordingDuration", "")),
        consent=request.GET.get("consent", ""),
    )
    return HttpResponse(status=204)
