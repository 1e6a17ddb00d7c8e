"""What the caller hears: the playback clock of the audio that the server under test has sent.

Twilio buffers outbound audio and plays it gapless at 8 kHz. A mark is echoed when all audio before it has played, at
once when nothing is buffered; a clear empties the buffer and returns every pending mark; more than ten minutes
buffered is thrown away (twilio.com/docs/voice/media-streams/websocket-messages).

Pure: `now` is monotonic seconds and never goes back.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from simulators.carrier.audio import BYTES_PER_SECOND, FRAME_BYTES, SILENCE, audible, ms

CAP_BYTES = 600 * BYTES_PER_SECOND
# A buffer that ran dry and was filled again within this time is an under-run: the agent stuttered. Longer is a pause.
UNDER_RUN_SECONDS = 0.5


@dataclass(slots=True)
class Span:
    """Gapless sound: from `start` to `end`, both monotonic seconds."""

    start: float
    end: float


@dataclass(slots=True)
class Stretch:
    """All audio between two clears (or the ends of the stream): what came, what was heard, and when."""

    received_bytes: int = 0
    heard_bytes: int = 0
    spans: list[Span] = field(default_factory=list)
    under_runs: list[float] = field(default_factory=list)  # seconds of each
    ended: Literal["clear", "end", ""] = ""

    @property
    def heard_ms(self) -> float:
        return ms(self.heard_bytes)

    @property
    def received_ms(self) -> float:
        return ms(self.received_bytes)


@dataclass(frozen=True, slots=True)
class Echo:
    """A mark to be sent back. `after_clear`: it was returned by a clear, its audio was not heard to the end."""

    name: str
    received_at: float
    after_clear: bool


@dataclass(frozen=True, slots=True)
class Cleared:
    """What a clear did: the stretch it ended, what it dropped, and the marks it returned, in order."""

    at: float
    stretch: Stretch
    dropped_bytes: int
    marks: list[Echo]


@dataclass(frozen=True, slots=True)
class _Pending:
    name: str
    received_at: float
    position: int  # bytes of the run that must have played first


class Playback:
    """The buffer, the clock and the marks of one stream."""

    def __init__(self, cap_bytes: int = CAP_BYTES) -> None:
        self.stretches: list[Stretch] = [Stretch()]
        self.sounds: list[Span] = []  # audible sound, merged; silence that was sent as audio is not in it
        self.discarded_bytes = 0
        self.heard_runs: list[tuple[float, bytes]] = []  # gapless pieces as heard, each with its start, for a recording
        self._cap = cap_bytes
        self._run = bytearray()  # gapless audio since the buffer was last empty
        self._run_start = 0.0
        self._played = 0
        self._scanned = 0
        self._marks: deque[_Pending] = deque()

    def media(self, audio: bytes, now: float) -> float | None:
        """Buffers audio; returns when its first sample will be heard, None if it was thrown away because of the cap."""
        self._move(now)
        if self.buffered_bytes + len(audio) > self._cap:
            self.discarded_bytes += len(audio)
            return None
        stretch = self.stretches[-1]
        if self.buffered_bytes == 0:
            self._begin_run(stretch, now)
        starts_at = self._run_end
        self._run += audio
        stretch.received_bytes += len(audio)
        return starts_at

    def mark(self, name: str, now: float) -> None:
        """Queues a mark behind everything buffered."""
        self._move(now)
        self._marks.append(_Pending(name, now, len(self._run)))

    def clear(self, now: float) -> Cleared:
        """Empties the buffer. Marks whose audio had played are in the result too, with `after_clear` false."""
        self._move(now)
        marks = self._due()
        marks += [Echo(mark.name, mark.received_at, True) for mark in self._marks]
        self._marks.clear()
        stretch, dropped = self.stretches[-1], self.buffered_bytes
        self._end_stretch("clear")
        self.stretches.append(Stretch())
        return Cleared(now, stretch, dropped, marks)

    def advance(self, now: float) -> list[Echo]:
        """Plays on until `now`; returns the marks that are due, in the order they came."""
        self._move(now)
        return self._due()

    def finish(self, now: float) -> None:
        """The stream is over: what is still buffered will not be heard."""
        self._move(now)
        self._end_stretch("end")

    def heard_between(self, start: float, end: float) -> bytes:
        """What was heard from one moment to another, up to now; silence where nothing was."""
        heard = bytearray(SILENCE * round((end - start) * BYTES_PER_SECOND))
        for began, audio in (*self.heard_runs[-2:], (self._run_start, bytes(self._run[: self._played]))):
            offset = round((began - start) * BYTES_PER_SECOND)
            piece = audio[max(0, -offset) : max(0, len(heard) - offset)]
            heard[max(0, offset) : max(0, offset) + len(piece)] = piece
        return bytes(heard)

    def deadline(self) -> float | None:
        """When the next mark is due; None without one."""
        return self._run_start + self._marks[0].position / BYTES_PER_SECOND if self._marks else None

    @property
    def buffered_bytes(self) -> int:
        """Bytes not yet heard, as of the last call."""
        return len(self._run) - self._played

    @property
    def _run_end(self) -> float:
        return self._run_start + len(self._run) / BYTES_PER_SECOND

    def _begin_run(self, stretch: Stretch, now: float) -> None:
        if self._run and now <= self._run_end:  # arrived in the very moment the buffer ran dry: still gapless
            return
        if stretch.spans and now - stretch.spans[-1].end < UNDER_RUN_SECONDS:
            stretch.under_runs.append(now - stretch.spans[-1].end)
        self._put_away()
        self._run_start, self._played, self._scanned = now, 0, 0
        # Marks still here had a position in the finished run: they are due at once.
        self._marks = deque(_Pending(mark.name, mark.received_at, 0) for mark in self._marks)
        stretch.spans.append(Span(now, now))

    def _move(self, now: float) -> None:
        # A thousandth of a byte of slack: now is a float, and a mark must be due at its own deadline.
        elapsed = int((now - self._run_start) * BYTES_PER_SECOND + 1e-3)
        played = min(len(self._run), max(self._played, elapsed))
        if played == self._played:
            return
        stretch = self.stretches[-1]
        stretch.heard_bytes += played - self._played
        self._played = played
        stretch.spans[-1].end = self._run_start + played / BYTES_PER_SECOND
        self._scan()

    def _scan(self, *, at_end: bool = False) -> None:
        while self._scanned + FRAME_BYTES <= self._played or (at_end and self._scanned < self._played):
            end = min(self._scanned + FRAME_BYTES, self._played)
            if audible(bytes(self._run[self._scanned : end])):
                start_at = self._run_start + self._scanned / BYTES_PER_SECOND
                end_at = self._run_start + end / BYTES_PER_SECOND
                if self.sounds and start_at - self.sounds[-1].end < 1e-6:
                    self.sounds[-1].end = end_at
                else:
                    self.sounds.append(Span(start_at, end_at))
            self._scanned = end

    def _due(self) -> list[Echo]:
        due = []
        while self._marks and self._marks[0].position <= self._played:
            mark = self._marks.popleft()
            due.append(Echo(mark.name, mark.received_at, False))
        return due

    def _end_stretch(self, how: Literal["clear", "end"]) -> None:
        self.stretches[-1].ended = how
        self._put_away()
        self._played = self._scanned = 0
        self._marks.clear()

    def _put_away(self) -> None:
        self._scan(at_end=True)
        if self._played:
            self.heard_runs.append((self._run_start, bytes(self._run[: self._played])))
        self._run.clear()
