"""Clips as files that browsers play. Pure."""

import struct

_MU_LAW, _RATE = 7, 8000


def of_mu_law(audio: bytes) -> bytes:
    """Return a WAV file of mu-law samples at 8 kHz, as they are: nothing is decoded."""
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, _MU_LAW, 1, _RATE, _RATE, 1, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(audio))
    data = struct.pack("<4sI", b"data", len(audio)) + audio + b"\0" * (len(audio) % 2)
    body = b"WAVE" + form + fact + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body
