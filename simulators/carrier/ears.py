"""What comes from the server under test on one stream: checked, played, written into the ledger. Pure."""

from collections import deque
from collections.abc import Callable
from random import Random

from simulators.carrier import outbound
from simulators.carrier.audio import BYTES_PER_MS
from simulators.carrier.ledger import (
    CallLedger,
    ClearRecord,
    HeardRecord,
    MarkRecord,
    SpanRecord,
    StreamLedger,
    StretchRecord,
)
from simulators.carrier.playback import Echo, Playback, Stretch

PAUSE_SECONDS = 0.8  # silence after which the narration says that the agent is silent


class Ears:
    """`start` is the time of the `start` event. Due mark echoes stand in `echoes` as (when, name), in order."""

    def __init__(
        self, call: CallLedger, stream: StreamLedger, start: float, *, mark_delay_ms: int, rng: Random
    ) -> None:
        self.playback = Playback()
        self.echoes: deque[tuple[float, MarkRecord]] = deque()
        self._call, self._stream, self._start = call, stream, start
        self._mark_delay, self._rng = mark_delay_ms / 1000, rng
        self._waiting: deque[MarkRecord] = deque()
        self._speaking_since: float | None = None

    def clock_ms(self, now: float) -> float:
        """Milliseconds on the stream's clock."""
        return round((now - self._start) * 1000, 1)

    def receive(self, message: str | bytes, now: float, tell: Callable[[str], None]) -> None:
        """One websocket message."""
        try:
            match outbound.read(message, self._stream.stream_sid):
                case outbound.Media(audio):
                    self._media(audio, now)
                case outbound.Mark(name):
                    record = MarkRecord(name, self.clock_ms(now))
                    self._stream.marks.append(record)
                    self._waiting.append(record)
                    self.playback.mark(name, now)
                case outbound.Clear():
                    self._clear(now, tell)
        except outbound.Refused as refused:
            complaint = refused.complaint
            self._call.complain(complaint.code, complaint.what, complaint.detail)
        self.advance(now)

    def advance(self, now: float) -> None:
        """Plays on; what marks are due goes to `echoes`."""
        self._echo(self.playback.advance(now), now)

    def narrate(self, now: float, tell: Callable[[str], None]) -> None:
        """Says when the agent begins to speak and when it has fallen silent."""
        if not self.playback.sounds:
            return
        last = self.playback.sounds[-1]
        if self._speaking_since is None and now - last.end < PAUSE_SECONDS / 2:
            self._speaking_since = last.start
            tell("agent speaking")
        elif self._speaking_since is not None and now - last.end >= PAUSE_SECONDS:
            tell(f"agent silent, heard for {last.end - self._speaking_since:.1f} s")
            self._speaking_since = None

    def finish(self, now: float) -> None:
        """Closes the books of the stream."""
        self.advance(now)
        self.playback.finish(now)
        self._stream.sounds = [
            SpanRecord(self.clock_ms(span.start), self.clock_ms(span.end)) for span in self.playback.sounds
        ]
        ends = [clear.at_ms for clear in self._stream.clears]
        for start, audio in self.playback.heard_runs:
            begins_ms = self.clock_ms(start)
            ends_ms = begins_ms + len(audio) / BYTES_PER_MS
            clear = next((number for number, at in enumerate(ends, 1) if begins_ms <= at <= ends_ms + 1), 0)
            self._stream.heard.append(HeardRecord(begins_ms, audio, clear))
        self._stream.stretches = [self._stretch(stretch) for stretch in self.playback.stretches]
        self._stream.agent_audio_discarded_bytes = self.playback.discarded_bytes

    def _media(self, audio: bytes, now: float) -> None:
        stream = self._stream
        stream.agent_messages += 1
        stream.agent_audio_bytes += len(audio)
        starts_at = self.playback.media(audio, now)
        if starts_at is None:
            self._call.complain(31931, "more than ten minutes of audio buffered")
            return
        stream.most_ahead_ms = max(stream.most_ahead_ms, self.playback.buffered_bytes / BYTES_PER_MS)
        if stream.first_media_ms is None:
            stream.first_media_ms, stream.first_heard_ms = self.clock_ms(now), self.clock_ms(starts_at)
        last = stream.utterances[-1] if stream.utterances else None
        if last and last.speech_end_ms is not None and last.reply_media_ms is None:
            last.reply_media_ms = round(self.clock_ms(now) - last.speech_end_ms, 1)
            last.reply_heard_ms = round(self.clock_ms(starts_at) - last.speech_end_ms, 1)

    def _clear(self, now: float, tell: Callable[[str], None]) -> None:
        cleared = self.playback.clear(now)
        self._echo(cleared.marks, now)
        stretch = cleared.stretch
        names = [mark.name for mark in cleared.marks if mark.after_clear]
        self._stream.clears.append(
            ClearRecord(
                self.clock_ms(now),
                stretch.heard_ms,
                stretch.received_ms,
                stretch.heard_bytes,
                cleared.dropped_bytes,
                names,
            )
        )
        last = self._stream.utterances[-1] if self._stream.utterances else None
        if last and last.reply_heard_ms is not None:
            heard_at = (last.speech_end_ms or 0) + last.reply_heard_ms
            if heard_at > self.clock_ms(now):  # cleared before it was heard: that was no reply
                last.reply_media_ms = last.reply_heard_ms = None
        tell(f"clear received: {cleared.dropped_bytes / 8000:.1f} s dropped, {len(names)} marks returned")

    def _echo(self, marks: list[Echo], now: float) -> None:
        for mark in marks:
            record = self._waiting.popleft()
            record.after_clear = mark.after_clear
            due = now + self._rng.uniform(0, self._mark_delay) if self._mark_delay else now
            if self.echoes:
                due = max(due, self.echoes[-1][0])
            self.echoes.append((due, record))

    def _stretch(self, stretch: Stretch) -> StretchRecord:
        return StretchRecord(
            stretch.received_bytes,
            stretch.received_ms,
            stretch.heard_bytes,
            stretch.heard_ms,
            [SpanRecord(self.clock_ms(span.start), self.clock_ms(span.end)) for span in stretch.spans],
            [round(seconds * 1000, 1) for seconds in stretch.under_runs],
            stretch.ended,
        )
