"""What happened on a call as the carrier saw it: the ledger that tests compare with the product's database.

All `..._ms` fields of a stream are milliseconds on that stream's clock (0 = the `start` event). `at` and
`..._at` fields are ISO 8601 UTC.
"""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

EndedBy = Literal["", "agent", "caller", "line", "api", "refused", "error", "limit"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the real carrier would refuse or warn about. `code` is Twilio's, 0 if it has none."""

    code: int
    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code or '-'} {self.what}" + (f": {self.detail}" if self.detail else "")


@dataclass(slots=True)
class WebRequest:
    """One HTTP request to the server under test and its answer. `status` None: no answer, see `error`."""

    kind: str
    method: str
    url: str
    params: dict[str, str]
    token: str
    signature: str
    at: str
    status: int | None = None
    ms: float = 0.0
    error: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Utterance:
    """What the caller said. `speech_end_ms` is where the sound in it ends.

    `reply_media_ms` and `reply_heard_ms` count from there: to the first agent audio received after it, and to the
    moment it was heard.
    """

    clip: str
    text: str
    start_ms: float
    end_ms: float | None = None
    speech_end_ms: float | None = None
    cut: bool = False
    interrupting: bool = False
    reply_media_ms: float | None = None
    reply_heard_ms: float | None = None


@dataclass(slots=True)
class MarkRecord:
    name: str
    received_ms: float
    echoed_ms: float | None = None
    after_clear: bool = False


@dataclass(slots=True)
class ClearRecord:
    """`heard_ms` and `received_ms` are of the stretch that this clear ended."""

    at_ms: float
    heard_ms: float
    received_ms: float
    heard_bytes: int
    dropped_bytes: int
    marks: list[str]


@dataclass(slots=True)
class SpanRecord:
    start_ms: float
    end_ms: float


@dataclass(slots=True)
class StretchRecord:
    """Agent audio between two clears."""

    received_bytes: int
    received_ms: float
    heard_bytes: int
    heard_ms: float
    spans: list[SpanRecord]
    under_runs_ms: list[float]
    ended: str


@dataclass(slots=True)
class HeardRecord:
    """Agent audio as the caller heard it, without a gap. `clear`: the clear that ended it, counted from 1; 0: none did.

    Compared with the sound of the model's items, it says how much of which item was heard when a clear came.
    """

    start_ms: float
    audio: bytes
    clear: int = 0


@dataclass(slots=True)
class DigitRecord:
    digit: str
    at_ms: float


@dataclass(slots=True)
class StreamLedger:
    """One media stream. `caller_audio_sha256` is over the decoded payloads of all media messages sent, in order.

    A server that closes the stream does not read what was on its way by then: `recent_sha256` has the digests of the
    last second, by the number of bytes, so that what it did read can be checked too.
    """

    stream_sid: str
    url: str
    signature: str
    custom_parameters: dict[str, str]
    opened_at: str = ""
    handshake_status: int | None = None
    handshake_ms: float = 0.0
    replays: list[int] = field(default_factory=list)  # handshake answers to a repeated handshake
    closed_by: Literal["", "server", "carrier", "lost"] = ""
    close_code: int | None = None
    close_reason: str = ""
    stop_sent: bool = False
    length_ms: float = 0.0
    frames_sent: int = 0
    frames_late: int = 0  # sent more than one frame after their time
    caller_audio_bytes: int = 0
    caller_audio_sha256: str = hashlib.sha256().hexdigest()
    recent_sha256: dict[int, str] = field(default_factory=dict)
    agent_audio_bytes: int = 0
    agent_audio_discarded_bytes: int = 0
    agent_messages: int = 0
    most_ahead_ms: float = 0.0  # how much agent audio was waiting to be heard, at most
    first_media_ms: float | None = None
    first_heard_ms: float | None = None
    utterances: list[Utterance] = field(default_factory=list)
    stretches: list[StretchRecord] = field(default_factory=list)
    clears: list[ClearRecord] = field(default_factory=list)
    marks: list[MarkRecord] = field(default_factory=list)
    dtmf: list[DigitRecord] = field(default_factory=list)
    ignored_after_stop: int = 0
    sounds: list[SpanRecord] = field(default_factory=list)  # audible sound of the agent, as heard; pauses are between
    heard: list[HeardRecord] = field(default_factory=list)

    @property
    def heard_bytes(self) -> int:
        return sum(stretch.heard_bytes for stretch in self.stretches)


@dataclass(slots=True)
class LegRecord:
    """Somebody whom a `<Dial>` called. `said`: to the colleague, before being joined."""

    call_sid: str
    number: str
    caller_id: str
    timeout: int
    time_limit: int
    status: str = ""
    bridged: bool = False
    said: list[str] = field(default_factory=list)
    pressed: str = ""
    duration_seconds: int = 0


@dataclass(slots=True)
class CallLedger:
    """One call. `errors` are Twilio debugger entries that need not be a fault (31921: the server closed the stream)."""

    call_sid: str
    account_sid: str
    from_number: str
    to_number: str
    direction: str
    script: str
    started_at: str = ""
    ended_at: str = ""
    duration_seconds: int = 0
    status: str = "ringing"
    ended_by: EndedBy = ""
    end_detail: str = ""
    streams: list[StreamLedger] = field(default_factory=list)
    requests: list[WebRequest] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # by the carrier's own voice
    recordings: list[str] = field(default_factory=list)
    legs: list[LegRecord] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)  # the verbs of the document that was followed in a queue
    held_seconds: float = 0.0  # of files played there
    pressed: str = ""  # at a <Gather>
    joined_to: str = ""  # the call at the other end of a queue
    errors: list[Complaint] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # where the call did not go as the caller's script expects

    @property
    def ok(self) -> bool:
        return not self.complaints and not self.failures

    @property
    def stream(self) -> StreamLedger:
        """The last stream; IndexError if the call never had one."""
        return self.streams[-1]

    @property
    def utterances(self) -> list[Utterance]:
        return [utterance for stream in self.streams for utterance in stream.utterances]

    def requests_of(self, kind: str) -> list[WebRequest]:
        """All of one kind: voice, action, redirect, status, stream-status, recording, dial, leg-status,
        whisper, gather, fallback, api, amd, wait, enqueue, play."""
        return [request for request in self.requests if request.kind == kind]

    def complain(self, code: int, what: str, detail: str = "") -> None:
        """Notes a complaint, each different one once."""
        complaint = Complaint(code, what, detail)
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the totals over all streams and `stream_sid` of the last one beside the fields."""
        plain = dataclasses.asdict(self)
        for stream in plain["streams"]:
            for piece in stream["heard"]:  # the audio itself is for those who have the ledger in hand
                piece["audio"] = len(piece["audio"])
        return {
            **plain,
            "ok": self.ok,
            "stream_sid": self.streams[-1].stream_sid if self.streams else "",
            "caller_audio_bytes": sum(stream.caller_audio_bytes for stream in self.streams),
            "agent_audio_bytes": sum(stream.agent_audio_bytes for stream in self.streams),
            "heard_bytes": sum(stream.heard_bytes for stream in self.streams),
        }
