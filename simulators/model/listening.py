"""The input side of a session: bytes in, a clock made of them, speech found, understood and answered."""

from __future__ import annotations

import hashlib
from typing import Any

from simulators.model.audio import BYTES_PER_MS, FRAME_MS, rms
from simulators.model.conversation import Entry
from simulators.model.core import Core
from simulators.model.hearing import Hearing
from simulators.model.oracle import refuse
from simulators.model.speaking import Speaker
from simulators.model.transcription import Transcriber
from simulators.model.vad import SpeechEvent, SpeechStarted, Vad


class Ear:
    """Counts and digests every byte; cuts the sound into 20 ms frames; keeps their loudness since the last commit."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self._digest = hashlib.sha256()
        self._format = "audio/pcm"
        self._rest = bytearray()
        self._loudness: list[float] = []
        self._first = 0  # the frame number of _loudness[0]
        self._vad: Vad | None = None
        self._detection: dict[str, Any] | None = None
        self._buffered = 0.0  # ms since the last commit or clear

    @property
    def clock_ms(self) -> int:
        """Milliseconds of whole frames received in this session."""
        return (self._first + len(self._loudness)) * FRAME_MS

    @property
    def buffered_ms(self) -> float:
        return self._buffered

    @property
    def speaking(self) -> bool:
        return self._vad is not None and self._vad.speaking

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def configure(self, audio_input: dict[str, Any]) -> None:
        """Take `session.audio.input`. A change of turn detection forgets speech that has begun."""
        if audio_input["format"]["type"] != self._format:
            self._format = audio_input["format"]["type"]
            self._rest.clear()
        if audio_input["turn_detection"] != self._detection:
            self._detection = audio_input["turn_detection"]
            self._restart()

    def _restart(self) -> None:
        frame = self._first + len(self._loudness)
        self._vad = Vad(self._detection, frame) if self._detection is not None else None

    def hear(self, data: bytes) -> list[SpeechEvent]:
        """Take input bytes; the starts and ends of speech in them, in order."""
        self.total_bytes += len(data)
        self._digest.update(data)
        self._buffered += len(data) / BYTES_PER_MS[self._format]
        self._rest += data
        size = FRAME_MS * BYTES_PER_MS[self._format]
        found = []
        while len(self._rest) >= size:
            loudness = rms(bytes(self._rest[:size]), self._format)
            del self._rest[:size]
            self._loudness.append(loudness)
            event = self._vad.push(loudness) if self._vad is not None else None
            if event is not None:
                found.append(event)
        return found

    def segment(self, start_ms: int, end_ms: int) -> list[float]:
        """Loudness per 20 ms between two times of the input clock, as far as it was kept."""
        start = max(0, start_ms // FRAME_MS - self._first)
        return self._loudness[start : max(start, end_ms // FRAME_MS - self._first)]

    def buffered(self) -> tuple[int, int]:
        """(start, end) of what a manual commit takes, on the input clock."""
        return max(0, self.clock_ms - int(self._buffered)), self.clock_ms

    def forget(self, until_ms: int) -> None:
        """Drop what was committed."""
        drop = min(len(self._loudness), max(0, until_ms // FRAME_MS - self._first))
        del self._loudness[:drop]
        self._first += drop
        self._buffered = float(len(self._loudness) * FRAME_MS)

    def clear(self) -> None:
        """input_audio_buffer.clear: nothing that came in so far will be committed."""
        self._rest.clear()
        self.forget(self.clock_ms)
        self._restart()


class Listener:
    """Turns what the ear finds into items of the conversation and starts the answers."""

    def __init__(self, core: Core, speaker: Speaker, hearing: Hearing) -> None:
        self._core, self._speaker, self._hearing = core, speaker, hearing
        self.ear = Ear()
        self._transcriber = Transcriber(core)
        self._item: str | None = None  # the id of what is being said now
        self._utterances = 0
        self.configure()

    @property
    def _detection(self) -> dict[str, Any]:
        return self._core.config["audio"]["input"]["turn_detection"] or {}

    def configure(self) -> None:
        """The session's configuration changed."""
        self.ear.configure(self._core.config["audio"]["input"])

    def take(self, data: bytes) -> None:
        """input_audio_buffer.append."""
        found = self.ear.hear(data)
        self._speaker.clock_ms = self.ear.clock_ms
        for speech in found:
            if isinstance(speech, SpeechStarted):
                self._started(speech.audio_start_ms)
            else:
                self._stopped(speech.audio_start_ms, speech.audio_end_ms)
        self._check_idle()

    def _started(self, start_ms: int) -> None:
        self._item = self._core.new_id("item")
        kind = "input_audio_buffer.speech_started"
        self._core.emit({"type": kind, "item_id": self._item, "audio_start_ms": start_ms})
        self._speaker.caller_speaks(self._detection["interrupt_response"])

    def _stopped(self, start_ms: int, end_ms: int) -> None:
        item_id, self._item = self._item or self._core.new_id("item"), None
        kind = "input_audio_buffer.speech_stopped"
        self._core.emit({"type": kind, "item_id": item_id, "audio_end_ms": end_ms})
        self._commit(item_id, start_ms, end_ms)
        if self._detection["create_response"]:
            self._speaker.answer_caller()

    def commit(self) -> None:
        """input_audio_buffer.commit. Raises Refused."""
        if self.ear.buffered_ms < 100:
            raise refuse(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {self.ear.buffered_ms:.2f}ms of audio.",
            )
        item_id, self._item = self._item or self._core.new_id("item"), None
        self._commit(item_id, *self.ear.buffered())
        self.ear.clear()

    def clear(self) -> None:
        """input_audio_buffer.clear."""
        self.ear.clear()
        self._item = None
        self._core.emit({"type": "input_audio_buffer.cleared"})

    def _commit(self, item_id: str, start_ms: int, end_ms: int, *, silence: bool = False) -> None:
        """A stretch of input becomes an item of the caller's, and is understood."""
        loudness = self.ear.segment(start_ms, end_ms)
        self.ear.forget(end_ms)
        item = {
            "id": item_id, "object": "realtime.item", "type": "message", "role": "user", "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }  # fmt: skip
        before = self._core.conversation.append(Entry(item, audio_ms=end_ms - start_ms))
        self._core.emit({"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": before})
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._core.emit({"type": kind, "previous_item_id": before, "item": item})
        if silence:
            return
        self._utterances += 1
        heard = self._hearing.recognise(loudness, self._speaker.spoken)
        self._speaker.unanswered.hear(item_id, heard.clips or (None,))
        clip = "+".join(heard.clips) or None
        self._core.note("heard", item_id=item_id, clip=clip, text=heard.text, start_ms=start_ms, end_ms=end_ms)
        self._transcriber.transcribe(item, heard.text, end_ms - start_ms, self._utterances)

    def _check_idle(self) -> None:
        limit, since, now_ms = self._detection.get("idle_timeout_ms"), self._speaker.idle_from_ms, self.ear.clock_ms
        if limit is None or since is None or self.ear.speaking or now_ms - since < limit:
            return
        self._speaker.idle_from_ms = None
        item_id = self._core.new_id("item")
        kind = "input_audio_buffer.timeout_triggered"
        self._core.emit({"type": kind, "item_id": item_id, "audio_start_ms": since, "audio_end_ms": now_ms})
        self._commit(item_id, since, now_ms, silence=True)
        self._speaker.answer_caller()
