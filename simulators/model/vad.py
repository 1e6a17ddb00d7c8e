"""Voice activity by energy. Time is counted in 20 ms frames of received audio, never by a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulators.model.audio import FRAME_MS

LEVEL_AT_FULL_THRESHOLD = 800.0
"""RMS that counts as voice at threshold 1.0. The default 0.5 makes it 400: speech is 1500 to 6000, line noise 100."""
ONSET_FRAMES = 3
"""Voice must last 60 ms, so that a click starts nothing."""
SEMANTIC_SILENCE_MS = {"low": 1200, "medium": 700, "auto": 700, "high": 400}


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    audio_start_ms: int  # includes the prefix padding


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    audio_start_ms: int
    audio_end_ms: int  # includes the silence that ended it


SpeechEvent = SpeechStarted | SpeechStopped


class Vad:
    """One session's detector. `push` takes the loudness of each next frame."""

    def __init__(self, turn_detection: dict[str, Any], frame: int = 0) -> None:
        semantic = turn_detection["type"] == "semantic_vad"
        eagerness = turn_detection.get("eagerness") or "auto"
        self._level = LEVEL_AT_FULL_THRESHOLD * (0.5 if semantic else float(turn_detection["threshold"]))
        self._prefix_ms = 300 if semantic else int(turn_detection["prefix_padding_ms"])
        self._silence_ms = SEMANTIC_SILENCE_MS[eagerness] if semantic else int(turn_detection["silence_duration_ms"])
        self._frame = frame
        self._floor_ms = frame * FRAME_MS  # a turn never reaches back into the one before it
        self._run = 0  # voiced frames in a row while quiet, quiet frames in a row while speaking
        self._start_ms: int | None = None

    @property
    def speaking(self) -> bool:
        return self._start_ms is not None

    def push(self, loudness: float) -> SpeechEvent | None:
        self._frame += 1
        voiced = loudness >= max(1.0, self._level)
        self._run = self._run + 1 if voiced != self.speaking else 0
        now_ms = self._frame * FRAME_MS
        if self._start_ms is None:
            if self._run < ONSET_FRAMES:
                return None
            self._start_ms = max(self._floor_ms, now_ms - ONSET_FRAMES * FRAME_MS - self._prefix_ms)
            self._run = 0
            return SpeechStarted(self._start_ms)
        if self._run * FRAME_MS < max(FRAME_MS, self._silence_ms):
            return None
        stopped = SpeechStopped(self._start_ms, now_ms)
        self._start_ms, self._run, self._floor_ms = None, 0, now_ms
        return stopped
