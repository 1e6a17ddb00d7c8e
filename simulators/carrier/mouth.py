"""The caller's voice on one stream: which 20 ms go out next, and what was said when. Pure."""

from simulators.carrier.audio import FRAME_BYTES, FRAME_MS, SILENCE, audible_span
from simulators.carrier.ledger import Utterance
from simulators.carrier.settings import Clip


class Mouth:
    """Frame n carries the milliseconds from 20 n to 20 n + 20 of the stream; between utterances it is silence."""

    def __init__(self, said: list[Utterance]) -> None:
        self._said = said
        self._audio = b""
        self._position = 0
        self._sound_end = 0
        self.frames = 0

    @property
    def speaking(self) -> bool:
        return self._position < len(self._audio)

    def say(self, clip: Clip, *, only_ms: int = 0, interrupting: bool = False) -> Utterance:
        """Begins a clip with the next frame, or its first `only_ms`. The caller says one thing at a time."""
        if self.speaking:
            raise RuntimeError("the caller is still speaking")
        audio = clip.audio[: only_ms * 8] if only_ms else clip.audio
        utterance = Utterance(clip.name, clip.text, float(self.frames * FRAME_MS), interrupting=interrupting)
        utterance.cut = len(audio) < len(clip.audio)
        self._audio, self._position = audio, 0
        self._sound_end = audible_span(audio)[1] * FRAME_BYTES
        self._said.append(utterance)
        return utterance

    def frame(self) -> bytes:
        """The next 160 bytes."""
        self.frames += 1
        if not self.speaking:
            return SILENCE * FRAME_BYTES
        piece = self._audio[self._position : self._position + FRAME_BYTES]
        self._position += FRAME_BYTES
        utterance, sent_ms = self._said[-1], float(self.frames * FRAME_MS)
        if utterance.speech_end_ms is None and self._position >= self._sound_end:
            utterance.speech_end_ms = sent_ms
        if self._position >= len(self._audio):
            utterance.end_ms = sent_ms
        return piece.ljust(FRAME_BYTES, SILENCE)

    def stop(self) -> None:
        """The line is gone: what was not said stays unsaid."""
        if self.speaking:
            self._said[-1].cut = True
            self._said[-1].end_ms = float(self.frames * FRAME_MS)
            self._audio, self._position = b"", 0
