"""What a caller hears while a tool takes its time: two soft notes, then quiet; the line is not dead."""

from math import pi, sin

from media.engine.config import Clip

RATE = 8000
AMPLITUDE = 2400  # of 32,635: about 23 dB below the loudest
NOTES_HZ = (440.0, 554.4)
NOTE_SECONDS, FADE_SECONDS, PAUSE_SECONDS = 0.25, 0.03, 1.5


def mu_law(sample: int) -> int:
    """One sample of 16 bits as G.711 mu-law (ITU-T G.711, table 2a)."""
    sign, level = (0x80, -sample) if sample < 0 else (0, sample)
    level = min(level, 32_635) + 132
    exponent = max(level.bit_length() - 8, 0)
    return ~(sign | exponent << 4 | (level >> (exponent + 3)) & 0x0F) & 0xFF


def _note(hertz: float) -> bytes:
    count = int(NOTE_SECONDS * RATE)
    fade = FADE_SECONDS * RATE
    loudness = (min(1.0, at / fade, (count - at) / fade) * AMPLITUDE for at in range(count))
    return bytes(mu_law(int(level * sin(2 * pi * hertz * at / RATE))) for at, level in enumerate(loudness))


HOLD_TONE = Clip("", b"".join(_note(hertz) for hertz in NOTES_HZ) + b"\xff" * int(PAUSE_SECONDS * RATE))
