"""Clips as files that browsers play. Pure."""

import re
import struct

_MU_LAW, _RATE = 7, 8000


def of_mu_law(audio: bytes) -> bytes:
    """Return a WAV file of mu-law samples at 8 kHz, as they are: nothing is decoded."""
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, _MU_LAW, 1, _RATE, _RATE, 1, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(audio))
    data = struct.pack("<4sI", b"data", len(audio)) + audio + b"\0" * (len(audio) % 2)
    body = b"WAVE" + form + fact + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def part_asked_for(header: str, size: int) -> slice | None:
    """Return the part of a file that a Range header asks for; None: send all of it, as with any that is not understood.

    Browsers need it to jump in a sound, and Safari to play one at all.
    """
    found = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", header)
    if found is None or int(found[1]) >= size:
        return None
    stop = min(int(found[2]) + 1, size) if found[2] else size
    return slice(int(found[1]), stop) if int(found[1]) < stop else None
