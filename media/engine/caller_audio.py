"""The caller's audio while the model is not ready: kept in order, the oldest given up first."""

from base64 import b64encode
from collections import deque

from media.engine.playback import BYTES_PER_SECOND, FRAME_BYTES, SILENCE

KEPT_SECONDS = 5.0
SILENT_FRAME = b64encode(SILENCE * FRAME_BYTES).decode()


def audio_bytes(payload: str) -> int:
    """How many bytes a base64 text stands for, without decoding it."""
    return len(payload) * 3 // 4 - payload[-2:].count("=")


class WaitingAudio:
    def __init__(self) -> None:
        self._frames: deque[tuple[str, int]] = deque()
        self._bytes = 0

    def keep(self, payload: str) -> int:
        """Keep a frame; return how many older ones were given up for it."""
        size = audio_bytes(payload)
        self._frames.append((payload, size))
        self._bytes += size
        dropped = 0
        while self._bytes > KEPT_SECONDS * BYTES_PER_SECOND:
            self._bytes -= self._frames.popleft()[1]
            dropped += 1
        return dropped

    def release(self) -> list[str]:
        """Everything kept, in order; nothing is kept afterwards."""
        frames = [payload for payload, _ in self._frames]
        self._frames.clear()
        self._bytes = 0
        return frames
