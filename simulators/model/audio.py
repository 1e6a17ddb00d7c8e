"""G.711 and 16-bit PCM: how loud a frame is, and clips in the format the session asked for."""

from __future__ import annotations

import math
import random
from array import array
from functools import cache

FRAME_MS = 20
BYTES_PER_MS = {"audio/pcmu": 8, "audio/pcma": 8, "audio/pcm": 48}
BABBLE_MS_PER_CHARACTER = 60


def _ulaw_to_linear(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_to_linear(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


ULAW = [_ulaw_to_linear(code) for code in range(256)]
_ALAW = [_alaw_to_linear(code) for code in range(256)]
_SQUARES = {"audio/pcmu": [float(v * v) for v in ULAW], "audio/pcma": [float(v * v) for v in _ALAW]}


def rms(frame: bytes, audio_format: str) -> float:
    """Root mean square of a frame, 0 to 32768. A whole number of samples is expected."""
    if audio_format == "audio/pcm":
        samples = array("h", frame)[::3]
        return math.sqrt(sum(s * s for s in samples) / max(1, len(samples)))
    squares = _SQUARES[audio_format]
    return math.sqrt(sum(map(squares.__getitem__, frame)) / max(1, len(frame)))


def envelope(ulaw: bytes) -> list[float]:
    """Loudness of every whole 20 ms of a mu-law clip."""
    size = FRAME_MS * 8
    return [rms(ulaw[start : start + size], "audio/pcmu") for start in range(0, len(ulaw) - size + 1, size)]


@cache
def _nearest_alaw() -> bytes:
    return bytes(min(range(256), key=lambda code: abs(_ALAW[code] - value)) for value in ULAW)


def encode(ulaw: bytes, audio_format: str) -> bytes:
    """A mu-law clip in the session's output format. 24 kHz PCM is made by holding each sample three times."""
    if audio_format == "audio/pcmu":
        return ulaw
    if audio_format == "audio/pcma":
        return ulaw.translate(_nearest_alaw())
    return array("h", [value for code in ulaw for value in (ULAW[code],) * 3]).tobytes()


def _linear_to_ulaw(value: int) -> int:
    sign = 0x80 if value < 0 else 0
    magnitude = min(abs(value), 32635) + 0x84
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


@cache
def _syllable(pitch: int, length: int) -> bytes:
    step = 2 * math.pi * pitch / 8000
    return bytes(
        _linear_to_ulaw(
            int(
                9000
                * math.sin(math.pi * n / length) ** 0.5
                * (0.6 * math.sin(step * n) + 0.3 * math.sin(3 * step * n) + 0.1 * math.sin(7 * step * n))
            )
        )
        for n in range(length)
    )


def babble(text: str) -> bytes:
    """Mu-law sound for words without a clip: tones at syllable rate, 60 ms a character, always the same for a text."""
    total = max(1, len(text)) * BABBLE_MS_PER_CHARACTER * 8
    pick = random.Random(text)
    sound = bytearray()
    while len(sound) < total:
        sound += _syllable(pick.choice((110, 130, 155, 185)), pick.choice((1280, 1600, 1920)))
        sound += b"\xff" * 240
    return bytes(sound[:total])
