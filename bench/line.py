"""One caller's line, as both ends of it see it: the phone network's and the speech model's.

Both run in this process, so that one clock (time.monotonic_ns) stamps what leaves the one and reaches the other.
The model learns which line it hears by the audio itself: every quiet frame carries the line's number.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from random import Random

FRAME_BYTES = 160  # 20 ms of mu-law
FRAME_SECONDS = 0.02
BYTES_PER_SECOND = 8000
MAX_LINES = 16**3

_DIGITS = 3  # hexadecimal, one byte each


@dataclass(slots=True)
class Line:
    number: int
    rng: Random
    voiced: bool = False  # the caller makes a sound
    plays_until: float = 0.0  # time.monotonic() when the agent's audio that the carrier holds will have been played
    frames: int = 0  # sent by the caller
    frames_over_agent: int = 0  # of these, while the agent was to be heard
    delays_ms: list[float] = field(default_factory=list)  # speech_started -> clear, each
    missed: int = 0  # speech_started without a clear
    unasked: int = 0  # clear without a speech_started
    lost: bool = False  # the server ended the call
    _began_ns: int | None = None

    def agent_left(self) -> float:
        """Seconds of the agent's speech that the caller is still to hear."""
        return self.plays_until - time.monotonic()

    def speech_started(self) -> None:
        """The model is about to send it."""
        self._began_ns = time.monotonic_ns()

    def cleared(self, at_ns: int) -> None:
        """`clear` has come, at this time.monotonic_ns()."""
        self.plays_until = 0.0
        if self._began_ns is None:
            self.unasked += 1
            return
        self.delays_ms.append((at_ns - self._began_ns) / 1e6)
        self._began_ns = None

    def speech_stops(self) -> None:
        """By now the agent must have fallen silent."""
        if self._began_ns is not None:
            self.missed += 1
            self._began_ns = None

    def forget(self) -> None:
        """Count from here on."""
        self.frames = self.frames_over_agent = self.missed = self.unasked = 0
        self.delays_ms.clear()


def quiet_frame(number: int) -> str:
    """20 ms of silence that say which line they are of, as base64."""
    digits = bytes(0xF0 | number >> 4 * place & 0xF for place in range(_DIGITS))
    return base64.b64encode(digits + b"\xff" * (FRAME_BYTES - _DIGITS)).decode()


def line_number(audio: str) -> int:
    """Which line a quiet frame is of."""
    digits = base64.b64decode(audio)[:_DIGITS]
    return sum((digit & 0xF) << 4 * place for place, digit in enumerate(digits))


def voice(rng: Random, frames: int) -> list[bytes]:
    """Frames of noise whose loudness moves from each to the next, as a voice's does.

    It has to move: the product compares how the caller's and the agent's loudness move, to know an echo, and that is
    part of what an interruption costs. Two such voices are never alike.
    """
    return [_noise(rng, rng.randint(30, 110)) for _ in range(frames)]


def _noise(rng: Random, level: int) -> bytes:
    # mu-law bytes are inverted: sign in the highest bit, loudness in the other seven.
    return bytes(~level & 0x7F | rng.choice((0, 0x80)) for _ in range(FRAME_BYTES))
