"""G.711 mu-law at 8 kHz: silence, tones, how loud a piece is, and the samples of a recording."""

import array
import math
from dataclasses import dataclass
from typing import Literal

BYTES_PER_MS = 8
BYTES_PER_SECOND = 8000
FRAME_MS = 20
FRAME_BYTES = 160
SILENCE = b"\xff"

# A mu-law byte is inverted; its low seven bits are then a logarithmic magnitude, 0 for silence and 127 for the loudest.
_LEVEL = bytes((~byte) & 0x7F for byte in range(256))
# An average level of 24 is about -42 dBFS: above line noise, below any spoken syllable.
AUDIBLE_LEVEL = 24


@dataclass(frozen=True, slots=True)
class Tone:
    """A clip made on the spot, for a caller without recorded speech. Same shape as `simulators.speech.Clip`."""

    name: str
    text: str
    audio: bytes
    speaker: Literal["caller", "agent"] = "caller"


def ms(byte_count: int) -> float:
    """How long that many bytes last."""
    return byte_count / BYTES_PER_MS


def silence(length_ms: int) -> bytes:
    """Mu-law silence, 0xFF, as Twilio sends between words."""
    return SILENCE * (length_ms * BYTES_PER_MS)


def audible(audio: bytes) -> bool:
    """Whether a person would call this piece sound and not silence."""
    return bool(audio) and sum(audio.translate(_LEVEL)) >= AUDIBLE_LEVEL * len(audio)


def audible_span(audio: bytes) -> tuple[int, int]:
    """First and last frame numbers (end exclusive) with sound in them; (0, 0) if there is none."""
    loud = [i // FRAME_BYTES for i in range(0, len(audio), FRAME_BYTES) if audible(audio[i : i + FRAME_BYTES])]
    return (loud[0], loud[-1] + 1) if loud else (0, 0)


def encode_sample(sample: int) -> int:
    """One 16-bit sample to one mu-law byte (ITU-T G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


def decode_sample(byte: int) -> int:
    """One mu-law byte to one 16-bit sample (ITU-T G.711)."""
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 132 << (byte >> 4 & 7)) - 132
    return -magnitude if byte & 0x80 else magnitude


_SAMPLES = tuple(decode_sample(byte) for byte in range(256))


_KEYS = ("123A", "456B", "789C", "*0#D")
_ROW_HERTZ = (697, 770, 852, 941)
_COLUMN_HERTZ = (1209, 1336, 1477, 1633)


def tone(hertz: float, length_ms: int, amplitude: int = 8000) -> bytes:
    """A sine in mu-law."""
    step = 2 * math.pi * hertz / BYTES_PER_SECOND
    return bytes(encode_sample(round(amplitude * math.sin(step * i))) for i in range(length_ms * BYTES_PER_MS))


def key_tone(key: str, length_ms: int) -> bytes:
    """What a key of a telephone sounds like (ITU-T Q.23)."""
    row, column = next((row, keys.index(key)) for row, keys in enumerate(_KEYS) if key in keys)
    low, high = (tone(hertz, length_ms, 6000) for hertz in (_ROW_HERTZ[row], _COLUMN_HERTZ[column]))
    return mixed(low, high, 1.0)


def mixed(louder: bytes, echo: bytes, gain: float) -> bytes:
    """Two pieces of the same length as one, the second made quieter first."""
    if echo.count(SILENCE) == len(echo):
        return louder
    return bytes(
        encode_sample(int(_SAMPLES[one] + gain * _SAMPLES[other])) for one, other in zip(louder, echo, strict=True)
    )


def pcm(audio: bytes) -> "array.array[int]":
    """The 16-bit samples of a mu-law piece."""
    return array.array("h", (_SAMPLES[byte] for byte in audio))
