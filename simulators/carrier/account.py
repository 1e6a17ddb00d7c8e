"""What the carrier keeps of its calls and recordings, for the calls and for the REST API. Thread-safe."""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simulators.carrier.pauses import Pause

TERMINAL = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})


@dataclass(slots=True)
class CallResource:
    """One call. `update` reaches a call in progress with what the REST API was sent: Status, Twiml, Url, Method."""

    sid: str
    direction: str
    from_number: str
    to_number: str
    status: str = "queued"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    ended: datetime | None = None
    answered_by: str | None = None
    parent_sid: str | None = None
    update: Callable[[dict[str, str]], None] | None = None
    start_recording: Callable[["RecordingResource"], None] | None = None


@dataclass(slots=True)
class RecordingResource:
    """One recording. `tracks` are caller and agent, mu-law of equal length, once it is complete."""

    sid: str
    call_sid: str
    channels: int
    source: str
    track: str = "both"
    status: str = "in-progress"
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    duration: int | None = None
    tracks: tuple[bytes, bytes] | None = None
    callback: dict[str, str] = field(default_factory=dict)
    pauses: list[Pause] = field(default_factory=list)


@dataclass(slots=True)
class Queue:
    """Calls that wait. `members` belong to the event loop of the calls."""

    sid: str
    name: str
    members: list[Any] = field(default_factory=list)  # simulators.carrier.queues.Member


class Account:
    """The store. Take `lock` for anything longer than one look."""

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.lock = threading.RLock()
        self.calls: dict[str, CallResource] = {}
        self.recordings: dict[str, RecordingResource] = {}
        self.queues: dict[str, Queue] = {}  # by name

    def add_call(
        self, direction: str, from_number: str, to_number: str, sid: str = "", parent_sid: str | None = None
    ) -> CallResource:
        call = CallResource(sid or new_sid("CA"), direction, from_number, to_number, parent_sid=parent_sid)
        with self.lock:
            self.calls[call.sid] = call
        return call

    def add_recording(self, call_sid: str, channels: int, source: str, track: str = "both") -> RecordingResource:
        recording = RecordingResource(new_sid("RE"), call_sid, channels, source, track)
        with self.lock:
            self.recordings[recording.sid] = recording
        return recording

    def queue(self, name: str) -> Queue:
        """The queue of that name, made if there is none."""
        with self.lock:
            return self.queues.setdefault(name, Queue(new_sid("QU"), name))

    def known_queue(self, name: str) -> Queue | None:
        with self.lock:
            return self.queues.get(name)

    def recordings_of(self, call_sid: str) -> list[RecordingResource]:
        with self.lock:
            return [recording for recording in self.recordings.values() if recording.call_sid == call_sid]

    def current_recording(self, call_sid: str) -> RecordingResource | None:
        """What `Twilio.CURRENT` stands for: the recording that runs, or is paused."""
        running = [each for each in self.recordings_of(call_sid) if each.status in {"in-progress", "paused"}]
        return running[-1] if running else None

    def set_status(self, call_sid: str, status: str) -> None:
        """Moves a call on and notes when it began and ended."""
        with self.lock:
            call = self.calls[call_sid]
            call.status = "queued" if status == "initiated" else status
            if status == "in-progress" and call.started is None:
                call.started = datetime.now(UTC)
            if status in TERMINAL:
                call.ended, call.update, call.start_recording = datetime.now(UTC), None, None

    def call_json(self, call: CallResource) -> dict[str, Any]:
        """The resource as the REST API shows it."""
        ended, started = call.ended, call.started
        duration = str(round((ended - started).total_seconds())) if ended and started else "0" if ended else None
        path = f"/2010-04-01/Accounts/{self.sid}/Calls/{call.sid}"
        return {
            "sid": call.sid,
            "account_sid": self.sid,
            "api_version": "2010-04-01",
            "direction": call.direction,
            "from": call.from_number,
            "from_formatted": call.from_number,
            "to": call.to_number,
            "to_formatted": call.to_number,
            "status": call.status,
            "answered_by": call.answered_by,
            "date_created": _rfc2822(call.created),
            "date_updated": _rfc2822(ended or started or call.created),
            "start_time": _rfc2822(started),
            "end_time": _rfc2822(ended),
            "duration": duration,
            "price": None,
            "price_unit": "USD",
            "parent_call_sid": call.parent_sid,
            "phone_number_sid": None,
            "forwarded_from": None,
            "caller_name": None,
            "group_sid": None,
            "queue_time": "0",
            "trunk_sid": None,
            "uri": f"{path}.json",
            "subresource_uris": {"recordings": f"{path}/Recordings.json"},
        }

    def recording_json(self, recording: RecordingResource) -> dict[str, Any]:
        """The resource as the REST API shows it."""
        path = f"/2010-04-01/Accounts/{self.sid}/Recordings/{recording.sid}"
        return {
            "sid": recording.sid,
            "account_sid": self.sid,
            "api_version": "2010-04-01",
            "call_sid": recording.call_sid,
            "conference_sid": None,
            "channels": recording.channels,
            "source": recording.source,
            "track": recording.track,
            "status": recording.status,
            "duration": None if recording.duration is None else str(recording.duration),
            "start_time": _rfc2822(recording.started),
            "date_created": _rfc2822(recording.started),
            "date_updated": _rfc2822(recording.started),
            "error_code": None,
            "price": None,
            "price_unit": "USD",
            "encryption_details": None,
            "media_url": f"https://api.twilio.com{path}",
            "uri": f"{path}.json",
            "subresource_uris": {},
        }


def new_sid(prefix: str) -> str:
    """Two letters and 32 hexadecimal digits, as Twilio's identifiers are."""
    return prefix + secrets.token_hex(16)


def _rfc2822(moment: datetime | None) -> str | None:
    return moment.strftime("%a, %d %b %Y %H:%M:%S +0000") if moment else None
