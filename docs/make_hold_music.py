"""Make what callers on hold hear, calls/static/calls/hold.wav: a few soft notes, and silence at the end, so that nobody
hears where it begins again. Made of sines, and nobody's but ours.

python docs/make_hold_music.py
"""

import math
import struct
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "calls" / "static" / "calls" / "hold.wav"
RATE, SECONDS = 8000, 6.0  # G.711, as the telephone has it
# When each note begins, in seconds, and its pitch in hertz: a pentatonic scale, so that any two sound well together.
C, D, E, G, A = 261.63, 293.66, 329.63, 392.00, 440.00
NOTES = ((0.0, C), (0.6, E), (1.2, G), (1.8, A), (2.4, G), (3.0, E), (3.6, D), (4.2, C))
LOUDNESS, ATTACK, DECAY, FADE = 0.16, 0.03, 0.55, 0.4


def sample(at: float) -> float:
    """The sum of the notes at this moment, from -1 to 1."""
    sound = 0.0
    for begins, pitch in NOTES:
        age = at - begins
        if age >= 0:
            swell = min(1.0, age / ATTACK) * math.exp(-age / DECAY)
            sound += swell * (math.sin(math.tau * pitch * age) + 0.25 * math.sin(math.tau * 2 * pitch * age))
    return LOUDNESS * sound * min(1.0, max(0.0, (SECONDS - 0.2 - at) / FADE))


def mu_law(value: float) -> int:
    """G.711: sign, exponent and mantissa, inverted."""
    linear = min(32_635, round(abs(value) * 32_767)) + 132
    exponent = linear.bit_length() - 8
    sign = 0x80 if value < 0 else 0
    return ~(sign | exponent << 4 | (linear >> exponent + 3) & 0x0F) & 0xFF


def wav() -> bytes:
    sound = bytes(mu_law(sample(number / RATE)) for number in range(round(RATE * SECONDS)))
    shape = struct.pack("<HHIIHHH", 7, 1, RATE, RATE, 1, 8, 0)
    rest = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + b"fact" + struct.pack("<II", 4, len(sound))
    rest += b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


if __name__ == "__main__":
    FILE.write_bytes(wav())
